"""GPUStatsMonitor: logs how busy a GPU is, as nvidia-smi tells it, at log events only."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import torch

from functrain.callbacks import Callback
from functrain.trainer.errors import ConfigurationError


class GPUStatsMonitor(Callback):
    """Logs what `nvidia-smi` tells of the run's GPU, where step metrics are written: every `log_every_n_steps` updates.

    Args:
        memory_utilization: 'memory.used (MB)', 'memory.free (MB)' and 'utilization.memory (%)'.
        gpu_utilization: 'utilization.gpu (%)'.
        intra_step_time: 'batch_time/intra_step (ms)', from the start of a batch to its end; it brings the host in at
            every batch.
        inter_step_time: 'batch_time/inter_step (ms)', from the end of a batch to the start of the next; so does it.
        fan_speed: 'fan.speed (%)'.
        temperature: 'temperature.gpu (°C)' and 'temperature.memory (°C)'.

    Raises:
        ConfigurationError: at the start of a fit, a run that is not on a GPU, no nvidia-smi, or no logger.
    """

    def __init__(
        self,
        memory_utilization: bool = True,
        gpu_utilization: bool = True,
        intra_step_time: bool = False,
        inter_step_time: bool = False,
        fan_speed: bool = False,
        temperature: bool = False,
    ) -> None:
        wanted = {
            ("utilization.gpu", "%"): gpu_utilization,
            ("memory.used", "MB"): memory_utilization,
            ("memory.free", "MB"): memory_utilization,
            ("utilization.memory", "%"): memory_utilization,
            ("fan.speed", "%"): fan_speed,
            ("temperature.gpu", "°C"): temperature,
            ("temperature.memory", "°C"): temperature,
        }
        self.queries = [query for query, is_wanted in wanted.items() if is_wanted]
        self.intra_step_time, self.inter_step_time = intra_step_time, inter_step_time
        if intra_step_time or inter_step_time:
            # Hooks of batches only where they are needed: each brings the host in.
            self.on_train_batch_start, self.on_train_batch_end = self._batch_starts, self._batch_ends
        self._id = ""
        self._started: float | None = None
        self._ended: float | None = None
        self._times: dict[str, float] = {}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: is there a GPU to ask about?"""
        if stage != "fit" or trainer.fast_dev_run:
            return
        device: torch.device = trainer.run.engine.strategy.device
        if device.type != "cuda":
            raise ConfigurationError(
                f"GPUStatsMonitor: the run is on {device.type!r}, and nvidia-smi tells of NVIDIA GPUs only; run on one "
                "(Trainer(gpus=1)), or use DeviceStatsMonitor."
            )
        if shutil.which("nvidia-smi") is None:
            raise ConfigurationError(
                "GPUStatsMonitor: there is no nvidia-smi on the PATH, which it asks; use DeviceStatsMonitor."
            )
        if not trainer.loggers:
            raise ConfigurationError(
                "GPUStatsMonitor: the Trainer has no logger to write to; leave out logger=False, or the callback."
            )
        self._id = gpu_id(device.index or 0)
        self._started = self._ended = None
        self._times = {}

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins: what lies before its first batch is no time between two."""
        self._ended = None

    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        """Add the present values to the step metrics that are about to be written."""
        if trainer.fast_dev_run:
            return
        found = ask([name for name, _ in self.queries], self._id)
        units = dict(self.queries)
        metrics.update({f"device_id: {self._id}/{name} ({units[name]})": value for name, value in found.items()})
        metrics.update(self._times)

    def _batch_starts(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._started = time.monotonic()
        if self.inter_step_time and self._ended is not None:
            self._times["batch_time/inter_step (ms)"] = 1000 * (self._started - self._ended)

    def _batch_ends(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._ended = time.monotonic()
        if self.intra_step_time and self._started is not None:
            self._times["batch_time/intra_step (ms)"] = 1000 * (self._ended - self._started)


def gpu_id(index: int) -> str:
    """Return what nvidia-smi calls the GPU that torch calls by this index."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible[index] if index < len(visible) else str(index)


def ask(names: Sequence[str], gpu: str) -> dict[str, float]:
    """Return what nvidia-smi tells of a GPU, by name; 0 for what it does not tell.

    Raises:
        ConfigurationError: it fails; says how.
    """
    if not names:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,nounits,noheader", f"--id={gpu}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise ConfigurationError(f"GPUStatsMonitor: {' '.join(command)} failed: {(done.stdout + done.stderr).strip()}")
    values = done.stdout.strip().split(",")
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # '[N/A]', as of the fan of a GPU that has none
        return 0.0
