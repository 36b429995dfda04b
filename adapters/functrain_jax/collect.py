"""`self.log` while a step is traced: what was logged becomes part of the step's outputs. Pure but for the
collector's own list.

The running values of an epoch are carried through the compiled loop; the metrics on the host hold them between
dispatches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functrain.kernel.metrics import Running, monoids
from functrain.trainer.entries import Options, check_name, contradiction
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.metrics import Key, Metrics, no_size
from functrain_jax.order import plain

MONOIDS = monoids(jnp.maximum)


class Record(NamedTuple):
    """One call of `self.log`: by whom and under which name, how it is treated, and its value and weight."""

    key: Key
    metric: Metric
    value: jax.Array
    weight: Any


class Metric(NamedTuple):
    """A name as it was logged, its loader's suffix, and how it is treated."""

    base: str
    suffix: str
    options: Options


class Collector:
    """Stands in the metrics' place while a step is traced.

    Args:
        batch: tells by `size` how many samples it has, where a call does not say it.
    """

    def __init__(self, host: Metrics, batch: Any, size: Callable[[Any], int | None]) -> None:
        self.host = host
        self.batch = batch
        self.size = size
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
        sync_dist: bool = False,
    ) -> None:
        """Collect one value; the arguments are those of `Metrics.log`."""
        check_name(name)
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
        suffix = self.host.suffix if add_dataloader_idx else ""
        options = self.host.options(prog_bar, logger, on_step, on_epoch, reduce_fx, sync_dist)
        weight = self._weight() if batch_size is None and options.on_epoch else batch_size
        metric = Metric(name, suffix, options)
        self.records.append(
            Record((self.host.hook, name + suffix), metric, jax.lax.stop_gradient(array.reshape(())), weight)
        )

    def _weight(self) -> int:
        size = self.size(self.batch)
        if size is None:
            self.host.tell(no_size("number" if isinstance(self.batch, jax.Array) else type(plain(self.batch)).__name__))
        return 1 if size is None else size


class Logged(NamedTuple):
    """The metrics that a program logs: by hook and name how each is treated, and the type of its value."""

    metrics: dict[Key, Metric]
    types: dict[Key, Any]

    @staticmethod
    def of(records: list[Record]) -> Logged:
        """What these calls declare.

        Raises:
            ValueError: a hook logs one name with two kinds of options.
        """
        metrics: dict[Key, Metric] = {}
        types: dict[Key, Any] = {}
        for record in records:
            first = metrics.setdefault(record.key, record.metric)
            if first.options != record.metric.options:
                raise contradiction(*record.key, first.options, record.metric.options)
            types.setdefault(record.key, record.value.dtype)
        return Logged(metrics, types)

    def last(self) -> dict[Key, np.ndarray]:
        """Room for the last step's values."""
        return {key: np.zeros((), dtype) for key, dtype in self.types.items()}

    def rows(self, n: int) -> dict[Key, jax.Array]:
        """Room for the values of n evaluation steps, of those that loggers get step by step."""
        each = [key for key, metric in self.metrics.items() if metric.options.on_step and metric.options.logger]
        return {key: jnp.zeros(n, self.types[key]) for key in each}

    def merged(self, metrics: dict[str, Any], records: list[Record], step: Any = 0) -> dict[str, Any]:
        """The metrics with these records taken in; `step` is the place of their step among the rows."""
        last, running, rows = dict(metrics["last"]), dict(metrics["running"]), dict(metrics.get("rows", {}))
        for key, metric, value, weight in records:
            last[key] = value.astype(self.types[key])
            if key in rows:
                rows[key] = rows[key].at[step].set(last[key])
            if key in running:
                monoid = MONOIDS[metric.options.reduce_fx]
                total = running[key].total
                lifted = monoid.lift(value.astype(total.dtype), jnp.asarray(weight, total.dtype))
                running[key] = monoid.merge(running[key], lifted)
        metrics = {**metrics, "last": last, "running": running}
        return {**metrics, "rows": rows} if "rows" in metrics else metrics

    def declare(self, host: Metrics) -> None:
        """Make the entries on the host for them where they are not there yet.

        Raises:
            ValueError: there is one with other options.
        """
        for (hook, _), metric in self.metrics.items():
            host.entry(hook or "", *metric)

    def running(self, host: Metrics, dtype: Any) -> dict[Key, Running]:
        """The epoch's running values in the metrics: arrays of a device, or numpy's where nothing came together
        yet."""
        return {
            key: Running(*(x if isinstance(x, jax.Array) else np.asarray(x, dtype) for x in host.current[key].running))
            for key, metric in self.metrics.items()
            if metric.options.on_epoch
        }

    def put(self, host: Metrics, metrics: dict[str, Any], keys: Iterable[Key]) -> None:
        """Leave what a dispatch gave for these metrics in the entries on the host; nothing is read or waited for."""
        last, running = metrics["last"], metrics["running"]
        for key in self.metrics:
            if key in keys:
                entry = host.current[key]
                host.now = entry.at = host.now + 1
                entry.last = last[key]
                if key in running:
                    entry.running = running[key]

    def put_rows(self, host: Metrics, rows: dict[Key, Any], first: int, count: int) -> None:
        """The values of so many evaluation steps from number `first` on, to those that wait for the loggers."""
        for key, values in rows.items():
            if host.current[key].each:
                for i, value in enumerate(np.asarray(values)[:count]):
                    host.note_row(host.current[key], first + i, value)


def check_same(seen: Logged, records: list[Record]) -> None:
    """Raises ConfigurationError where a second trace logs what the first did not."""
    unknown = [record.key[1] for record in records if record.key not in seen.metrics]
    if unknown:
        raise ConfigurationError(
            f"self.log({unknown[0]!r}, ...): logged in one trace of the step and not in another; log the same names "
            "every time."
        )
