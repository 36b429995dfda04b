"""The manifest of a run: what it was started with, beside its logs, for people and for `python -m functrain.compare`.

Written once, when all is set up and nothing has been trained. It can be read by anything that reads JSON.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import warnings
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from functrain import files
from functrain.seed import WORKERS_VARIABLE, global_seed
from functrain.source import source
from functrain.trainer import fingerprint
from functrain.trainer.flags import DEFAULTS
from functrain.trainer.foreign import HasDirectory
from functrain.trainer.narrow import class_of, is_mapping, is_sequence
from functrain.trainer.plain import to_plain
from functrain.trainer.run import Run
from functrain.version import __version__

FORMAT = 1

PACKAGES = (
    "numpy", "scipy", "pandas", "sklearn", "torch", "torchvision", "torchaudio", "torchmetrics", "transformers",
    "datasets", "jax", "jaxlib", "flax", "optax", "grain", "orbax.checkpoint", "tensorstore", "tensorflow",
)  # fmt: skip
"""Packages whose versions are written down where the process has loaded them."""

VARIABLES = (
    "PYTHONHASHSEED", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS",
    "JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE",
)  # fmt: skip
"""Variables of the environment that change numbers: the only ones that are looked at."""

LONGEST = 2000
"""A value whose text has more letters is told by its size and a digest."""


def directory_of(run: Run) -> str | None:
    """Return the directory of the first logger that writes into one; None where there is none."""
    for logger in run.loggers:
        directory = logger.log_dir if isinstance(logger, HasDirectory) else None
        if directory is not None:
            return os.fspath(directory)
    return None


def write(run: Run) -> None:
    """Write the manifest of a fit into its directory, where it has one; a further fit there gets `manifest-2.json`. One
    warning where it cannot be written: no run ends for it."""
    directory = directory_of(run) if run.writing_loggers else None
    if directory is None:
        return
    try:
        text = json.dumps(of_run(run), indent=2, ensure_ascii=False, allow_nan=False)
        with files.atomic_write(files.free_name(files.join(directory, "manifest"), ".json")) as file:
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))
    except Exception as error:
        warnings.warn(f"the run goes on without a manifest: {error or type(error).__name__}", UserWarning, stacklevel=2)


def of_run(run: Run) -> dict[str, Any]:
    """Return the manifest of a fit that is set up, as plain values."""
    return {
        "format": FORMAT,
        "run": run.identity.run,
        "started": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "continues": _continues(run),
        "command": list(sys.argv),
        "directory": os.getcwd(),
        "source": source()._asdict(),
        "seed": _seed(),
        "seed_workers": os.environ.get(WORKERS_VARIABLE) == "1",
        "flags": _named({name: v for name, v in _flags(run).items() if not _same(v, DEFAULTS[name])}),
        "module": _dotted(class_of(run.module)),
        "hparams": _named(getattr(run.module, "hparams", None) or {}),
        "datamodule": None if run.datamodule is None else _dotted(class_of(run.datamodule)),
        "versions": _versions(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **_named(run.inspector.device()),
        "processes": run.world.size,
        "data": fingerprint.of_run(run),
    }


def _continues(run: Run) -> dict[str, Any] | None:
    """Return what the fit goes on from."""
    if run.identity.source:
        return {"checkpoint": run.identity.source, "update": run.clock.update}
    return {"state": True, "update": run.clock.update} if run.clock.update else None


def _seed() -> int | None:
    try:
        return global_seed()
    except ValueError:
        return None


def _flags(run: Run) -> dict[str, Any]:
    """Return the flags by name; the callbacks are those that run, but for the Trainer's own."""
    return {name: getattr(run.flags, name) for name in DEFAULTS}


def _same(value: Any, default: Any) -> bool:
    return value is default or (
        type(value) is type(default) and isinstance(value, str | int | float) and value == default
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "functrain": __version__}
    for name in PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def _processor() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name, in the order of the names, each as what JSON can hold and people can read."""
    return {str(name): _shown(values[name]) for name in sorted(values, key=str)}


def _shown(value: Any) -> Any:
    """Return a plain value as it is, another by the name of its class, a long one by its size and a digest."""
    shown = _value(value)
    text = json.dumps(shown)
    if len(text) <= LONGEST:
        return shown
    what = f"{len(value)} items" if hasattr(value, "__len__") and not isinstance(value, str) else f"{len(text)} letters"
    return f"{_dotted(class_of(value))}: {what}, digest {zlib.crc32(text.encode()):08x}"


def _value(value: Any) -> Any:
    if is_sequence(value):
        return [_value(item) for item in value]
    if isinstance(value, type):
        return _dotted(value)
    try:
        return _finite(to_plain(value))
    except (TypeError, RecursionError):
        return _dotted(class_of(value))


def _finite(value: Any) -> Any:
    """Return a plain value as JSON has it: names are text, and so are numbers that are not finite."""
    if is_mapping(value):
        return {str(key): _finite(value[key]) for key in sorted(value, key=str)}
    if is_sequence(value):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _dotted(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
