"""CombinedLoader: several loaders as one. Imports no framework."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from functrain.seed import isolate_rng
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.foreign import Stateful
from functrain.trainer.loader_forms import length_of, like, loaders_in
from functrain.trainer.narrow import is_mapping, is_number, is_sequence
from functrain.trainer.reader import LoaderTools, NoFramework
from functrain.trainer.walk import MODES, Walk, length_in


class CombinedLoader:
    """Several loaders, whose batches come together in the form of the loaders.

    `CombinedLoader({"a": first, "b": second})` gives batches `{"a": ..., "b": ...}`, each of which is the batch of a
    step where it is the training loader of a fit. A run that continues goes on at the very batch, of shuffling loaders
    too. Whoever iterates over it by hand gets `(batch, number of the batch, number of the loader)`.

    Args:
        loaders: lists, tuples and dicts of loaders, within one another too.
        mode: 'min_size' ends with the shortest loader; 'max_size_cycle' with the longest, while the others begin again;
            'max_size' with the longest, with None in place of the others; 'sequential' gives the batches of one loader
            after another, as they are.

    Attributes:
        iterables, loaders: what was given.
        mode: as it was given.

    Raises:
        ConfigurationError: an unknown mode, no loader, a CombinedLoader within another, or a loader that can be read
            only once at a time and is given twice.
    """

    SUPPORTED_MODES: ClassVar[tuple[str, ...]] = MODES

    def __init__(self, loaders: Any, mode: str = "min_size") -> None:
        if mode not in MODES:
            raise ConfigurationError(f"CombinedLoader(mode={mode!r}): must be one of {', '.join(map(repr, MODES))}.")
        self.iterables = loaders
        self.mode = mode
        self._found = loaders_in(loaders, "") if is_mapping(loaders) or is_sequence(loaders) else {"": loaders}
        self._limits: list[int | float] | None = None
        self._walk: Walk | None = None
        self._count = 0
        self._place: dict[str, Any] | None = None
        _check(self._found)

    @property
    def loaders(self) -> Any:
        """What was given."""
        return self.iterables

    @property
    def flattened(self) -> list[Any]:
        """The loaders in order."""
        return list(self._found.values())

    @flattened.setter
    def flattened(self, loaders: Sequence[Any]) -> None:
        if len(loaders) != len(self._found):
            raise ConfigurationError(f"CombinedLoader: {len(loaders)} loaders in place of {len(self._found)}.")
        self.iterables = self._in_form(loaders)
        self._found = dict(zip(self._found, loaders, strict=True))

    @property
    def places(self) -> Mapping[str, Any]:
        """The loaders by the place where each is, such as "['a'][0]"."""
        return self._found

    @property
    def sampler(self) -> Any:
        """The samplers in the form of the loaders; None for a loader without one."""
        return self._in_form([getattr(loader, "sampler", None) for loader in self.flattened])

    @property
    def batch_sampler(self) -> Any:
        """The batch samplers in the form of the loaders; None for a loader without one."""
        return self._in_form([getattr(loader, "batch_sampler", None) for loader in self.flattened])

    @property
    def limits(self) -> list[int | float] | None:
        """So many batches of each loader, for whoever iterates by hand; a Trainer goes by its own flags. One number
        holds for every loader."""
        return self._limits

    @limits.setter
    def limits(self, limits: int | float | Sequence[int | float] | None) -> None:
        if is_number(limits):
            limits = [limits] * len(self._found)
        if limits is not None and len(limits) != len(self._found):  # type: ignore[arg-type]
            raise ConfigurationError(f"CombinedLoader.limits={limits!r}: there are {len(self._found)} loaders.")
        self._limits = None if limits is None else list(limits)  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Return the number of batches.

        Raises:
            TypeError: a loader whose length decides has none.
        """
        length = self.length(self._sizes())
        if length is None:
            raise TypeError(f"CombinedLoader(mode={self.mode!r}) of loaders without a length has none.")
        return length

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        place, self._place = self._place, None
        batches = self._begin(place)
        self._count = 0 if place is None else place["seen"]
        most = None if self._limits is None else self.length(self._sizes())
        for batch in batches:
            if most is not None and self._count >= most:
                return
            assert self._walk is not None
            self._count += 1
            yield batch, self._walk.index, self._walk.which

    def _begin(self, place: dict[str, Any] | None) -> Iterator[Any]:
        limits = None if self._limits is None else [None if limit == math.inf else int(limit) for limit in self._limits]
        walk = self._walk = self.walk(NoFramework(), limits)
        if place is None:
            return walk.begin()
        now = walk.loader_rng()
        with isolate_rng():
            batches = walk.reopen(place)
        walk.settle(now, place)
        return batches

    def reset(self) -> None:
        """Forget where an iteration stands, and let go of its worker processes."""
        if self._walk is not None:
            self._walk.close()
        self._walk, self._place, self._count = None, None, 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the iteration by hand stands: loaders' own states, and random states of those that have none."""
        return {} if self._walk is None else {"place": self._walk.cursor(self._count)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take `state_dict` back: the next iteration continues there."""
        self._place = state_dict.get("place")

    # for a Trainer

    def walk(self, tools: LoaderTools, limits: Sequence[int | None] | None = None) -> Walk:
        """Return passes through the loaders, which give batches alone."""
        return Walk(self._found, self.mode, self._in_form, limits, tools)

    def length(self, sizes: Sequence[int | None]) -> int | None:
        """Return how many batches there are where the loaders have so many; None where it is unknown."""
        return length_in(self.mode, sizes)

    def _sizes(self) -> list[int | None]:
        sizes = [length_of(loader) for loader in self.flattened]
        if self._limits is None:
            return sizes
        limited = [limit if size is None else min(size, limit) for size, limit in zip(sizes, self._limits, strict=True)]
        return [None if size == math.inf else int(size) for size in limited]

    def _in_form(self, values: Iterable[Any]) -> Any:
        opened = is_mapping(self.iterables) or is_sequence(self.iterables)
        return like(self.iterables, iter(values)) if opened else next(iter(values))


def _check(found: Mapping[str, Any]) -> None:
    if not found:
        raise ConfigurationError("CombinedLoader: there is no loader in it.")
    seen: dict[int, str] = {}
    for place, loader in found.items():
        if isinstance(loader, CombinedLoader):
            raise ConfigurationError(
                f"CombinedLoader: a CombinedLoader at {place}; put all loaders into one, in dicts and lists within one "
                "another."
            )
        is_one_pass = isinstance(loader, Stateful) or getattr(loader, "persistent_workers", False)
        if id(loader) in seen and is_one_pass:
            raise ConfigurationError(
                f"CombinedLoader: the {type(loader).__name__} at {seen[id(loader)]} is given again at {place}, and "
                "goes through its data only once at a time; make a second one."
            )
        seen[id(loader)] = place


def places_of(loader: Any) -> Mapping[str, Any]:
    """Return the loaders that a loader is made of, each by its place: itself by "" where it is one."""
    return loader.places if isinstance(loader, CombinedLoader) else {"": loader}


def leaves_of(loaders: Iterable[Any]) -> list[Any]:
    """Return the loaders that these are made of."""
    return [leaf for loader in loaders for leaf in places_of(loader).values()]


def batches_of(loader: Any, tools: LoaderTools | None = None) -> Iterator[Any]:
    """Return an iterator over a loader's batches."""
    return loader.walk(tools or NoFramework()).begin() if isinstance(loader, CombinedLoader) else iter(loader)


class Batches:
    """The batches of a CombinedLoader alone, as any loader gives them."""

    def __init__(self, loader: CombinedLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return batches_of(self.loader)
