"""DeviceStatsMonitor: logs the memory of the device and the load of the CPU, at log events only."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError


class DeviceStatsMonitor(Callback):
    """Logs what the device tells of its memory, and how busy the CPU is.

    It reads them where step metrics are written, every `log_every_n_steps` updates, after the batch: so it costs
    nothing at the others. Each value is logged as 'DeviceStatsMonitor.on_train_batch_end/<name>'.

    Args:
        cpu_stats: also 'cpu_percent', 'cpu_vm_percent' and 'cpu_swap_percent', by the package psutil; None for a run
            whose device tells nothing, as a CPU.

    Raises:
        ConfigurationError: psutil is needed and not installed; at the start of a fit, a Trainer without a logger, or
            nothing to log.
    """

    may_lag = True

    def __init__(self, cpu_stats: bool | None = None) -> None:
        if cpu_stats not in (True, False, None):
            raise ConfigurationError(f"DeviceStatsMonitor(cpu_stats={cpu_stats!r}): must be True, False or None.")
        self.cpu_stats = cpu_stats
        self._psutil: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: is there something to log, and somebody to write it?"""
        if stage != "fit" or trainer.fast_dev_run:
            return
        if not trainer.loggers:
            raise ConfigurationError(
                "DeviceStatsMonitor: the Trainer has no logger to write to; leave out logger=False, or the callback."
            )
        device = trainer.run.inspector.device()["device"]
        tells = bool(trainer.run.inspector.device_stats())
        if not tells and self.cpu_stats is False:
            raise ConfigurationError(
                f"DeviceStatsMonitor(cpu_stats=False): the run's device is {device!r}, which tells nothing of itself, "
                "so there is nothing to log; leave cpu_stats out, or the callback."
            )
        self._psutil = None
        wants_cpu = not tells if self.cpu_stats is None else self.cpu_stats
        if wants_cpu:
            self._psutil = _psutil()
            self._psutil.cpu_percent()  # it tells the load since it was asked last

    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        """Add the present values to the step metrics that are about to be written."""
        if trainer.fast_dev_run:
            return
        stats = dict(trainer.run.inspector.device_stats())
        if self._psutil is not None:
            stats |= cpu_stats(self._psutil)
        metrics.update(prefix_metric_keys(stats, f"{type(self).__name__}.on_train_batch_end"))


def cpu_stats(psutil: Any) -> dict[str, float]:
    """Return how busy the CPU is since the last time, and how full memory and swap are, in percent."""
    return {
        "cpu_percent": float(psutil.cpu_percent()),
        "cpu_vm_percent": float(psutil.virtual_memory().percent),
        "cpu_swap_percent": float(psutil.swap_memory().percent),
    }


def prefix_metric_keys(metrics_dict: Mapping[str, float], prefix: str, separator: str = "/") -> dict[str, float]:
    """Return metrics by longer names: the prefix, the separator, the name."""
    return {f"{prefix}{separator}{name}": value for name, value in metrics_dict.items()}


def _psutil() -> Any:
    if find_spec("psutil") is None:
        raise ConfigurationError(
            "DeviceStatsMonitor: the load of the CPU is read by the package 'psutil', which is not installed; install "
            "it (pip install psutil), or leave the callback out."
        )
    return import_module("psutil")
