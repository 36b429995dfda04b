"""Loops over steps, as pure as a step: an epoch is a scan, an evaluation a fold, a cut sequence a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from functrain.kernel.backend import Backend
from functrain.kernel.state import TrainState
from functrain.kernel.step import Rules, step
from functrain.kernel.window import grouped


def epoch(backend: Backend[Any], rules: Rules, state: TrainState, windows: Any) -> tuple[TrainState, Any]:
    """One step a window; gives the last state and the reports of all steps."""
    return backend.scan(partial(step, backend, rules), state, windows)


def evaluate(
    backend: Backend[Any],
    eval_step: Callable[[TrainState, Any, Any], Any],
    state: TrainState,
    seed: Any,
    batches: Any,
) -> Any:
    """Fold `eval_step(state, metrics, batch) -> metrics` over the batches, from the empty metrics `seed`.

    Moves no state.
    """

    def one(metrics: Any, batch: Any) -> tuple[Any, None]:
        return eval_step(state, metrics, batch), None

    metrics, _ = backend.fold(one, seed, batches)
    return metrics


def tbptt(
    backend: Backend[Any], rules: Rules, state: TrainState, pieces: Sequence[Any], window: int = 1
) -> tuple[TrainState, Any]:
    """Truncated back-propagation through time over one batch that is cut into `pieces` along time.

    A piece is a micro-batch: `window` of them make an update, the last, shorter window too. The hidden state
    goes from piece to piece by value; it starts empty and is forgotten at the end.

    Reference: Williams and Peng, An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories, 1990.
    """
    batch = state.clock.batch + 1  # the pieces are one batch of the epoch
    state = state._replace(hidden=None)
    state, reports = backend.scan(partial(step, backend, rules), state, list(grouped(pieces, window)))
    return state._replace(hidden=None, clock=state.clock._replace(batch=batch)), reports
