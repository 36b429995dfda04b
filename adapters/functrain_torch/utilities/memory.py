"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.memory import garbage_collection_cuda as garbage_collection_cuda
from functrain_torch.compat.memory import get_model_size_mb as get_model_size_mb
from functrain_torch.compat.memory import is_cuda_out_of_memory as is_cuda_out_of_memory
from functrain_torch.compat.memory import is_cudnn_snafu as is_cudnn_snafu
from functrain_torch.compat.memory import is_oom_error as is_oom_error
from functrain_torch.compat.memory import is_out_of_cpu_memory as is_out_of_cpu_memory
from functrain_torch.compat.memory import recursive_detach as recursive_detach

__all__ = [
    "garbage_collection_cuda",
    "get_model_size_mb",
    "is_cuda_out_of_memory",
    "is_cudnn_snafu",
    "is_oom_error",
    "is_out_of_cpu_memory",
    "recursive_detach",
]
