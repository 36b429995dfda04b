"""A pass through one loader, and how its place in it is found again. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, cast

from functrain.seed import isolate_rng, rng_state
from functrain.trainer.errors import CheckpointError
from functrain.trainer.foreign import SetsEpoch, Stateful, StatefulIterator
from functrain.trainer.generators import loader_rng, set_known_rng_state, set_loader_rng, warn_of_copies
from functrain.trainer.narrow import class_of

Cursor = dict[str, Any]
"""A place in a pass, as plain values."""


class LoaderTools(Protocol):
    """What an adapter knows of its framework's loaders."""

    def skip(self, loader: Any, n: int, opened: Callable[[], object] | None = None, /) -> Iterator[Any] | None:
        """Return an iterator over all but the first n batches, its order drawn now, which reads none of them; None
        where the loader is not of its framework's. An epoch begins with n = 0.

        `opened` is called in between, where a fresh iterator would be made and not asked for its first batch yet.
        """
        ...

    def loader_rng(self, loader: Any, /) -> Any | None:
        """Return the state of generators that belong to the loader alone; None where it has none."""
        ...

    def set_loader_rng(self, loader: Any, state: Any, /) -> None:
        """Take `loader_rng` back."""
        ...

    def shuffles(self, loader: Any, /) -> bool:
        """Return whether it is known to draw a new order in every epoch."""
        ...

    def unshuffled(self, loader: Any, /) -> Any:
        """Return the same loader in the order of its data; itself where it is in a fixed order, or has an order of its
        own that cannot be changed."""
        ...

    def ends(self, loader: Any, /) -> tuple[Any, Any] | None:
        """Return the first and the last batch in the order of the data, read by their numbers; None where the loader is
        not of its framework's, or has no such batches. Random numbers may be drawn."""
        ...

    def with_indices(self, loader: Any, /) -> Iterator[tuple[Any, Sequence[int]]] | None:
        """Return an iterator over the batches that a fresh iterator of the loader gives, each with the numbers of its
        samples in their data set; None where the loader is not of its framework's, or does not tell."""
        ...


class NoFramework:
    """The tools of no framework: every loader is read."""

    def skip(self, loader: Any, n: int, opened: Callable[[], object] | None = None) -> Iterator[Any] | None:
        """See the protocol."""
        return None

    loader_rng = staticmethod(loader_rng)
    set_loader_rng = staticmethod(set_loader_rng)

    def shuffles(self, loader: Any) -> bool:
        """See the protocol."""
        return False

    def unshuffled(self, loader: Any) -> Any:
        """See the protocol."""
        return loader

    def ends(self, loader: Any) -> tuple[Any, Any] | None:
        """See the protocol."""
        return None

    def with_indices(self, loader: Any) -> Iterator[tuple[Any, Sequence[int]]] | None:
        """See the protocol."""
        return None


def rest_of(loader: Any, n: int) -> Iterator[Any] | None:
    """Return an iterator over all but the first n batches of a sequence, which reads none of them; None where the
    loader is no sequence, or has a way of its own to go through it, so that batches must be read and dropped."""
    iterates: Any = getattr(class_of(loader), "__iter__", None)
    if iterates in (vars(list)["__iter__"], vars(tuple)["__iter__"]):
        return islice(loader, n, None)
    if isinstance(loader, Sequence) and iterates is vars(Sequence)["__iter__"]:
        items = cast("Sequence[Any]", loader)
        return (items[i] for i in range(n, len(items)))
    return None


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell a loader and its samplers the number of the epoch, where they want to know it."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    for owner in {id(owner): owner for owner in owners}.values():
        if isinstance(owner, SetsEpoch):
            owner.set_epoch(epoch)


class Reader:
    """One loader, and a pass through it.

    A loader that carries its own state (`state_dict`, as StatefulDataLoader, or its iterator's `get_state`, as grain)
    is asked for it. Any other is replayed: its order depends on the random state at the pass's start, which is kept;
    the adapter skips by index what was already seen, so that nothing is read twice.

    Args:
        tools: what the adapter knows of loaders of its framework.

    Attributes:
        iterator: of the pass under way, or the last one.
        began: the random state at its start.
    """

    def __init__(self, loader: Any, tools: LoaderTools) -> None:
        self.loader = loader
        self.iterator: Iterator[Any] | None = None
        self.began: dict[str, Any] | None = None
        self._tools = tools
        self._by_index = False

    def set_epoch(self, epoch: int) -> None:
        """Tell the loader and its samplers the number of the epoch, where they want to know it."""
        set_epoch(self.loader, epoch)

    def begin(self) -> Iterator[Any]:
        """Begin a pass. Return an iterator over its batches."""
        self.began = self.random_state()
        self.iterator = self._from(0)
        return self.iterator

    def reopen(self, cursor: Cursor) -> Iterator[Any]:
        """Return an iterator over what comes after this place; random states are left as it was found with them."""
        if "loader" in cursor and (self.keeps_state or "epoch_rng" not in cursor):
            self.loader.load_state_dict(cursor["loader"])
            iterator: Any = iter(self.loader)
        elif "iterator" in cursor:
            iterator = iter(self.loader)
            iterator.set_state(cursor["iterator"])
        else:
            # Begin the pass as it began, under its random state, and go past what was seen; under that of now where it
            # is not known.
            self.began = then = cursor["epoch_rng"] or self.random_state()
            self.set_random_state(then)
            iterator = self._from(cursor["seen"], cursor.get("first_rng"))
        self.iterator = iterator
        return iterator

    def give_up(self, cursor: Cursor) -> None:
        """Nothing comes after this place: a loader that carries its own state is left behind the pass."""
        if "loader" in cursor:
            self.reopen(cursor)
            self.close()

    def _from(self, seen: int, first: dict[str, Any] | None = None) -> Iterator[Any]:
        """Begin a pass behind the first batches. `first` is the random state in which the very first one is asked for;
        None where nothing was drawn since the iterator was made."""

        def opened() -> None:
            if first is not None:
                self.set_random_state(first)

        iterator = None
        if not self.keeps_state:
            iterator = rest_of(self.loader, seen) or self._tools.skip(self.loader, seen, opened)
        self._by_index = iterator is not None
        if iterator is None:
            iterator = iter(self.loader)
            if seen:
                opened()
            for _ in islice(iterator, seen):
                pass
        return iterator

    def close(self) -> None:
        """The pass is over: let go of its iterator, and with it of worker processes.

        One that tells its own state is kept, since a checkpoint may still be taken.
        """
        if not isinstance(self.iterator, StatefulIterator):
            self.iterator = None

    # where it stands

    @property
    def keeps_state(self) -> bool:
        """Does the loader carry its own state?"""
        return isinstance(self.loader, Stateful)

    def cursor(self, seen: int) -> Cursor:
        """Return where the pass stands after `seen` batches: enough to continue with the next one."""
        if seen and self.keeps_state:
            return {"seen": seen, "loader": self.loader.state_dict()}
        if seen and isinstance(self.iterator, StatefulIterator):
            return {"seen": seen, "iterator": self.iterator.get_state()}
        return self.replayed(seen)

    def replayed(self, seen: int) -> Cursor:
        """Return the cursor of a place that is found by going through the pass from its start, whatever was drawn
        since."""
        return {"seen": seen, "epoch_rng": self.began}

    def place(self, seen: int) -> Cursor:
        """Return the cursor of a place in a pass that begins with the random state of now."""
        return {"seen": seen, "epoch_rng": self.random_state()}

    def check(self, cursor: Cursor) -> None:
        """The random states of this place can be set; they are left as they are.

        Raises:
            CheckpointError: it is a place in several loaders, or the loader has other generators now.
        """
        if "leaves" in cursor or "whole" in cursor:
            raise CheckpointError("the run that wrote it drew from several training loaders; continue with the same.")
        if cursor.get("epoch_rng") is not None:
            with isolate_rng():
                self.set_random_state(cursor["epoch_rng"])

    def random_state(self) -> dict[str, Any]:
        """Return the state of the global generators, and of the loader's own."""
        return {"global": rng_state(), "loader": self.loader_rng()}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        """Take `random_state` back."""
        set_known_rng_state(state["global"])
        self.set_loader_rng(state["loader"])

    def loader_rng(self) -> Any | None:
        """Return the state of the loader's own generators; None where it has none."""
        return self._tools.loader_rng(self.loader)

    def set_loader_rng(self, state: Any | None) -> None:
        """Take `loader_rng` back."""
        if state is not None:
            self._tools.set_loader_rng(self.loader, state)

    def settle(self, rng: Any | None, cursor: Cursor) -> None:
        """The pass was opened again at this place: give the loader's generators the states that they are to go on with.

        Where nothing was asked for yet, they are those of the beginning, which opening has set.
        """
        if cursor["seen"] or "epoch_rng" not in cursor:
            self.set_loader_rng(rng)

    def warn_of_copies(self, seen: int | None) -> None:
        """Say, where a checkpoint is taken, that worker processes draw from copies of generators."""
        reads_copies = self._by_index and (seen or getattr(self.loader, "persistent_workers", False))
        if reads_copies:
            warn_of_copies(self.loader, "train_dataloader")
