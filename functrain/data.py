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
        arrays: an array, a tuple of arrays or a dict of arrays, of shape (samples, ...); a batch has the same form.
        batch_size: samples a batch.
        shuffle: draw a new order in every epoch.
        drop_last: leave out a last, shorter batch.
        seed: of the order; default: the one of `seed_everything`, else 0.

    Raises:
        ValueError: the arrays differ in length, or batch_size is below 1.
    """

    def __init__(
        self, arrays: Any, batch_size: int, shuffle: bool = False, drop_last: bool = False, seed: int | None = None
    ) -> None:
        import numpy as np

        parts = _parts(arrays)
        sizes = {len(part) for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"ArrayLoader: the arrays have {sorted(sizes)} samples; they need one common length.")
        if batch_size < 1:
            raise ValueError(f"ArrayLoader(batch_size={batch_size!r}): must be at least 1.")
        self.arrays = _like(arrays, [np.asarray(part) for part in parts])
        self.samples = sizes.pop()
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed = seed if seed is not None else global_seed() or 0
        self.epoch = 0
        self._batch = 0
        self._start = 0

    def __len__(self) -> int:
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        import numpy as np

        order = np.arange(self.samples)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        first, self._start = self._start, 0
        parts = _parts(self.arrays)
        for batch in range(first, len(self)):
            picked = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            self._batch = batch + 1
            yield _like(self.arrays, [part[picked] for part in parts])
        self.epoch, self._batch = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order the next iteration has."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: the epoch, and the batches of it that were given out."""
        return {"seed": self.seed, "epoch": self.epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take `state_dict` back: the next iteration continues there."""
        self.seed, self.epoch, self._start = state["seed"], state["epoch"], state["batch"]


def _parts(arrays: Any) -> list[Any]:
    if isinstance(arrays, Mapping):
        return list(arrays.values())
    return list(arrays) if isinstance(arrays, tuple) else [arrays]


def _like(arrays: Any, parts: list[Any]) -> Any:
    if isinstance(arrays, Mapping):
        return dict(zip(arrays, parts, strict=True))
    return tuple(parts) if isinstance(arrays, tuple) else parts[0]
