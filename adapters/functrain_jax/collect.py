"""`self.log` while a step is traced: what was logged becomes part of the step's outputs.

The running values of an epoch are carried through the compiled loop; the metrics on the host hold them between
dispatches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functrain.kernel.metrics import Running, monoids
from functrain.trainer.entries import Declared, Key, contradiction
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.metrics import Metrics
from functrain.trainer.scopes import Record

MONOIDS = monoids(jnp.maximum)


def traced(name: str, value: Any) -> jax.Array:
    """Return what is recorded of a value that a step logs: a scalar array that no gradient goes through.

    Raises:
        TypeError: it is no number.
        ValueError: it is several.
    """
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
    return jax.lax.stop_gradient(array.reshape(()))


class Logged(NamedTuple):
    """The metrics that a program logs.

    Attributes:
        metrics: by hook and name, how each is treated.
        last: room for the last step's value of each.
    """

    metrics: dict[Key, Declared]
    last: dict[Key, np.ndarray]

    @staticmethod
    def of(records: list[Record]) -> Logged:
        """Return what these calls declare.

        Raises:
            ValueError: a hook logs one name with two kinds of options.
        """
        metrics: dict[Key, Declared] = {}
        last: dict[Key, np.ndarray] = {}
        for record in records:
            first = metrics.setdefault(record.key, record.declared)
            if first.options != record.declared.options:
                raise contradiction(first.options, record.declared)
            last.setdefault(record.key, np.zeros((), record.value.dtype))
        return Logged(metrics, last)

    def rows(self, n: int) -> dict[Key, jax.Array]:
        """Room for the values of n evaluation steps, of those that loggers get step by step."""
        each = [key for key, metric in self.metrics.items() if metric.options.on_step and metric.options.logger]
        return {key: jnp.zeros(n, self.last[key].dtype) for key in each}

    def merged(self, metrics: dict[str, Any], records: list[Record], step: Any = 0) -> dict[str, Any]:
        """Return the metrics with these records taken in; `step` is the place of their step among the rows."""
        last, running, rows = dict(metrics["last"]), dict(metrics["running"]), dict(metrics.get("rows", {}))
        for record in records:
            key, value = record.key, record.value
            last[key] = value.astype(self.last[key].dtype)
            if key in rows:
                rows[key] = rows[key].at[step].set(last[key])
            if key in running:
                monoid = MONOIDS[record.declared.options.reduce_fx]
                total = running[key].total
                lifted = monoid.lift(value.astype(total.dtype), jnp.asarray(record.weight, total.dtype))
                running[key] = monoid.merge(running[key], lifted)
        metrics = {**metrics, "last": last, "running": running}
        return {**metrics, "rows": rows} if "rows" in metrics else metrics

    def declare(self, host: Metrics) -> None:
        """Make the entries on the host for them where they are not there yet.

        Raises:
            ValueError: there is one with other options.
        """
        entries = host.current.entries
        for key, declared in self.metrics.items():
            entry = entries.get(key)
            if entry is None or entry.given is None or entry.options != declared.options:
                host.entry(declared)

    def running(self, host: Metrics, dtype: Any) -> dict[Key, Running]:
        """Return the epoch's running values in the metrics: arrays of a device, or numpy's where nothing came together
        yet."""
        return {
            key: Running(
                *(x if isinstance(x, jax.Array) else np.asarray(x, dtype) for x in host.current.entries[key].running)
            )
            for key, metric in self.metrics.items()
            if metric.options.on_epoch
        }

    def put_rows(self, host: Metrics, rows: dict[Key, Any], first: int, count: int) -> None:
        """The values of so many evaluation steps from number `first` on, to those that wait for the loggers."""
        for key, values in rows.items():
            entry = host.current.entries[key]
            if entry.each:
                for i, value in enumerate(np.asarray(values)[:count]):
                    host.note_row(entry, first + i, value)


def check_same(seen: Logged, records: list[Record]) -> None:
    """Raises ConfigurationError where a second trace logs what the first did not."""
    unknown = [record.key[1] for record in records if record.key not in seen.metrics]
    if unknown:
        raise ConfigurationError(
            f"self.log({unknown[0]!r}, ...): logged in one trace of the step and not in another; log the same names "
            "every time."
        )
