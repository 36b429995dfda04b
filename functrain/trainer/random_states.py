"""The random state of a run: the global generators, and those that its parts hold."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from functrain.seed import isolate_rng, rng_state
from functrain.trainer.generators import held, load_states, of_loader, set_known_rng_state, states
from functrain.trainer.hooks import keyed
from functrain.trainer.run import Run


def random_state(run: Run) -> dict[str, Any]:
    """Return the state of the global generators, and of those that the module, the data module and callbacks hold."""
    return {**rng_state(), "held": {name: states(found) for name, found in _of_run(run).items()}}


def load_random_state(run: Run, state: Mapping[str, Any]) -> list[str]:
    """Take `random_state` back. Return the generators, by name and path, that are not there now."""
    set_known_rng_state(state)
    now, held_then = _of_run(run), state.get("held", {})
    for name, kept in held_then.items():
        load_states(now.get(name, {}), kept)
    return [f"{name}.{path}" for name, kept in held_then.items() for path in kept if path not in now.get(name, {})]


def continue_with(run: Run, state: Mapping[str, Any]) -> None:
    """Take the `random_state` of a checkpoint back, and warn of generators that are gone."""
    gone = load_random_state(run, state)
    if gone:
        warnings.warn(
            f"the checkpoint has the states of random generators that are not there now: {', '.join(gone)}. A run that "
            "continues draws other numbers from what stands in their place; make them in __init__ or in setup.",
            UserWarning,
            stacklevel=3,
        )


class RandomStates:
    """The random state of a run and of its loaders, read often: the generators are found once."""

    def __init__(self, run: Run, loaders: Iterable[Any] = ()) -> None:
        self._held = _of_run(run)
        self._of_loaders = [found for found in map(of_loader, loaders) if found]

    def now(self) -> dict[str, Any]:
        """Return what `random_state` returns."""
        return {**rng_state(), "held": {name: states(found) for name, found in self._held.items()}}

    def of_loaders(self) -> list[dict[str, str]]:
        """Return the states of the loaders' own generators."""
        return [states(found) for found in self._of_loaders]

    def load(self, state: Mapping[str, Any], of_loaders: Iterable[Mapping[str, str]]) -> None:
        """Take both back."""
        set_known_rng_state(state)
        for name, found in self._held.items():
            load_states(found, state["held"][name])
        for found, saved in zip(self._of_loaders, of_loaders, strict=True):
            load_states(found, saved)


@contextmanager
def isolated(run: Run, loaders: Iterable[Any]) -> Generator[None]:
    """Whatever the block draws, the global generators and those that the run's parts and these loaders hold continue
    as if it had not run."""
    generators = [*_of_run(run).values(), *map(of_loader, loaders)]
    before = [states(found) for found in generators]
    with isolate_rng():
        try:
            yield
        finally:
            for found, saved in zip(generators, before, strict=True):
                load_states(found, saved)


def _of_run(run: Run) -> dict[str, dict[str, Any]]:
    owners = {"module": run.module, "datamodule": run.datamodule}
    owners |= {f"callback {key}": callback for key, callback in keyed(run.callbacks)}
    without = (run, run.owner, run.metrics, run.engine, run.loop, run.loggers)
    found = {name: held(owner, without) for name, owner in owners.items() if owner is not None}
    return {name: generators for name, generators in found.items() if generators}
