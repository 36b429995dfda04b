"""Loops over steps, as pure as a step: an epoch is a scan, an evaluation a fold, a cut sequence a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from functrain.kernel.backend import Backend
from functrain.kernel.state import TrainState
from functrain.kernel.step import Rules, step
from functrain.kernel.window import grouped

Step: TypeAlias = Callable[[Backend[Any], Rules, TrainState, Any], tuple[TrainState, Any]]


def epoch(backend: Backend[Any], rules: Rules, state: TrainState, windows: Any) -> tuple[TrainState, Any]:
    """Take one step a window.

    Args:
        windows: a window of micro-batches for each step, in a form that the backend's `scan` takes.

    Returns:
        The last state, and the reports of all steps.
    """
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
    backend: Backend[Any], rules: Rules, state: TrainState, pieces: Sequence[Any], window: int = 1, one: Step = step
) -> tuple[TrainState, Any]:
    """Truncated back-propagation through time over one batch that is cut into `pieces` along time.

    A piece is a micro-batch: `window` of them make an update, the last, shorter window too. The hidden state
    goes from piece to piece by value; it starts empty and is forgotten at the end. The pieces are one batch of the
    epoch, which is finished when all of them are.

    Args:
        one: what makes one update of a window; an engine's own also does what is due after each.

    Reference: Williams and Peng, An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories, 1990.
    """
    batch = state.clock.batch

    def at_this_batch(state: TrainState, pieces: Any) -> tuple[TrainState, Any]:
        state, reports = one(backend, rules, state, pieces)
        return state._replace(clock=state.clock._replace(batch=batch)), reports

    state, reports = backend.scan(at_this_batch, state._replace(hidden=None), list(grouped(pieces, window)))
    return state._replace(hidden=None, clock=state.clock._replace(batch=batch + 1)), reports
