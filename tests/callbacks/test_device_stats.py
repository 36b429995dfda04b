"""DeviceStatsMonitor and GPUStatsMonitor: what is logged where, and what is said where there is nothing to log."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import functrain_jax as ft
from functrain.callbacks import device_stats_monitor
from functrain.callbacks.device_stats_monitor import cpu_stats, prefix_metric_keys
from functrain.trainer.errors import ConfigurationError
from functrain_torch.callbacks import DeviceStatsMonitor, GPUStatsMonitor
from functrain_torch.callbacks.gpu_stats_monitor import ask, gpu_id
from tests import inside
from tests.callbacks import test_jax as jax_parts
from tests.callbacks.helpers import Scripted, by_epoch, fit
from tests.resume.common import MemoryLogger

NAMES = [f"DeviceStatsMonitor.on_train_batch_end/cpu{name}_percent" for name in ("", "_vm", "_swap")]


def logged(logger: MemoryLogger) -> list[int | None]:
    """The steps whose rows have the load of the CPU, each with all of it."""
    rows = [(step, row) for step, row in logger.rows if NAMES[0] in row]
    assert all(0 <= row[name] <= 100 for _, row in rows for name in NAMES)
    return [step for step, _ in rows]


@pytest.mark.parametrize("asked", [None, True])
def test_the_load_of_the_cpu_is_logged_with_step_metrics(make, asked):
    logger = MemoryLogger()
    trainer = make(DeviceStatsMonitor(asked), logger=logger, max_epochs=2, log_every_n_steps=3)
    fit(trainer, Scripted(by_epoch(1, 1)))
    assert logged(logger) == [3, 6]
    assert not inside.per_batch(trainer)


def test_in_jax_too(tmp_path):
    logger = MemoryLogger()
    quiet = {"weights_summary": None, "progress_bar_refresh_rate": 0, "checkpoint_callback": False}
    trainer = ft.Trainer(
        callbacks=[DeviceStatsMonitor()], logger=logger, log_every_n_steps=5, max_epochs=2,
        default_root_dir=str(tmp_path), num_sanity_val_steps=0, **quiet,
    )  # fmt: skip
    trainer.fit(jax_parts.Line(), jax_parts.Loader())
    assert logged(logger) == [5, 10]
    assert not inside.per_batch(trainer)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("asked", [None, True, False])
def test_the_memory_of_a_gpu_is_logged(make, asked):
    logger = MemoryLogger()
    trainer = make(DeviceStatsMonitor(asked), logger=logger, max_epochs=1, log_every_n_steps=2, accelerator="gpu")
    fit(trainer, Scripted(by_epoch(1)))
    rows = [row for _, row in logger.rows if "DeviceStatsMonitor.on_train_batch_end/allocated_bytes.all.peak" in row]
    assert len(rows) == 2
    assert [NAMES[0] in row for row in rows] == [asked is True] * 2


def test_what_there_is_to_say(make, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"cpu_stats=3\): must be True, False or None"):
        DeviceStatsMonitor(3)
    with pytest.raises(ConfigurationError, match="DeviceStatsMonitor: the Trainer has no logger"):
        fit(make(DeviceStatsMonitor(), max_epochs=1), Scripted(by_epoch(1)))
    with pytest.raises(ConfigurationError, match=r"cpu_stats=False\): the run's device is 'cpu', which tells nothing"):
        fit(make(DeviceStatsMonitor(False), logger=MemoryLogger(), max_epochs=1), Scripted(by_epoch(1)))
    monkeypatch.setattr(device_stats_monitor, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"'psutil', which is not installed; install it"):
        fit(make(DeviceStatsMonitor(), logger=MemoryLogger(), max_epochs=1), Scripted(by_epoch(1)))


def test_a_dev_run_and_other_stages_need_no_logger(make):
    trainer = make(DeviceStatsMonitor(), GPUStatsMonitor(), fast_dev_run=True)
    fit(trainer, Scripted(by_epoch(1)))
    trainer = make(DeviceStatsMonitor(), GPUStatsMonitor())
    trainer.validate(Scripted(by_epoch(1)), [torch.ones(1)], verbose=False)


def test_tools():
    assert prefix_metric_keys({"a": 1.0, "b": 2.0}, "at") == {"at/a": 1.0, "at/b": 2.0}
    assert prefix_metric_keys({"a": 1.0}, "at", "-") == {"at-a": 1.0}
    found = cpu_stats(psutil)
    assert found["cpu_vm_percent"] == pytest.approx(psutil.virtual_memory().percent, abs=20)


# ---- GPUStatsMonitor

ANSWER = """#!{python}
import sys
names = next(a for a in sys.argv if a.startswith("--query-gpu="))[12:].split(",")
assert "--format=csv,nounits,noheader" in sys.argv
if "--id=7" in sys.argv:
    sys.exit("No devices were found")
print(", ".join("[N/A]" if name == "fan.speed" else str(10 + i) for i, name in enumerate(names)))
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi that answers as the real one does."""
    path = tmp_path / "bin" / "nvidia-smi"
    path.parent.mkdir()
    path.write_text(ANSWER.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))


def test_what_nvidia_smi_tells(smi):
    assert ask(["utilization.gpu", "memory.used"], "0") == {"utilization.gpu": 10.0, "memory.used": 11.0}
    assert ask(["fan.speed"], "0") == {"fan.speed": 0.0}
    assert ask([], "0") == {}
    with pytest.raises(ConfigurationError, match="--id=7 failed: No devices were found"):
        ask(["utilization.gpu"], "7")


def test_which_gpu_it_is(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_id(1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-ab")
    assert [gpu_id(0), gpu_id(1)] == ["3", "GPU-ab"]


def test_names_and_times(smi):
    monitor = GPUStatsMonitor(intra_step_time=True, inter_step_time=True, fan_speed=True, temperature=True)
    monitor._id = "0"
    trainer: Any = SimpleNamespace(fast_dev_run=False)
    for index in range(2):
        monitor.on_train_batch_start(trainer, None, None, index)
        monitor.on_train_batch_end(trainer, None, None, None, index)
    metrics: dict[str, Any] = {}
    monitor.log_step(trainer, None, metrics)
    assert set(metrics) == {
        *(f"device_id: 0/memory.{name} (MB)" for name in ("used", "free")),
        *(f"device_id: 0/{name} (%)" for name in ("utilization.gpu", "utilization.memory", "fan.speed")),
        *(f"device_id: 0/temperature.{name} (°C)" for name in ("gpu", "memory")),
        "batch_time/intra_step (ms)",
        "batch_time/inter_step (ms)",
    }
    assert all(value >= 0 for value in metrics.values())


def test_hooks_of_batches_only_where_times_are_asked_for(make):
    trainer = make(GPUStatsMonitor(), fast_dev_run=True)
    fit(trainer, Scripted(by_epoch(1)))
    assert not inside.per_batch(trainer)
    trainer = make(GPUStatsMonitor(inter_step_time=True), fast_dev_run=True)
    fit(trainer, Scripted(by_epoch(1)))
    assert inside.per_batch(trainer)


def test_without_a_gpu_it_says_so(make):
    with pytest.raises(ConfigurationError, match=r"the run is on 'cpu', and nvidia-smi tells of NVIDIA GPUs only"):
        fit(make(GPUStatsMonitor(), logger=MemoryLogger(), max_epochs=1), Scripted(by_epoch(1)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_load_of_a_gpu_is_logged(make):
    logger = MemoryLogger()
    monitor = GPUStatsMonitor(inter_step_time=True)
    fit(make(monitor, logger=logger, max_epochs=1, log_every_n_steps=2, accelerator="gpu"), Scripted(by_epoch(1)))
    rows = [row for _, row in logger.rows if any("memory.used (MB)" in name for name in row)]
    assert len(rows) == 2
