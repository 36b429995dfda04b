"""Memory and what exhausts it, by the older names of the functions that handle them."""

from __future__ import annotations

import gc
import os
import tempfile
from typing import Any

import torch
from torch import nn

from functrain_torch.tree import tree_map


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """Return the same collection with its tensors cut off from the graph, and on the CPU where that is asked for."""
    return tree_map(lambda tensor: tensor.detach().cpu() if to_cpu else tensor.detach(), in_dict)


def is_oom_error(exception: BaseException) -> bool:
    """Return whether an error says that memory has run out, be it the GPU's or the host's."""
    return is_cuda_out_of_memory(exception) or is_cudnn_snafu(exception) or is_out_of_cpu_memory(exception)


def is_cuda_out_of_memory(exception: BaseException) -> bool:
    """Return whether an error is CUDA's for lack of memory."""
    return isinstance(exception, RuntimeError) and "CUDA" in str(exception) and "out of memory" in str(exception)


def is_cudnn_snafu(exception: BaseException) -> bool:
    """Return whether an error is cuDNN's where memory has run out."""
    return isinstance(exception, RuntimeError) and "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED" in str(exception)


def is_out_of_cpu_memory(exception: BaseException) -> bool:
    """Return whether an error is the host's for lack of memory."""
    if isinstance(exception, MemoryError):
        return True
    return isinstance(exception, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(exception)


def garbage_collection_cuda() -> None:
    """Give back the memory that nobody holds, CUDA's too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def get_model_size_mb(model: nn.Module) -> float:
    """Return how large a file of the module's state is, in MB."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "state.pt")
        torch.save(model.state_dict(), path)
        return os.path.getsize(path) / 1e6


def print_nan_gradients(model: nn.Module) -> None:
    """Print each parameter whose gradient has a value that is not finite."""
    for parameter in model.parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            print(parameter, parameter.grad)


def detect_nan_parameters(model: nn.Module) -> None:
    """Look for values that are not finite.

    Raises:
        ValueError: a parameter has one; names it.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"parameter {name!r} of shape {tuple(parameter.shape)} is not finite.")
