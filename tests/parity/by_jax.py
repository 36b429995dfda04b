"""The cases run by `functrain_jax.make_step`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from functrain.kernel import TrainState
from functrain_jax import make_step
from tests.parity.cases import Case, Seen

OPTIMIZERS = {"sgd": optax.sgd(0.1, momentum=0.9), "adamw": optax.adamw(0.02, weight_decay=0.05)}


def mlp(params: Any, batch: Any) -> dict[str, Any]:
    x, y, weight = batch
    h = jax.nn.relu(x @ params["w1"] + params["b1"])
    logits = h @ params["w2"] + params["b2"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return {"loss": (losses * weight).sum() / weight.sum(), "weight": weight.sum()}


def elman(params: Any, batch: Any, hiddens: Any) -> dict[str, Any]:
    x, y = batch
    h = jnp.zeros((x.shape[0], 3)) if hiddens is None else hiddens
    losses = []
    for t in range(x.shape[1]):
        h = jnp.tanh(x[:, t] @ params["u"] + h @ params["w"] + params["b"])
        losses.append(((h @ params["v"] + params["c"] - y[:, t]) ** 2).sum(1).mean())
    return {"loss": jnp.stack(losses).mean(), "hiddens": h}


LOSSES = {"mlp": mlp, "elman": elman}


def arrays(batch: Any) -> Any:
    if isinstance(batch, list):
        return [arrays(micro) for micro in batch]
    return tuple(jnp.asarray(field) for field in batch if field is not None)


def seen(state: TrainState, report: Any) -> Seen:
    scale = state.players[0].scale
    # Copies, for the next step reuses the state's memory.
    return Seen(
        float(report.loss),
        None if report.norm is None else float(report.norm),
        bool(report.finite),
        scale and float(scale.value),
        int(state.clock.skipped),
        {name: np.array(p) for name, p in state.params.items()},
    )


def run(case: Case) -> list[Seen]:
    init, step, _ = make_step(LOSSES[case.model], OPTIMIZERS[case.optimizer], **case.options)
    state, shown = init(case.params), []
    for batch in case.batches:
        state, report = step(state, arrays(batch))
        if "tbptt" in case.options:
            report = jax.tree.map(lambda field: field[-1], report.update)  # of the last piece
        shown.append(seen(state, report))
    return shown
