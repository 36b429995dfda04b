"""The cases run by the kernel over the oracle."""

from __future__ import annotations

import copy

from functrain.kernel import Clip, Report, Rule, TrainState, step, tbptt
from tests.oracle import SGD, AdamW, Batch, NumpyBackend, Part, mlp, recurrent
from tests.parity.cases import Case, Seen

OPTIMIZERS = {"sgd": SGD(0.1, momentum=0.9), "adamw": AdamW(0.02, weight_decay=0.05)}
LOSSES = {"mlp": mlp("relu"), "elman": recurrent.elman}


def seen(state: TrainState, report: Report | None) -> Seen:
    assert report is not None
    scale = state.players[0].scale
    return Seen(
        report.loss,
        report.norm,
        report.finite,
        scale and scale.value,
        state.clock.skipped,
        copy.deepcopy(state.params),
    )


def run(case: Case) -> list[Seen]:
    options = case.options
    clip = Clip(options.get("clip_norm"), options.get("clip_value"))
    rules = (Rule(clip, options.get("loss_scale")),)
    backend = NumpyBackend(Part(LOSSES[case.model], OPTIMIZERS[case.optimizer]))
    state, shown = backend.init(case.params, rules), []
    for batch in case.batches:
        if "tbptt" in options:
            state, reports = tbptt(backend, rules, state, pieces(batch, options["tbptt"]), options["accumulate"])
            shown.append(seen(state, reports[-1][0]))
        else:
            state, (report,) = step(backend, rules, state, batch)
            shown.append(seen(state, report))
    return shown


def pieces(batch: Batch, size: int) -> list[Batch]:
    time = batch.x.shape[1]
    return [Batch(batch.x[:, t : t + size], batch.y[:, t : t + size]) for t in range(0, time, size)]
