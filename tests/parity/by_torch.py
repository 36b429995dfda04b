"""The cases run by `functrain_torch.make_step`."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from functrain.kernel import TrainState
from functrain_torch import make_step
from tests.parity.cases import Case, Seen

OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, 0.1, momentum=0.9),
    "adamw": lambda params: torch.optim.AdamW(params, 0.02, weight_decay=0.05),
}


def mlp(params: Any, batch: Any) -> dict[str, Any]:
    x, y, weight = batch
    h = torch.relu(x @ params["w1"] + params["b1"])
    losses = cross_entropy(h @ params["w2"] + params["b2"], y, reduction="none")
    return {"loss": (losses * weight).sum() / weight.sum(), "weight": weight.sum()}


def elman(params: Any, batch: Any, hiddens: Any) -> dict[str, Any]:
    x, y = batch
    h = x.new_zeros(x.shape[0], 3) if hiddens is None else hiddens
    losses = []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ params["u"] + h @ params["w"] + params["b"])
        losses.append(((h @ params["v"] + params["c"] - y[:, t]) ** 2).sum(1).mean())
    return {"loss": torch.stack(losses).mean(), "hiddens": h}


LOSSES = {"mlp": mlp, "elman": elman}


def tensors(batch: Any) -> Any:
    if isinstance(batch, list):
        return [tensors(micro) for micro in batch]
    return tuple(torch.tensor(field) for field in batch if field is not None)


def seen(state: TrainState, report: Any) -> Seen:
    scale = state.players[0].scale
    return Seen(
        float(report.loss),
        None if report.norm is None else float(report.norm),
        bool(report.finite),
        scale and float(scale.value),
        int(state.clock.skipped),
        {name: p.detach().numpy().copy() for name, p in state.params.items()},
    )


def run(case: Case) -> list[Seen]:
    init, step, _ = make_step(LOSSES[case.model], OPTIMIZERS[case.optimizer], **case.options)
    state, shown = init({name: torch.tensor(p) for name, p in case.params.items()}), []
    for batch in case.batches:
        state, report = step(state, tensors(batch))
        shown.append(seen(state, report[-1] if "tbptt" in case.options else report))
    return shown
