"""Loaders as the Trainer sees them: how long they are, where an epoch stands, how to continue there.

Imports no framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from functrain.seed import rng_state, set_rng_state
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import limit


def length_of(loader: Any) -> int | None:
    """A loader's number of batches; None where it has no length."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def as_loaders(loaders: Any) -> list[Any]:
    """Evaluation loaders as a list: a list or tuple is several loaders, anything else is one."""
    if loaders is None:
        return []
    if isinstance(loaders, list | tuple):
        return list(loaders)
    return [loaders]


def checked(loader: Any, what: str) -> Any:
    """The loader, if batches can be drawn from it.

    Raises:
        ConfigurationError: it is not iterable, or has length 0.
    """
    if not hasattr(loader, "__iter__"):
        raise ConfigurationError(
            f"{what}: {type(loader).__name__!r} cannot be iterated over; give a loader of batches."
        )
    if length_of(loader) == 0:
        raise ConfigurationError(
            f"{what}: the loader has length 0. Is the data set empty, or smaller than one batch with drop_last=True?"
        )
    return loader


class LoaderTools(Protocol):
    """What an adapter knows of its framework's loaders."""

    def skip(self, loader: Any, n: int) -> Iterator[Any] | None:
        """An iterator over all but the first n batches, its order drawn now, which reads none of them; None where the
        loader is of no known kind, and its batches must be read and dropped."""
        ...

    def loader_rng(self, loader: Any) -> Any | None:
        """The state of generators that belong to the loader alone; None where it has none."""
        ...

    def set_loader_rng(self, loader: Any, state: Any) -> None:
        """Take `loader_rng` back."""
        ...


class TrainSource:
    """The training loader of a fit, and where the epoch stands in it.

    A loader that carries its own state (`state_dict`, as StatefulDataLoader, or its iterator's `get_state`, as grain)
    is asked for it. Any other is replayed: its order depends on the random state at the epoch's start, which is kept;
    the adapter skips by index what was already seen, so that nothing is read twice.

    Args:
        tools: what the adapter knows of loaders of its framework.
    """

    def __init__(self, loader: Any, how_much: int | float, tools: LoaderTools) -> None:
        self.loader = checked(loader, "train_dataloader")
        self.batches = limit(length_of(loader), how_much, "limit_train_batches")
        self._tools = tools
        self._iterator: Iterator[Any] | None = None
        self._epoch_rng: dict[str, Any] | None = None

    def open(self, epoch: int, cursor: dict[str, Any] | None = None) -> Iterator[Any]:
        """An iterator over the epoch's batches: from its start, or from a cursor of `cursor()`."""
        for owner in (self.loader, getattr(self.loader, "sampler", None), getattr(self.loader, "batch_sampler", None)):
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(epoch)  # type: ignore[union-attr]
        if cursor is None:
            self._epoch_rng = None if self._keeps_state() else self._random_state()
            self._iterator = iter(self.loader)
        else:
            self._iterator = self._reopen(cursor)
        return self._iterator

    def _random_state(self) -> dict[str, Any]:
        return {"global": rng_state(), "loader": self._tools.loader_rng(self.loader)}

    def _set_random_state(self, state: dict[str, Any]) -> None:
        set_rng_state(state["global"])
        if state["loader"] is not None:
            self._tools.set_loader_rng(self.loader, state["loader"])

    def state(self, seen: int | None) -> dict[str, Any]:
        """For a checkpoint: the cursor after `seen` batches, None between epochs, and the loader's own random state."""
        return {
            "cursor": None if seen is None else self.cursor(seen),
            "loader_rng": self._tools.loader_rng(self.loader),
        }

    def load_state(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """Take a `state()` back; gives the cursor to open with."""
        if state["loader_rng"] is not None:
            self._tools.set_loader_rng(self.loader, state["loader_rng"])
        return state["cursor"]

    def _keeps_state(self) -> bool:
        return hasattr(self.loader, "state_dict") and hasattr(self.loader, "load_state_dict")

    def cursor(self, seen: int) -> dict[str, Any]:
        """Where the epoch stands after `seen` batches: enough to continue with the next one."""
        if self._keeps_state():
            return {"seen": seen, "loader": self.loader.state_dict()}
        if hasattr(self._iterator, "get_state"):
            return {"seen": seen, "iterator": self._iterator.get_state()}  # type: ignore[union-attr]
        return {"seen": seen, "epoch_rng": self._epoch_rng}

    def _reopen(self, cursor: dict[str, Any]) -> Iterator[Any]:
        seen = cursor["seen"]
        if "loader" in cursor:
            self.loader.load_state_dict(cursor["loader"])
            return iter(self.loader)
        if "iterator" in cursor:
            iterator = iter(self.loader)
            iterator.set_state(cursor["iterator"])
            return iterator
        return self._replay(cursor["epoch_rng"], seen)

    def _replay(self, epoch_rng: dict[str, Any], seen: int) -> Iterator[Any]:
        """Begin the epoch as it began, under its random state, go past what was seen.

        And leave the random state as it is.
        """
        now, self._epoch_rng = rng_state(), epoch_rng
        self._set_random_state(epoch_rng)
        iterator = self._tools.skip(self.loader, seen)
        if iterator is None:
            iterator = iter(self.loader)
            for _ in islice(iterator, seen):
                pass
        set_rng_state(now)
        return iterator


def evaluation_limits(loaders: Sequence[Any], how_much: int | float, stage: str) -> list[int | None]:
    """How many batches of each evaluation loader are used; a limit applies to each loader by itself."""
    short = "val" if stage == "validation" else stage
    name = f"limit_{short}_batches"
    return [limit(length_of(checked(loader, f"{short}_dataloader")), how_much, name) for loader in loaders]
