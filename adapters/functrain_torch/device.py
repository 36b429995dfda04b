"""Which device a run uses, and what the flags change of torch's own settings."""

from __future__ import annotations

import os
from typing import Any

import torch

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags


def choose_device(flags: Flags) -> torch.device:
    """Return the device that the flags ask for.

    Raises:
        ConfigurationError: a GPU is asked for, and there is none.
    """
    wants_gpu = flags.accelerator in ("gpu", "cuda") or flags.gpus not in (None, 0, "0", [])
    if wants_gpu and not torch.cuda.is_available():
        what = f"accelerator={flags.accelerator!r}" if flags.accelerator in ("gpu", "cuda") else f"gpus={flags.gpus!r}"
        raise ConfigurationError(
            f"Trainer({what}): needs a CUDA device, and torch {torch.__version__} sees none here; use "
            "accelerator='cpu'."
        )
    takes_gpu = wants_gpu or (flags.accelerator == "auto" and torch.cuda.is_available())
    if takes_gpu:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def apply_determinism(flags: Flags) -> None:
    """Set what `deterministic` and `benchmark` ask for; leave torch's settings alone where neither is set."""
    if flags.deterministic:
        os.environ["HOROVOD_FUSION_THRESHOLD"] = "0"
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=flags.deterministic == "warn")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    elif flags.benchmark:
        torch.backends.cudnn.benchmark = True


def described(device: torch.device) -> dict[str, Any]:
    """Return what of a device, and of torch's own settings, changes numbers."""
    found: dict[str, Any] = {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        found["device"] = f"cuda ({torch.cuda.get_device_name(device)})"
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        found |= {"cudnn_benchmark": torch.backends.cudnn.benchmark, "cudnn_tf32": torch.backends.cudnn.allow_tf32}
    return found
