"""A module's forward pass as a file that others can run: ONNX, TorchScript. The module is as it was afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any

import torch
from torch import nn

from functrain import files
from functrain.seed import isolate_rng
from functrain.trainer.errors import ConfigurationError
from functrain_torch.tree import move

File = str | os.PathLike[str] | IO[bytes]
OF_A_RUN = ("_trainer", "_context")
"""What a module has of its run, and an export cannot take along."""


def to_onnx(module: nn.Module, file_path: File, example: Any, **kwargs: Any) -> Any:
    """See `LightningModule.to_onnx`.

    Args:
        example: what `forward` takes; None where there is no example.
    """
    kwargs = {"verbose": False, **kwargs}
    if kwargs.get("dynamo", True):
        missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"to_onnx: {' and '.join(missing)} cannot be imported, and torch writes the file with them: "
                "pip install onnx onnxscript. (dynamo=False exports without onnxscript, in torch's older way.)"
            )
        kwargs.setdefault("external_data", False)
    args, named = _arguments(module, "to_onnx", "input_sample", example)
    if named:
        kwargs = {"kwargs": named, **kwargs}

    def write(place: str) -> Any:
        # What is deprecated inside of torch's exporter is nothing that a caller could change.
        with _as_in_use(module), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            return torch.onnx.export(module, args, place, **kwargs)

    if isinstance(file_path, str | os.PathLike) and not files.is_remote(file_path):
        files.ensure_directory(os.path.dirname(files.join(file_path)) or ".")
        return write(files.join(file_path))
    # Anywhere else torch cannot write.
    with tempfile.TemporaryDirectory() as directory:
        place = os.path.join(directory, "module.onnx")
        program = write(place)
        _check_alone(directory)
        with open(place, "rb") as written, _opened(file_path) as file:
            shutil.copyfileobj(written, file)
    return program


def _check_alone(directory: str) -> None:
    others = sorted(set(os.listdir(directory)) - {"module.onnx"})
    if others:
        raise ConfigurationError(
            f"to_onnx: torch has written the weights to files of their own ({', '.join(others)}), which only a local "
            "path can have beside it; export to one, or leave out external_data=True."
        )


def to_torchscript(module: nn.Module, file_path: File | None, method: str | None, example: Any, **kwargs: Any) -> Any:
    """See `LightningModule.to_torchscript`.

    Args:
        example: what `forward` takes, for 'trace'; None where there is no example.
    """
    if method not in ("script", "trace"):
        raise ConfigurationError(f"to_torchscript(method={method!r}): must be 'script' or 'trace'.")
    if method == "script":
        _check_forward(module, "to_torchscript")
        with _as_in_use(module):
            made = torch.jit.script(module, **kwargs)
    else:
        args, named = _arguments(module, "to_torchscript(method='trace')", "example_inputs", example)
        kwargs = {"example_kwarg_inputs": named, **kwargs} if named else {"example_inputs": args, **kwargs}
        with _as_in_use(module):
            made = torch.jit.trace(module, **kwargs)
    if file_path is not None:
        with _opened(file_path) as file:
            torch.jit.save(made, file)
    return made


@contextmanager
def _as_in_use(module: nn.Module) -> Iterator[None]:
    """Within it the module is in evaluation mode, without its run and without gradients; afterwards as before, part by
    part, and so are the random generators."""
    modes = [(part, part.training) for part in module.modules()]
    attributes = [vars(part) for part in module.modules()]
    runs = [(of, {name: of[name] for name in OF_A_RUN if name in of}) for of in attributes]
    try:
        module.eval()
        for of, run in runs:
            for name in run:
                del of[name]
        with torch.no_grad(), isolate_rng():
            yield
    finally:
        for of, run in runs:
            of.update(run)
        for part, training in modes:
            part.training = training


def _arguments(module: nn.Module, what: str, name: str, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what `forward` is called with, on the module's device: a tuple's parts, a dict's by name, else the whole.

    Raises:
        ConfigurationError: there is no example.
    """
    _check_forward(module, what)
    if example is None:
        raise ConfigurationError(
            f"{what}: needs an example of what {type(module).__name__}.forward takes; give {name}=..., or set "
            "self.example_input_array."
        )
    example = move(example, next((p.device for p in module.parameters()), torch.device("cpu")))
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example if isinstance(example, tuple) else (example,)), {}


def _check_forward(module: nn.Module, what: str) -> None:
    if type(module).forward is nn.Module.forward and "forward" not in vars(module):
        raise ConfigurationError(f"{what}: {type(module).__name__} defines no forward, which is what is exported.")


@contextmanager
def _opened(file: File) -> Iterator[IO[bytes]]:
    """A file that is open already, or one that appears at its path whole."""
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    with files.atomic_write(file) as opened:
        yield opened
