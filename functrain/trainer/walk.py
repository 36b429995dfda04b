"""A pass through several loaders at once, or one after another, and how its place is found again. Imports no
framework."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from functrain.seed import isolate_rng, rng_state
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.generators import set_known_rng_state
from functrain.trainer.narrow import is_list
from functrain.trainer.reader import Cursor, LoaderTools, Reader

MODES = ("min_size", "max_size_cycle", "max_size", "sequential")

MOST_PASSES = 1025
"""So many passes of a short loader can be found again within one of a long one: of the longest dispatch, which may have
drawn them before they were trained on."""

_END: Any = object()


class _Pass(NamedTuple):
    """One pass through one of the loaders.

    Attributes:
        start: how many batches of the whole came before it.
        number: of the pass, from 0.
        began: the random state in which its iterator was made.
        first: the one in which it was asked for its first batch; None where nothing came in between.
        live: nothing was asked for yet, and something may come in between.
    """

    start: int
    number: int
    began: dict[str, Any] | None
    first: dict[str, Any] | None = None
    live: bool = False


def length_in(mode: str, sizes: Sequence[int | None]) -> int | None:
    """Return how many batches loaders of these sizes give together; None for an unknown number."""
    known = [size for size in sizes if size is not None]
    if mode == "min_size":
        return min(known, default=None)
    if len(known) < len(sizes):
        return None
    return sum(known) if mode == "sequential" else max(known, default=0)


class Walk:
    """Several loaders, and a pass through them.

    Args:
        loaders: by the place where each is, for messages.
        mode: how long it is: as its shortest loader, as its longest (the others begin again, or give None), or one
            loader after another.
        form: puts the batches of all loaders, a list, into the form that is given out.
        limits: so many batches of each loader where they come one after another; None for no limit.
        tools: what the adapter knows of loaders of its framework.

    Attributes:
        readers: of the loaders, in order.
        index, which: of the batch that was given out last: its number, and the loader's, where they come one after
            another.
    """

    def __init__(
        self,
        loaders: Mapping[str, Any],
        mode: str,
        form: Callable[[list[Any]], Any],
        limits: Sequence[int | None] | None,
        tools: LoaderTools,
    ) -> None:
        self.readers = [Reader(loader, tools) for loader in loaders.values()]
        self.index = self.which = 0
        self._places = list(loaders)
        self._mode, self._form, self._limits = mode, form, limits
        self._draw: Callable[[], Any] = getattr(self, f"_draw_{mode}")
        self._reset()

    def _reset(self) -> None:
        self._count = self.which = 0
        self._over = [False] * len(self.readers)
        self._passes: list[deque[_Pass]] = [deque(maxlen=MOST_PASSES) for _ in self.readers]

    def set_epoch(self, epoch: int) -> None:
        """Tell loaders and samplers the number of the epoch."""
        for reader in self.readers:
            reader.set_epoch(epoch)

    def begin(self) -> Iterator[Any]:
        """Begin a pass. Return an iterator over its batches."""
        self._reset()
        for i in range(1 if self._mode == "sequential" else len(self.readers)):
            self._open(i)
        return self._batches()

    def _open(self, i: int) -> None:
        reader, passes = self.readers[i], self._passes[i]
        reader.begin()
        passes.append(_Pass(self._count, passes[-1].number + 1 if passes else 0, reader.began, live=True))

    def _batches(self) -> Iterator[Any]:
        while True:
            batch = self._draw()
            if batch is _END:
                return
            self._count += 1
            yield batch

    def _next(self, i: int) -> Any:
        passes, iterator = self._passes[i], self.readers[i].iterator
        assert iterator is not None
        if passes[-1].live:
            passes[-1] = passes[-1]._replace(first=self.readers[i].random_state(), live=False)
        return next(iterator, _END)

    # the modes

    def _draw_min_size(self) -> Any:
        self.index, values = self._count, list[Any]()
        for i in range(len(self.readers)):
            value = self._next(i)
            if value is _END:
                return _END
            values.append(value)
        return self._form(values)

    def _draw_max_size(self) -> Any:
        self.index = self._count
        values = [_END if over else self._next(i) for i, over in enumerate(self._over)]
        self._over = [value is _END for value in values]
        return _END if all(self._over) else self._form([None if value is _END else value for value in values])

    def _draw_max_size_cycle(self) -> Any:
        self.index, values = self._count, list[Any]()
        for i in range(len(self.readers)):
            value = self._next(i)
            if value is _END:
                self._over[i] = True
                if all(self._over):
                    return _END
                value = self._again(i)
            values.append(value)
        return self._form(values)

    def _again(self, i: int) -> Any:
        self._open(i)
        passes = self._passes[i]
        passes[-1] = passes[-1]._replace(live=False)
        value = self._next(i)
        if value is _END:
            loader = self.readers[i].loader
            raise ConfigurationError(
                f"train_dataloader{self._places[i]}: the {type(loader).__name__} is to begin again and gives nothing: "
                "is it empty, or can it be iterated over only once? Give a list or a DataLoader, or another mode."
            )
        return value

    def _draw_sequential(self) -> Any:
        while self.which < len(self.readers):
            passes = self._passes[self.which]
            limit = None if self._limits is None else self._limits[self.which]
            self.index = self._count - passes[-1].start
            value = _END if limit is not None and self.index >= limit else self._next(self.which)
            if value is not _END:
                return value
            self.readers[self.which].close()
            self.which += 1
            if self.which < len(self.readers):
                self._open(self.which)
        return _END

    # where it stands

    def cursor(self, seen: int) -> Cursor:
        """Return where the pass stands after `seen` batches: enough to continue with the next one."""
        if seen != self._count:
            return self.replayed(seen)
        leaves: list[Cursor | None] = []
        for reader, passes in zip(self.readers, self._passes, strict=True):
            latest = passes[-1] if passes else None
            leaves.append({**reader.cursor(seen - latest.start), **_kept(latest)} if latest is not None else None)
        return {"seen": seen, "which": self.which, "over": list(self._over), "leaves": leaves}

    def replayed(self, seen: int) -> Cursor:
        """Return the cursor of a place that is found by going through it from the passes' starts, whatever was drawn
        since."""
        then = [self._pass_at(i, seen) for i in range(len(self.readers))]
        leaves: list[Cursor | None] = []
        rng: list[Any] = []
        for reader, passes, at in zip(self.readers, self._passes, then, strict=True):
            later = [each for each in passes if at is None or each.number > at.number]
            rng.append(later[0].began["loader"] if later and later[0].began is not None else None)
            skips = {"passes": at.number} if at is not None and reader.keeps_state else {}
            leaves.append(at and {"seen": seen - at.start, "epoch_rng": at.began, **_kept(at), **skips})
        which = max((i for i, at in enumerate(then) if at is not None), default=0)
        over = [at is not None and at.number > 0 for at in then]
        which = which if self._mode == "sequential" else 0
        return {"seen": seen, "which": which, "over": over, "leaves": leaves, "rng": rng}

    def _pass_at(self, i: int, seen: int) -> _Pass | None:
        """Return the pass of a loader that gave the last of the first `seen` batches; None before it is opened."""
        found = [each for each in self._passes[i] if each.start < seen or not each.number]
        opened = found and (found[-1].start < seen or not found[-1].start)
        return found[-1] if opened else None

    def reopen(self, cursor: Cursor) -> Iterator[Any]:
        """Return an iterator over what comes after this place; random states are left as it was found with them."""
        if "leaves" not in cursor:
            return self._read_to(cursor)
        self._check_form(cursor)
        self._reset()
        self._count, self.which, self._over = cursor["seen"], cursor["which"], list(cursor["over"])
        for i, (reader, leaf) in enumerate(zip(self.readers, cursor["leaves"], strict=True)):
            if leaf is None:
                continue
            is_over = (self._mode == "max_size" and self._over[i]) or (self._mode == "sequential" and i < self.which)
            first, waits = leaf["first_rng"], not leaf["seen"]
            self._passes[i].append(_Pass(leaf["start"], leaf["number"], leaf.get("epoch_rng"), first, waits))
            if is_over:
                reader.give_up(leaf)
                continue
            for _ in range(leaf.get("passes", 0)):
                for _ in reader.loader:
                    pass
            reader.reopen(leaf)
        return self._batches()

    def _read_to(self, cursor: Cursor) -> Iterator[Any]:
        """A place that was given without a pass: go there from the start."""
        self.set_random_state(cursor["epoch_rng"])
        batches = self.begin()
        for _ in range(cursor["seen"]):
            next(batches, None)
        return batches

    def place(self, seen: int) -> Cursor:
        """Return the cursor of a place in a pass that begins with the random state of now."""
        return {"seen": seen, "epoch_rng": self.random_state(), "whole": True}

    def check(self, cursor: Cursor) -> None:
        """The random states of this place can be set; they are left as they are.

        Raises:
            CheckpointError: there are other loaders now, or they have other generators.
        """
        if "leaves" in cursor:
            self._check_form(cursor)
            for reader, leaf in zip(self.readers, cursor["leaves"], strict=True):
                reader.check(leaf or {})
        elif "whole" in cursor:
            with isolate_rng():
                self.set_random_state(cursor["epoch_rng"])
        else:
            raise CheckpointError(
                f"the run that wrote it drew from one training loader, and this one has {len(self.readers)}; continue "
                "with the same."
            )

    def _check_form(self, cursor: Cursor) -> None:
        count = len(cursor["leaves"])
        if count != len(self.readers):
            raise CheckpointError(
                f"the run that wrote it drew from {count} training loaders, and this one has {len(self.readers)}; "
                "continue with as many."
            )

    def close(self) -> None:
        """The pass is over: let go of the iterators."""
        for reader in self.readers:
            reader.close()

    def random_state(self) -> dict[str, Any]:
        """Return the state of the global generators, and of the loaders' own."""
        return {"global": rng_state(), "loader": self.loader_rng()}

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        """Take `random_state` back."""
        set_known_rng_state(state["global"])
        self.set_loader_rng(state["loader"])

    def loader_rng(self) -> list[Any] | None:
        """Return the states of each loader's own generators; None where none has any."""
        states = [reader.loader_rng() for reader in self.readers]
        return None if all(state is None for state in states) else states

    def set_loader_rng(self, state: Any | None) -> None:
        """Take `loader_rng` back.

        Raises:
            CheckpointError: there are other loaders now, or they have other generators.
        """
        if state is None:
            return
        if not is_list(state) or len(state) != len(self.readers):
            raise CheckpointError(
                f"the run that wrote it had other training loaders than these {len(self.readers)}; continue with the "
                "same."
            )
        for reader, one in zip(self.readers, state, strict=True):
            reader.set_loader_rng(one)

    def settle(self, rng: list[Any] | None, cursor: Cursor) -> None:
        """The pass was opened again at this place: give the loaders' generators the states that they are to go on with:
        of one that has begun another pass since, those in which it did."""
        if "leaves" not in cursor:
            self.set_loader_rng(rng)
            return
        none = [None] * len(self.readers)
        for reader, leaf, now, then in zip(
            self.readers, cursor["leaves"], rng or none, cursor.get("rng") or none, strict=True
        ):
            if leaf is None or then is not None:
                reader.set_loader_rng(now if then is None else then)
            else:
                reader.settle(now, leaf)

    def warn_of_copies(self, seen: int | None) -> None:
        """Say, where a checkpoint is taken, that worker processes draw from copies of generators."""
        for reader in self.readers:
            reader.warn_of_copies(seen)


def _kept(one: _Pass) -> Cursor:
    return {"start": one.start, "number": one.number, "first_rng": one.first}
