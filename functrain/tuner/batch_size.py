"""The largest batch size that fits into memory, found by fits of a few steps."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.narrow import is_count
from functrain.trainer.trainer import Trainer
from functrain.tuner.attributes import Attribute
from functrain.tuner.trials import SHORT, Data, check_interrupted, without_trace

OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "resource_exhausted", "cuda error: out of",
    "cudnn_status_not_supported", "cudnn_status_alloc_failed", "cublas_status_alloc_failed",
)  # fmt: skip
"""What the messages of errors say, in small letters, that mean it."""

MODES = ("power", "binsearch")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether it says that memory did not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


class Fits:
    """Tries batch sizes, each by a short fit.

    Args:
        steps: the updates of a try.
        attribute: where the loaders look for the batch size.

    Attributes:
        most: how many samples there are, which no batch exceeds; None until that is known.
    """

    def __init__(self, trainer: Trainer, module: Any, data: Data, steps: int, attribute: Attribute) -> None:
        self.trainer, self.module, self.data, self.steps = trainer, module, data, steps
        self.attribute = attribute
        self.most: int | None = None

    def __call__(self, size: int) -> bool:
        """Return whether a fit with batches of this size has enough memory."""
        self.attribute.set(size)
        counts = _Counts()
        limit = self.trainer.flags.limit_val_batches and self.steps
        flags = {**SHORT, "max_steps": self.steps, "limit_val_batches": limit}
        fits = True
        try:
            with self.trainer.stacked(callbacks=[counts], **flags):
                self.trainer.fit(self.module, datamodule=self.data.datamodule)
                check_interrupted(self.trainer)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fits = False
        # What the failed fit held is held by its traceback no more.
        gc.collect()
        self.trainer.print(f"scale_batch_size: {self.attribute.name}={size} {'fits' if fits else 'does not fit'}.")
        if fits:
            self._look_at(size, counts)
        return fits

    def _look_at(self, size: int, counts: _Counts) -> None:
        if counts.of_data is not None:
            self.most = counts.of_data
        elif counts.samples is not None and counts.samples < size:
            self.most = counts.samples


class _Counts(Callback):
    """How many samples the largest batch and the whole of the data have."""

    samples: int | None = None
    of_data: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Ask the loader for the length of its data."""
        loader = trainer.run.source.loader if trainer.run is not None else None
        data: Any = getattr(loader, "dataset", None)
        known: Any = getattr(loader, "samples", None)
        if hasattr(type(data), "__len__"):
            known = len(data)
        self.of_data = known if is_count(known, 1) else None

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Count a batch."""
        size = trainer.run.inspector.batch_size(batch) if trainer.run is not None else None
        if size is not None:
            self.samples = max(self.samples or 0, size)


def scale(
    trainer: Trainer,
    module: Any,
    data: Data,
    attribute: Attribute,
    mode: str,
    steps: int,
    first: int,
    trials: int,
) -> int:
    """Set the attribute to the largest size that fits, and return it.

    Raises:
        ConfigurationError: not even one sample fits.
    """
    before = attribute.get()
    fits = Fits(trainer, module, data, steps, attribute)
    try:
        with without_trace(trainer, module, data):
            found = search(fits, lambda: fits.most, mode, first, trials)
    except BaseException:
        attribute.set(before)
        raise
    attribute.set(found)
    return found


def search(fits: Callable[[int], bool], most: Callable[[], int | None], mode: str, first: int, trials: int) -> int:
    """Return the largest size that fits: of `first` times powers of two, or, by 'binsearch', of all.

    Args:
        fits: does this size?
        most: returns the size above which none is larger; None where that is not known.
        trials: stop after so many sizes above the first.
    """
    size = first
    while not fits(size):
        if size == 1:
            raise ConfigurationError("scale_batch_size: there is not enough memory for a batch of one sample.")
        size = size // 2
    low, high = size, (2 * size if size < first else None)
    for _ in range(trials):
        limit = most()
        is_all = limit is not None and low >= limit
        is_closed = high is not None and (mode == "power" or high - low <= 1)
        if is_all or is_closed:
            break
        size = 2 * low if high is None else (low + high) // 2
        size = size if limit is None else min(size, limit)
        if fits(size):
            low = size
        else:
            high = size
    limit = most()
    return low if limit is None else min(low, limit)


def check(mode: str, steps: Any, first: Any, trials: Any) -> None:
    """Look at the arguments.

    Raises:
        ConfigurationError: one cannot be; names it.
    """
    if mode not in MODES:
        raise ConfigurationError(f"scale_batch_size(mode={mode!r}): must be 'power' or 'binsearch'.")
    for name, value, least in (("steps_per_trial", steps, 1), ("init_val", first, 1), ("max_trials", trials, 0)):
        if not is_count(value, least):
            raise ConfigurationError(f"scale_batch_size({name}={value!r}): must be an int, at least {least}.")
