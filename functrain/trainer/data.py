"""Loaders as the Trainer sees them: how long they are, where an epoch stands, how to continue there.

Imports no framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from functrain.seed import isolate_rng
from functrain.trainer.combined import CombinedLoader, leaves_of, places_of
from functrain.trainer.flags import limit
from functrain.trainer.loader_forms import checked, length_of
from functrain.trainer.reader import Cursor, LoaderTools, Reader


class TrainSource:
    """The training loader of a fit, and where the epoch stands in it.

    Args:
        tools: what the adapter knows of loaders of its framework.

    Attributes:
        batches: of an epoch; None where their number is unknown.
        sized: the loader tells its length, so that nobody need look for its end.

    Raises:
        ConfigurationError: it is no loader, or has no batch.
    """

    def __init__(self, loader: Any, how_much: int | float, tools: LoaderTools) -> None:
        self.loader = loader
        lengths, limits = limits_of(loader, how_much, "train_dataloader", "limit_train_batches")
        self.sized = None not in lengths
        self.batches = together(loader, limits)
        self._reader = loader.walk(tools, limits) if isinstance(loader, CombinedLoader) else Reader(loader, tools)

    def open(self, epoch: int, cursor: Cursor | None = None) -> Iterator[Any]:
        """Return an iterator over the epoch's batches: from its start, or from a cursor of `state()`."""
        reader = self._reader
        reader.set_epoch(epoch)
        if cursor is None:
            return reader.begin()
        # What opening draws again was drawn before the checkpoint.
        now = reader.loader_rng()
        with isolate_rng():
            batches = reader.reopen(cursor)
        reader.settle(now, cursor)
        return batches

    def place(self, seen: int) -> Cursor:
        """Return the cursor of a place in an epoch that begins with the random state of now."""
        return self._reader.place(seen)

    def replayed(self, seen: int) -> Cursor:
        """Return the cursor of a place in the open epoch that is found by going through it from its start, whatever was
        drawn since."""
        return self._reader.replayed(seen)

    def look_ahead(self, batches: Iterator[Any], seen: int) -> Cursor | None:
        """Draw one batch more of the open epoch, `seen` batches into it: the cursor to find that batch again with,
        random states as before; None where there is none."""
        cursor, random_state, missing = self._reader.cursor(seen), self._reader.random_state(), object()
        if next(batches, missing) is missing:
            return None
        self._reader.set_random_state(random_state)
        return cursor

    def close(self) -> None:
        """The epoch is over: let go of its iterator, and with it of worker processes."""
        self._reader.close()

    def why_empty(self, epoch: int) -> str:
        """Return what to say where an epoch has found no batch at all."""
        name = type(self.loader).__name__
        if epoch and any(isinstance(leaf, Iterator) for leaf in leaves_of([self.loader])):
            return (
                f"train_dataloader: the {name} was used up before epoch {epoch}: it can be iterated over only once. "
                f"Give an object whose __iter__ begins anew, such as a list or a DataLoader, or set max_epochs={epoch}."
            )
        return f"train_dataloader: the {name} gave no batch in epoch {epoch}. Is its data empty?"

    def state(self, seen: int | None, waiting: Cursor | None = None) -> dict[str, Any]:
        """For a checkpoint: where the epoch stands, and the loader's own random state.

        Args:
            seen: batches of the open epoch that were seen; None between epochs.
            waiting: the cursor of a checkpoint that the run continues from, not opened yet: it still holds.
        """
        self._reader.warn_of_copies(seen)
        return {
            "cursor": waiting if waiting is not None or seen is None else self._reader.cursor(seen),
            "loader_rng": self._reader.loader_rng(),
        }

    def load_state(self, state: dict[str, Any]) -> Cursor | None:
        """Take a `state()` back. Return the cursor to open with.

        Raises:
            CheckpointError: it is of other loaders.
        """
        cursor = state["cursor"]
        if cursor is not None:
            self._reader.check(cursor)  # it is set when the epoch is opened; here, that it can be
        self._reader.set_loader_rng(state["loader_rng"])
        return cursor


def loaders_rng(tools: LoaderTools, loaders: Sequence[Any]) -> list[Any]:
    """Return what `loader_rng` returns for each of several loaders."""
    return [tools.loader_rng(loader) for loader in leaves_of(loaders)]


def set_loaders_rng(tools: LoaderTools, loaders: Sequence[Any], states: Sequence[Any]) -> None:
    """Take `loaders_rng` back, as far as there are as many loaders."""
    for loader, state in zip(leaves_of(loaders), states, strict=False):
        if state is not None:
            tools.set_loader_rng(loader, state)


def limits_of(
    loader: Any, how_much: int | float, what: str, flag: str, say: Callable[[str], object] | None = None
) -> tuple[list[int | None], list[int | None]]:
    """Return the lengths of the loaders that a loader is made of, and how many batches of each are used.

    Raises:
        ConfigurationError: one is no loader, or a limit that does not fit it.
    """
    found = [checked(leaf, what + place, say) for place, leaf in places_of(loader).items()]
    lengths = [length_of(leaf) for leaf in found]
    return lengths, [limit(length, how_much, flag) for length in lengths]


def together(loader: Any, sizes: Sequence[int | None]) -> int | None:
    """Return how many batches a loader gives where those that it is made of give so many; None for unknown."""
    return loader.length(sizes) if isinstance(loader, CombinedLoader) else sizes[0]


def evaluation_limits(
    loaders: Sequence[Any], how_much: int | float, stage: str, say: Callable[[str], object]
) -> list[int | None]:
    """Return how many batches of each evaluation loader are used; a limit applies to each loader by itself. `say` is
    told of those that are empty."""
    short = "val" if stage == "validation" else stage
    what, flag = f"{short}_dataloader", f"limit_{short}_batches"
    return [together(loader, limits_of(loader, how_much, what, flag, say)[1]) for loader in loaders]
