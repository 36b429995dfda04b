"""The eager loop, batch by batch, as a trainer drives the kernel: the plan says whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from functrain.kernel import Plan, TrainState, micro_step
from functrain.kernel.plan import actions, closes
from functrain.kernel.step import Reports, Rules
from tests.oracle.backend import NumpyBackend


def run(
    backend: NumpyBackend, rules: Rules, plan: Plan, state: TrainState, batches: Iterable[Any]
) -> tuple[TrainState, list[Reports]]:
    """Plays the batches from where the state stands; gives the last state and every batch's reports."""
    reports: list[Reports] = []
    for batch in batches:
        at = int(state.clock.epoch), int(state.clock.batch)
        state, report = micro_step(backend, rules, state, batch, actions(plan, *at), closes(plan, *at))
        reports.append(report)
    return state, reports


def next_epoch(state: TrainState) -> TrainState:
    """The same state at the start of the next epoch."""
    return state._replace(clock=state.clock.next_epoch())
