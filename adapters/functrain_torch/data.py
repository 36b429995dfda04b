"""torch's DataLoader as the Trainer needs it: skipping by index, a fixed order."""

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    get_worker_info,
)


class SeededIndices(list[int]):
    """The indices of one batch, which seed the random numbers of the worker process that reads them.

    A worker's own stream depends on which batches it has read before, so a run that continues within an epoch could not
    find it again. A stream for each batch depends on the epoch's seed and the batch's number alone.
    """

    def __init__(self, indices: Iterable[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        if get_worker_info() is not None:
            random.seed(self.seed)
            numpy.random.seed(self.seed % 2**32)
            torch.default_generator.manual_seed(self.seed)
        return super().__iter__()

    def __reduce__(self) -> Any:
        return SeededIndices, (self[:], self.seed)


class _After:
    """A sampler without its first n items. They are drawn when the first item is asked for, as an epoch draws them.

    Args:
        seed: of the epoch, to make every batch's indices `SeededIndices`; None leaves them.
    """

    def __init__(self, sampler: Any, n: int, seed: int | None) -> None:
        self.sampler, self.n, self.seed = sampler, n, seed
        self.drawn = 0
        self.items: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return max(0, len(self.sampler) - self.n)

    def __iter__(self) -> Iterator[Any]:
        self.items, self.drawn = iter(self.sampler), 0
        return _Items(self)

    def pass_by(self) -> None:
        """Draw the first n items."""
        while self.drawn < self.n:
            next(self.items, None)
            self.drawn += 1


class _Items:
    def __init__(self, source: _After) -> None:
        self.source = source

    def __iter__(self) -> _Items:
        return self

    def __next__(self) -> Any:
        source = self.source
        source.pass_by()
        item = next(source.items)
        source.drawn += 1
        return item if source.seed is None else SeededIndices(item, (source.seed + source.drawn) % 2**63)


def skip(loader: Any, n: int, opened: Callable[[], object] | None = None) -> Iterator[Any] | None:
    """Return an iterator over all but the first n batches of a DataLoader, which reads none of them; None for other
    loaders.

    The order is that of the random state now, and random numbers are drawn as a fresh iterator of the loader would.
    Where batches are read by worker processes, every batch has random numbers of its own there (see `SeededIndices`);
    a loader without automatic batching is left alone, so its workers' random numbers are those of a fresh iterator.
    Persistent workers draw a seed in every epoch, as others do. `opened` is called before the order is drawn where a
    fresh iterator draws it with its first batch.
    """
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return None
    batched, workers = loader.batch_sampler is not None, loader.num_workers > 0
    if not workers and not n:
        return iter(loader)
    seed = _seed_of_epoch(loader) if batched and workers else None
    twin = _TWINS.get(loader) if loader.persistent_workers else None
    if twin is None:
        twin = _twin(loader, _After(loader.batch_sampler if batched else loader.sampler, n, seed))
        if loader.persistent_workers:
            _TWINS[loader] = twin
    else:
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
    place: Any = twin.batch_sampler if batched else twin.sampler
    place.n, place.seed = n, seed
    iterator = iter(twin)
    if not workers:
        # The loader would ask for the first index right now; later the random state is another.
        if opened is not None:
            opened()
        place.pass_by()
    return iterator


# The loaders with persistent workers and what stands for them, which keeps those workers from epoch to epoch.
_TWINS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _seed_of_epoch(loader: DataLoader[Any]) -> int:
    """Return a number that follows from the random state now, without moving it."""
    generator = torch.Generator()
    generator.set_state((loader.generator or torch.default_generator).get_state())
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def _twin(loader: DataLoader[Any], sampler: _After | _Told) -> DataLoader[Any]:
    """Return the same loader over this sampler of batches, or of indices where it makes no batches."""
    batched = loader.batch_sampler is not None
    return _ordered(loader, batch_sampler=sampler) if batched else _ordered(loader, sampler=sampler, batch_size=None)


def _ordered(loader: DataLoader[Any], **order: Any) -> DataLoader[Any]:
    """Return the same loader in another order: `order` has those arguments of a DataLoader that say it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the loader itself has said it
        return DataLoader(
            loader.dataset,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            **order,
        )


class _Told:
    """A sampler that keeps what it has given until `told` asks for it."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.given: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        for item in self.sampler:
            self.given.append(item)
            yield item


def with_indices(loader: Any) -> Iterator[tuple[Any, list[int]]] | None:
    """Return an iterator over the batches of a DataLoader, each with the indices of its samples; None for loaders that
    do not tell them: of another class, over an IterableDataset, or whose workers hand in batches out of order."""
    is_other = type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset)
    if is_other or not getattr(loader, "in_order", True):
        return None
    batched = loader.batch_sampler is not None
    told = _Told(loader.batch_sampler if batched else loader.sampler)
    batches = iter(_twin(loader, told))
    return ((batch, _indices(told.given.popleft())) for batch in batches)


def _indices(given: Any) -> list[int]:
    """Return what a sampler gave as a list, also where it makes no batches."""
    return list(given) if isinstance(given, Iterable) else [given]


def shuffles(loader: Any) -> bool:
    """Return whether a DataLoader draws a new order in every epoch, by torch's own sampler."""
    has_order = isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset)
    return has_order and isinstance(_sampler_of(loader), RandomSampler)


def _sampler_of(loader: DataLoader[Any]) -> Any:
    """Return what gives the indices; None for batches of a kind of their own."""
    batch_sampler: Any = loader.batch_sampler
    if batch_sampler is None:
        return loader.sampler
    return getattr(batch_sampler, "sampler", None) if isinstance(batch_sampler, BatchSampler) else None


def unshuffled(loader: Any) -> Any:
    """Return the same DataLoader in the order of its data set, of a subset in the order of its indices; one that is in
    this order, has batches of its own making, or is of another class, as it is."""
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return loader
    batch_sampler: Any = loader.batch_sampler
    sampler = _sampler_of(loader) if batch_sampler is None or type(batch_sampler) is BatchSampler else None
    if sampler is None or type(sampler) is SequentialSampler:
        return loader
    is_subset = isinstance(sampler, SubsetRandomSampler)
    order: Any = list(sampler.indices) if is_subset else SequentialSampler(loader.dataset)  # type: ignore[arg-type]
    if batch_sampler is None:
        return _ordered(loader, sampler=order, batch_size=None)
    return _ordered(loader, sampler=order, batch_size=batch_sampler.batch_size, drop_last=batch_sampler.drop_last)


def ends(loader: Any) -> tuple[Any, Any] | None:
    """Return the first and the last batch of a DataLoader in the order of its data set; None for other loaders.

    Nor where worker processes read the data set: it may open files when it is first read, which is for them to do.
    """
    cannot_be_read = type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset) or loader.num_workers
    if cannot_be_read:
        return None
    dataset: Any = loader.dataset
    batched, count = loader.batch_sampler is not None, len(dataset)
    size = loader.batch_size if batched else 1
    if size is None or not count:
        return None
    last = (count // size - 1 if loader.drop_last else (count - 1) // size) * size
    wanted: Any = [range(min(size, count)), range(last, min(last + size, count))] if batched else [0, count - 1]
    how: Any = {"batch_sampler": wanted} if batched else {"sampler": wanted, "batch_size": None}
    first, end = DataLoader(dataset, collate_fn=loader.collate_fn, **how)
    return first, end
