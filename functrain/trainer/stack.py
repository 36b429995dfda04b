"""Runs within a run: while they are under way the outer one is set aside, and afterwards goes on as if there had been
none. A tuner's short fits are such runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from typing import Any

from functrain.trainer.combined import leaves_of
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.random_states import isolated
from functrain.trainer.run import Run

QUIET: dict[str, Any] = {
    "logger": False,
    "checkpoint_callback": False,
    "callbacks": None,
    "progress_bar_refresh_rate": 0,
    "weights_summary": None,
    "num_sanity_val_steps": 0,
    "stochastic_weight_avg": False,
    "resume_from_checkpoint": None,
    "profiler": None,
}
"""The flags of inner runs that are not the outer one's, where nothing else is said: they write and show nothing."""

DEEPEST = 4
"""So many runs may be within each other; more are a hook that starts itself."""


def check_own(run: Run | None, owned: Iterable[object]) -> None:
    """Inner runs have callbacks and loggers of their own, as those of the run would take up what is not its.

    Raises:
        ConfigurationError: one of them is the run's; names it.
    """
    if run is None:
        return
    theirs = [*run.callbacks, *run.loggers]
    shared = next((each for each in owned if any(each is other for other in theirs)), None)
    if shared is not None:
        raise ConfigurationError(
            f"trainer.stacked: this {type(shared).__name__} is of the run that is set aside, and would take what inner "
            "runs do for the run's; give them one of their own."
        )
    check_own(run.outer, owned)


def depth(run: Run | None) -> int:
    """Return how many runs are under way, this one the innermost."""
    return 0 if run is None else 1 + depth(run.outer)


@contextmanager
def set_aside(run: Run | None) -> Generator[None]:
    """Within it other runs may train the module and draw from the loaders and generators of this one. Afterwards they
    are as they were.

    Raises:
        ConfigurationError: the run is in the middle of a step, when its state is not whole, or too many are within each
            other.
    """
    if run is None:
        yield
        return
    loop = run.loop
    if loop is not None and loop.in_step:
        raise ConfigurationError(
            "trainer.stacked: entered in the middle of a training step, when the state is not whole; enter it in "
            "on_train_batch_end, or in a hook that comes between steps."
        )
    if depth(run) >= DEEPEST:
        raise ConfigurationError(
            f"trainer.stacked: {DEEPEST} runs are within each other already. Does a hook start a run that calls the "
            "same hook? `trainer.run.outer is None` is true in the outermost alone."
        )
    if run.aside is None:
        raise ConfigurationError(
            f"trainer.stacked: {type(run.module).__name__} is of an adapter that cannot put a module back as it was; "
            "use another Trainer, with a copy of the module."
        )
    loaders = [*run.given, *run.val_loaders] if loop is None else [run.source.loader, *run.val_loaders]
    with isolated(run, leaves_of(loaders)), run.aside(), nullcontext() if loop is None else loop.set_aside():
        yield
