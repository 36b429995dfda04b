"""What the tests of both adapters share: a comparison of bits, a logger in memory, callbacks that save and count."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from functrain.loggers.base import Logger
from functrain.seed import rng_state
from functrain.trainer.callback import Callback
from functrain.trainer.hook_table import CALLBACK, HOOKS
from tests import inside


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two trees of plain values and arrays are not the same bits; NaN equals NaN."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        missing = [f"{where}.{key}: only in one of them" for key in a.keys() ^ b.keys()]
        return missing + [d for key in a.keys() & b.keys() for d in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return [f"{where}: {len(a)} and {len(b)} items: {str(a)[:300]} and {str(b)[:300]}"]
        return [d for i in range(len(a)) for d in differences(a[i], b[i], f"{where}[{i}]")]
    if hasattr(a, "dtype") or hasattr(b, "dtype"):
        x, y = np.asarray(a), np.asarray(b)
        same = x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        return [] if same else [f"{where}: {a} and {b}"]
    return [] if a == b or (a != a and b != b) else [f"{where}: {a!r} and {b!r}"]


def final(trainer: Any, rows: list[Any]) -> dict[str, Any]:
    """Everything that a run ends with."""
    return {
        "clock": inside.clock(trainer)._asdict(),
        "engine": inside.snapshot(trainer),
        "rng": rng_state(),
        "callbacks": inside.callback_states(trainer),
        "metrics": dict(trainer.callback_metrics),
        "logged": dict(trainer.logged_metrics),
        "loaders": inside.loader_generators(trainer),
        "should_stop": trainer.should_stop,
        "rows": rows,
    }


class MemoryLogger(Logger):
    """Keeps what it is given."""

    name = "memory"  # type: ignore[assignment]
    version = 0  # type: ignore[assignment]

    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, metrics: Any = None) -> None:
        pass


class Counting(Callback):
    """Counts the calls of every hook, and keeps the counts in checkpoints."""

    def __init__(self, key: str = "counting") -> None:
        self.key = key
        self.counts: dict[str, int] = {}

    @property
    def state_key(self) -> str:
        return self.key

    def state_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.counts = dict(state_dict["counts"])


# What happens once in every process, whether or not the run continues.
ONCE_A_PROCESS = {
    "on_init_start", "on_init_end", "on_before_accelerator_backend_setup", "on_fit_start", "setup", "on_train_start",
    "on_pretrain_routine_start", "on_pretrain_routine_end", "on_sanity_check_start", "on_sanity_check_end",
    "on_train_end", "on_fit_end", "teardown", "on_save_checkpoint", "on_load_checkpoint", "on_keyboard_interrupt",
    "on_exception",
}  # fmt: skip


def _count(name: str) -> Callable[..., None]:
    def method(self: Counting, trainer: Any, pl_module: Any, *args: Any) -> None:
        if not trainer.sanity_checking:
            self.counts[name] = self.counts.get(name, 0) + 1

    method.__name__ = name
    return method


for _hook in HOOKS:
    if CALLBACK in _hook.owners and _hook.name not in ONCE_A_PROCESS:
        setattr(Counting, _hook.name, _count(_hook.name))


class Saver(Callback):
    """Saves at every call of some hooks. `saved` maps (hook, its count) to (path, rows logged so far)."""

    def __init__(self, directory: Any, hooks: tuple[str, ...], every: int = 1) -> None:
        self.directory = str(directory)
        self.saved: dict[tuple[str, int], tuple[str, int]] = {}
        self.calls: dict[str, int] = {}
        self.every = every
        for name in hooks:
            setattr(self, name, lambda trainer, module, *args, name=name: self.save(trainer, name))

    def save(self, trainer: Any, name: str) -> None:
        if trainer.sanity_checking:
            return
        n = self.calls[name] = self.calls.get(name, 0) + 1
        if n % self.every:
            return
        path = f"{self.directory}/{name}-{n}.ckpt"
        trainer.save_checkpoint(path)
        self.saved[name, n] = (path, len(trainer.logger.rows))


def disturb() -> None:
    """Another random state than any run's: what continues must bring its own."""
    random.seed(12345)
    np.random.seed(54321)
