"""Loaders as the Trainer sees them: how long they are, where an epoch stands, how to continue there.

Imports no framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, cast

from functrain.seed import isolate_rng, rng_state
from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.flags import limit
from functrain.trainer.foreign import SetsEpoch, Stateful, StatefulIterator
from functrain.trainer.generators import set_known_rng_state, warn_of_copies
from functrain.trainer.narrow import class_of, is_list, is_sequence, is_tuple


def length_of(loader: Any) -> int | None:
    """Return a loader's number of batches; None where it has no length."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def as_loaders(loaders: Any, what: str = "dataloaders") -> list[Any]:
    """Loaders as a list, by the rule of all stages: a list of batches is one loader, a list of loaders is several.

    Args:
        loaders: a loader, a list of batches (arrays, dicts, tuples or lists of arrays), or a list or tuple of loaders,
            each of which may be a list of batches. Lists of arrays alone are batches in a list (as those of
            `list(DataLoader(...))` are), and loaders in a tuple.
        what: the argument's name, for messages.

    Raises:
        ConfigurationError: batches beside loaders.
    """
    if loaders is None:
        return []
    if not is_sequence(loaders) or not loaders:
        return list(loaders) if is_sequence(loaders) else [loaders]
    kinds = {_kind(item) for item in loaders}
    if kinds == {"loader", "batch"} or len(kinds) == 3:
        raise ConfigurationError(
            f"{what}: a {type(loaders).__name__} with batches beside loaders; give a list of batches, or a list of "
            "loaders."
        )
    batches = "batch" in kinds or (kinds == {"either"} and is_list(loaders))
    return [loaders] if batches else list(loaders)


def as_loader(loader: Any, what: str) -> Any:
    """Return the one loader that there is, by the same rule.

    Raises:
        ConfigurationError: there are several.
    """
    found = as_loaders(loader, what)
    if len(found) > 1:
        raise ConfigurationError(
            f"{what}: a {type(loader).__name__} of {len(found)} loaders was given where one is needed; join their data "
            "sets into one loader (torch.utils.data.ConcatDataset, say). A list of batches is one loader."
        )
    return found[0] if found else loader


def _kind(item: Any) -> str:
    """Return whether it is a 'loader', a 'batch', or 'either', as a list of arrays is."""
    if is_list(item):
        kinds = {_kind(part) for part in item}
        plain = any(not isinstance(part, Mapping | list | tuple) for part in item)
        return "either" if kinds == {"batch"} and plain else "loader"
    if is_tuple(item):
        return "loader" if any(_kind(part) == "loader" for part in item) else "batch"
    values = isinstance(item, str | bytes | Mapping) or hasattr(item, "shape") or not hasattr(item, "__iter__")
    return "batch" if values and not isinstance(item, type) else "loader"


def checked(loader: Any, what: str) -> Any:
    """Return the loader, if batches can be drawn from it.

    Raises:
        ConfigurationError: it is no loader, several in a container, or has length 0.
    """
    name = type(loader).__name__
    if isinstance(loader, type) or not hasattr(loader, "__iter__"):
        found = kind(loader) if isinstance(loader, type) else f"{kind(loader)} ({repr(loader)[:60]})"
        hint = ": wrap the data set in a DataLoader" if hasattr(loader, "__getitem__") else ""
        raise ConfigurationError(f"{what}: {found} cannot be iterated over; give a loader of batches{hint}.")
    if isinstance(loader, str | bytes | Mapping):
        raise ConfigurationError(f"{what}: a {name} is no loader of batches; give a DataLoader, or a list of batches.")
    if hasattr(loader, "shape"):
        raise ConfigurationError(f"{what}: a {name} of shape {tuple(loader.shape)} is no loader; put it into one.")
    if is_tuple(loader) and all(hasattr(item, "shape") for item in loader):
        raise ConfigurationError(
            f"{what}: a tuple of {len(loader)} arrays is a batch, not a loader; put it into a list."
        )
    if is_sequence(loader) and any(hasattr(item, "batch_size") for item in loader):
        raise ConfigurationError(
            f"{what}: a {name} of {len(loader)} loaders was given where one is needed; join their data sets into one "
            "loader (torch.utils.data.ConcatDataset, say)."
        )
    if length_of(loader) == 0:
        raise ConfigurationError(
            f"{what}: the loader has length 0. Is the data set empty, or smaller than one batch with drop_last=True?"
        )
    return loader


class LoaderTools(Protocol):
    """What an adapter knows of its framework's loaders."""

    def skip(self, loader: Any, n: int, /) -> Iterator[Any] | None:
        """Return an iterator over all but the first n batches, its order drawn now, which reads none of them; None
        where the loader is not of its framework's. An epoch begins with n = 0."""
        ...

    def loader_rng(self, loader: Any, /) -> Any | None:
        """Return the state of generators that belong to the loader alone; None where it has none."""
        ...

    def set_loader_rng(self, loader: Any, state: Any, /) -> None:
        """Take `loader_rng` back."""
        ...

    def unshuffled(self, loader: Any, /) -> Any:
        """Return the same loader in a fixed order."""
        ...

    def ends(self, loader: Any, /) -> tuple[Any, Any] | None:
        """Return the first and the last batch in the order of the data, read by their numbers; None where the loader is
        not of its framework's, or has no such batches. Random numbers may be drawn."""
        ...

    def with_indices(self, loader: Any, /) -> Iterator[tuple[Any, Sequence[int]]] | None:
        """Return an iterator over the batches that a fresh iterator of the loader gives, each with the numbers of its
        samples in their data set; None where the loader is not of its framework's, or does not tell."""
        ...


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


class TrainSource:
    """The training loader of a fit, and where the epoch stands in it.

    A loader that carries its own state (`state_dict`, as StatefulDataLoader, or its iterator's `get_state`, as grain)
    is asked for it. Any other is replayed: its order depends on the random state at the epoch's start, which is kept;
    the adapter skips by index what was already seen, so that nothing is read twice.

    Args:
        tools: what the adapter knows of loaders of its framework.

    Attributes:
        sized: the loader tells its length, so that nobody need look for its end.

    Raises:
        ConfigurationError: it is no loader, or has no batch.
    """

    def __init__(self, loader: Any, how_much: int | float, tools: LoaderTools) -> None:
        self.loader = checked(loader, "train_dataloader")
        self.sized = length_of(loader) is not None
        self.batches = limit(length_of(loader), how_much, "limit_train_batches")
        self._tools = tools
        self._iterator: Iterator[Any] | None = None
        self._epoch_rng: dict[str, Any] | None = None
        self._by_index = False

    def open(self, epoch: int, cursor: dict[str, Any] | None = None) -> Iterator[Any]:
        """Return an iterator over the epoch's batches: from its start, or from a cursor of `state()`."""
        for owner in (self.loader, getattr(self.loader, "sampler", None), getattr(self.loader, "batch_sampler", None)):
            if isinstance(owner, SetsEpoch):
                owner.set_epoch(epoch)
        if cursor is None:
            self._epoch_rng = self._random_state()
            self._iterator = self._begin(0)
        else:
            # What opening draws again was drawn before the checkpoint.
            now = self._tools.loader_rng(self.loader)
            with isolate_rng():
                self._iterator = self._reopen(cursor)
            if now is not None:
                self._tools.set_loader_rng(self.loader, now)
        return self._iterator

    def place(self, seen: int) -> dict[str, Any]:
        """Return the cursor of a place in an epoch that begins with the random state of now."""
        return {"seen": seen, "epoch_rng": self._random_state()}

    def replayed(self, seen: int) -> dict[str, Any]:
        """Return the cursor of a place in the open epoch that is found by going through it from its start, whatever was
        drawn since."""
        return {"seen": seen, "epoch_rng": self._epoch_rng}

    def look_ahead(self, batches: Iterator[Any], seen: int) -> dict[str, Any] | None:
        """Draw one batch more of the open epoch, `seen` batches into it: the cursor to find that batch again with,
        random states as before; None where there is none."""
        cursor, random_state, missing = self._cursor(seen), self._random_state(), object()
        if next(batches, missing) is missing:
            return None
        self._set_random_state(random_state)
        return cursor

    def close(self) -> None:
        """The epoch is over: let go of its iterator, and with it of worker processes.

        One that tells its own state is kept, since a checkpoint may still be taken.
        """
        if not isinstance(self._iterator, StatefulIterator):
            self._iterator = None

    def _begin(self, seen: int) -> Iterator[Any]:
        iterator = None
        if not self._keeps_state():
            iterator = rest_of(self.loader, seen) or self._tools.skip(self.loader, seen)
        self._by_index = iterator is not None
        if iterator is None:
            iterator = iter(self.loader)
            for _ in islice(iterator, seen):
                pass
        return iterator

    def why_empty(self, epoch: int) -> str:
        """Return what to say where an epoch has found no batch at all."""
        name = type(self.loader).__name__
        if epoch and isinstance(self.loader, Iterator):
            return (
                f"train_dataloader: the {name} was used up before epoch {epoch}: it can be iterated over only once. "
                f"Give an object whose __iter__ begins anew, such as a list or a DataLoader, or set max_epochs={epoch}."
            )
        return f"train_dataloader: the {name} gave no batch in epoch {epoch}. Is its data empty?"

    def _random_state(self) -> dict[str, Any]:
        return {"global": rng_state(), "loader": self._tools.loader_rng(self.loader)}

    def _set_random_state(self, state: dict[str, Any]) -> None:
        set_known_rng_state(state["global"])
        if state["loader"] is not None:
            self._tools.set_loader_rng(self.loader, state["loader"])

    def state(self, seen: int | None, waiting: dict[str, Any] | None = None) -> dict[str, Any]:
        """For a checkpoint: where the epoch stands, and the loader's own random state.

        Args:
            seen: batches of the open epoch that were seen; None between epochs.
            waiting: the cursor of a checkpoint that the run continues from, not opened yet: it still holds.
        """
        reads_copies = self._by_index and (seen or getattr(self.loader, "persistent_workers", False))
        if reads_copies:
            warn_of_copies(self.loader, "train_dataloader")
        return {
            "cursor": waiting if waiting is not None or seen is None else self._cursor(seen),
            "loader_rng": self._tools.loader_rng(self.loader),
        }

    def load_state(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """Take a `state()` back. Return the cursor to open with."""
        cursor = state["cursor"]
        if cursor is not None and cursor.get("epoch_rng") is not None:
            with isolate_rng():  # it is set when the epoch is opened; here, that it can be
                self._set_random_state(cursor["epoch_rng"])
        if state["loader_rng"] is not None:
            self._tools.set_loader_rng(self.loader, state["loader_rng"])
        return cursor

    def _keeps_state(self) -> bool:
        return isinstance(self.loader, Stateful)

    def _cursor(self, seen: int) -> dict[str, Any]:
        """Return where the epoch stands after `seen` batches: enough to continue with the next one."""
        if seen and self._keeps_state():
            return {"seen": seen, "loader": self.loader.state_dict()}
        if seen and isinstance(self._iterator, StatefulIterator):
            return {"seen": seen, "iterator": self._iterator.get_state()}
        return self.replayed(seen)

    def _reopen(self, cursor: dict[str, Any]) -> Iterator[Any]:
        if "loader" in cursor:
            self.loader.load_state_dict(cursor["loader"])
            return iter(self.loader)
        if "iterator" in cursor:
            iterator = iter(self.loader)
            iterator.set_state(cursor["iterator"])
            return iterator
        # Begin the epoch as it began, under its random state, and go past what was seen.
        self._epoch_rng = cursor["epoch_rng"]
        if self._epoch_rng is not None:
            self._set_random_state(self._epoch_rng)
        return self._begin(cursor["seen"])


def loaders_rng(tools: LoaderTools, loaders: Sequence[Any]) -> list[Any]:
    """Return what `loader_rng` returns for each of several loaders."""
    return [tools.loader_rng(loader) for loader in loaders]


def set_loaders_rng(tools: LoaderTools, loaders: Sequence[Any], states: Sequence[Any]) -> None:
    """Take `loaders_rng` back, as far as there are as many loaders."""
    for loader, state in zip(loaders, states, strict=False):
        if state is not None:
            tools.set_loader_rng(loader, state)


def evaluation_limits(loaders: Sequence[Any], how_much: int | float, stage: str) -> list[int | None]:
    """Return how many batches of each evaluation loader are used; a limit applies to each loader by itself."""
    short = "val" if stage == "validation" else stage
    name = f"limit_{short}_batches"
    return [limit(length_of(checked(loader, f"{short}_dataloader")), how_much, name) for loader in loaders]
