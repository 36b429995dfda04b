"""A loader of arrays in memory that carries its own state.

Needs numpy only; for JAX, and wherever torch's would be too much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from functrain.seed import global_seed


class ArrayLoader:
    """Batches of arrays that share their first axis.

    The order of an epoch is a function of (seed, epoch) alone, so a run that continues finds the same batches, and
    skips those that it has seen by index.

    Args:
        arrays: an array, or tuples and dicts of arrays, of shape (samples, ...); a batch has the same form.
        batch_size: samples a batch.
        shuffle: draw a new order in every epoch.
        drop_last: leave out a last, shorter batch.
        seed: of the order; default: the one of `seed_everything`, else 0.

    Raises:
        ValueError: the arrays differ in length, one is no array, or batch_size is below 1.
    """

    def __init__(
        self, arrays: Any, batch_size: int, shuffle: bool = False, drop_last: bool = False, seed: int | None = None
    ) -> None:
        parts = [_array(part) for part in _parts(arrays)]
        sizes = {len(part) for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"ArrayLoader: the arrays have {sorted(sizes)} samples; they need one common length.")
        if batch_size < 1:
            raise ValueError(f"ArrayLoader(batch_size={batch_size!r}): must be at least 1.")
        self.arrays = _like(arrays, iter(parts))
        self.samples = sizes.pop()
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed = seed if seed is not None else global_seed() or 0
        self.epoch = 0
        self._batch = 0
        self._start = 0

    def __len__(self) -> int:
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        # Also an iteration that is given up before its first batch has continued where the state stood.
        first, self._start = self._start, 0
        return self._from(first)

    def _from(self, first: int) -> Iterator[Any]:
        import numpy as np

        order = np.arange(self.samples)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        parts = _parts(self.arrays)
        for batch in range(first, len(self)):
            picked = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            self._batch = batch + 1
            yield _like(self.arrays, (part[picked] for part in parts))
        self.epoch, self._batch = self.epoch + 1, 0

    def in_order(self, batch: int) -> Any:
        """Return a batch by its number in the order of the arrays, -1 the last one; no epoch is begun."""
        first = (batch % len(self)) * self.batch_size
        return _like(self.arrays, (part[first : first + self.batch_size] for part in _parts(self.arrays)))

    def unshuffled(self) -> ArrayLoader:
        """Return one of the same arrays that does not shuffle."""
        return ArrayLoader(self.arrays, self.batch_size, drop_last=self.drop_last, seed=self.seed)

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order the next iteration has."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return where the loader stands: the epoch, and the batches of it that were given out."""
        return {"seed": self.seed, "epoch": self.epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take `state_dict` back: the next iteration continues there."""
        self.seed, self.epoch, self._start = state["seed"], state["epoch"], state["batch"]


def _array(part: Any) -> Any:
    import numpy as np

    # numpy would make one array of a list [x, y], of two samples.
    if isinstance(part, list) and any(getattr(item, "ndim", 0) for item in part):
        raise ValueError(
            "ArrayLoader: a list of arrays may be samples or parts of a batch. Give parts as a tuple, (x, y), and "
            "samples as one array, np.stack(samples)."
        )
    array = np.asarray(part)
    if not array.ndim:
        raise ValueError(f"ArrayLoader: {repr(part)[:60]} is no array of samples; give arrays, or tuples or dicts.")
    return array


def _parts(arrays: Any) -> list[Any]:
    if isinstance(arrays, Mapping):
        arrays = tuple(arrays.values())
    return [part for item in arrays for part in _parts(item)] if isinstance(arrays, tuple) else [arrays]


def _like(arrays: Any, parts: Iterator[Any]) -> Any:
    """Return the form of `arrays` with the next of these parts in their places."""
    if isinstance(arrays, Mapping):
        return {name: _like(item, parts) for name, item in arrays.items()}
    return tuple(_like(item, parts) for item in arrays) if isinstance(arrays, tuple) else next(parts)
