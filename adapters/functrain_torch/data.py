"""torch's DataLoader as the Trainer needs it: skipping by index, a fixed order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler


class _From:
    """A sampler of batches (or of indices) that begins after the first n; drawn once, when it is asked to."""

    def __init__(self, sampler: Any, n: int) -> None:
        self._rest = self._after(sampler, n)

    def _after(self, sampler: Any, n: int) -> Iterator[Any]:
        iterator = iter(sampler)
        for _ in islice(iterator, n):
            pass
        # One draw ahead: a sampler takes its random numbers when the first index is asked of it.
        first = list(islice(iterator, 1))
        return iter(()) if not first else _chain(first, iterator)

    def __iter__(self) -> Iterator[Any]:
        return self._rest


def _chain(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield from rest


class _Lazy:
    """Stands for a sampler until its loader's iterator exists.

    So that random numbers are drawn in the loader's order.
    """

    def __init__(self) -> None:
        self.sampler: _From | None = None

    def __iter__(self) -> Iterator[Any]:
        assert self.sampler is not None
        yield from self.sampler


def skip(loader: Any, n: int) -> Iterator[Any] | None:
    """An iterator over all but the first n batches of a DataLoader, which reads none of them; None for other loaders.

    The order is that of the random state now. Random numbers are drawn as a fresh iterator of the loader would: first
    its base seed, then its sampler's.
    """
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return None
    lazy = _Lazy()
    batched = loader.batch_sampler is not None
    again = DataLoader(
        loader.dataset,
        batch_sampler=lazy if batched else None,  # type: ignore[arg-type]
        sampler=None if batched else lazy,  # type: ignore[arg-type]
        batch_size=1 if batched else None,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
    )
    sampler = loader.batch_sampler if batched else loader.sampler
    if loader.num_workers:
        # Workers are handed indices as soon as the iterator exists, so the sampler must stand ready, and its numbers
        # come after the base seed: draw that one by hand, then put the random state back for the iterator to draw it
        # itself.
        return _with_workers(again, lazy, sampler, n)
    iterator = iter(again)
    lazy.sampler = _From(sampler, n)
    return iterator


def _with_workers(again: DataLoader[Any], lazy: _Lazy, sampler: Any, n: int) -> Iterator[Any]:
    generator = again.generator or torch.default_generator
    start = generator.get_state()
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    lazy.sampler = _From(sampler, n)
    after = generator.get_state()
    generator.set_state(start)
    iterator = iter(again)
    generator.set_state(after)
    return iterator


def unshuffled(loader: Any) -> Any:
    """The same DataLoader in the order of its data set; another kind of loader as it is."""
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return loader
    if not isinstance(loader.sampler, RandomSampler):
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=BatchSampler(SequentialSampler(loader.dataset), loader.batch_size or 1, loader.drop_last),  # type: ignore[arg-type]
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
    )


def loader_rng(loader: Any) -> list[Tensor] | None:
    """The states of the generators that the loader and its samplers have of their own; None where they have none."""
    generators = _generators(loader)
    return [generator.get_state() for generator in generators] or None


def set_loader_rng(loader: Any, states: list[Tensor]) -> None:
    """Take `loader_rng` back."""
    for generator, state in zip(_generators(loader), states, strict=True):
        generator.set_state(state)


def _generators(loader: Any) -> list[torch.Generator]:
    owners = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    found: list[torch.Generator] = []
    for owner in owners:
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator) and all(generator is not known for known in found):
            found.append(generator)
    return found
