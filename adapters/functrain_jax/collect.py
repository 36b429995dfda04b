"""`self.log` while a step is traced: what was logged becomes part of the step's outputs. Pure but for the
collector's own list.

The running values of an epoch are carried through the compiled loop; the book on the host holds them between
dispatches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functrain.kernel.metrics import Running, monoids
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.logbook import LogBook, Options

MONOIDS = monoids(jnp.maximum)


class Record(NamedTuple):
    """One call of `self.log`: its name with the loader's suffix, how it is treated, and its value and
    weight."""

    name: str
    options: Options
    value: jax.Array
    weight: Any


class Collector:
    """Stands in the book's place while a step is traced."""

    def __init__(self, book: LogBook, batch_size: int) -> None:
        self.book = book
        self.batch_size = batch_size
        self.records: list[Record] = []

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        batch_size: Any = None,
        add_dataloader_idx: bool = True,
    ) -> None:
        """Collect one value; the arguments are those of `LogBook.log`."""
        if isinstance(value, list | tuple | dict | str | None) or not hasattr(value, "__float__"):
            raise TypeError(
                f"self.log({name!r}, ...): {type(value).__name__} is no scalar; log a number or a scalar array."
            )
        array = jnp.asarray(value)
        if array.size != 1:
            raise ValueError(
                f"self.log({name!r}, ...): the value has shape {array.shape}; log a scalar, such as value.mean()."
            )
        if array.dtype == jnp.bool_:
            array = array.astype(jnp.float32)
        key = name + self.book.suffix if add_dataloader_idx and self.book.suffix else name
        options = self.book.options(on_step, on_epoch, prog_bar, logger, reduce_fx)
        weight = self.batch_size if batch_size is None else batch_size
        self.records.append(Record(key, options, jax.lax.stop_gradient(array.reshape(())), weight))


class Logged(NamedTuple):
    """The metrics that a program logs: by name how each is treated, and the type of its value."""

    options: dict[str, Options]
    types: dict[str, Any]

    @staticmethod
    def of(records: list[Record]) -> Logged:
        """What these calls declare; the first call of a name decides."""
        options: dict[str, Options] = {}
        types: dict[str, Any] = {}
        for record in records:
            options.setdefault(record.name, record.options)
            types.setdefault(record.name, record.value.dtype)
        return Logged(options, types)

    def last(self) -> dict[str, np.ndarray]:
        """Room for the last step's values."""
        return {name: np.zeros((), dtype) for name, dtype in self.types.items()}

    def merged(self, metrics: dict[str, Any], records: list[Record]) -> dict[str, Any]:
        """The metrics with these records taken in."""
        last, running = dict(metrics["last"]), dict(metrics["running"])
        for name, _, value, weight in records:
            last[name] = value.astype(self.types[name])
            if name in running:
                monoid = MONOIDS[self.options[name].reduce_fx]
                total = running[name].total
                lifted = monoid.lift(value.astype(total.dtype), jnp.asarray(weight, total.dtype))
                running[name] = monoid.merge(running[name], lifted)
        return {**metrics, "last": last, "running": running}

    def declare(self, book: LogBook) -> None:
        """Make the book's entries for them where they are not there yet."""
        for name, options in self.options.items():
            if name not in book.current:
                book.declare(name, options)

    def running(self, book: LogBook, dtype: Any) -> dict[str, Running]:
        """The epoch's running values in the book: arrays of a device, or numpy's where nothing came together
        yet."""
        return {
            name: Running(
                *(x if isinstance(x, jax.Array) else np.asarray(x, dtype) for x in book.current[name].running)
            )
            for name, options in self.options.items()
            if options.on_epoch
        }

    def put(self, book: LogBook, metrics: dict[str, Any], names: Iterable[str]) -> None:
        """Leave what a dispatch gave for these names in the book's entries; nothing is read or waited for."""
        last, running = metrics["last"], metrics["running"]
        for name in names:
            entry = book.current[name]
            entry.last = last[name]
            if name in running:
                entry.running = running[name]


def check_same(seen: Logged, records: list[Record]) -> None:
    """Raises ConfigurationError where a second trace logs what the first did not."""
    unknown = [record.name for record in records if record.name not in seen.options]
    if unknown:
        raise ConfigurationError(
            f"self.log({unknown[0]!r}, ...): logged in one trace of the step and not in another; log the same names "
            "every time."
        )
