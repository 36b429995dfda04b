"""Checkpoint files, by the older names of the functions that read and write them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import fsspec
import torch

from functrain import files


def load(path_or_url: str | Path | io.IOBase, map_location: Any = None) -> Any:
    """Return what stands in a file: a path, a URL that fsspec knows, or a file object. Nothing in it may run code."""
    if isinstance(path_or_url, str | Path):
        with files.open_read(os.fspath(path_or_url)) as file:
            return torch.load(file, map_location=map_location, weights_only=True)
    return torch.load(path_or_url, map_location=map_location, weights_only=True)  # type: ignore[arg-type]


def get_filesystem(path: str | Path, **kwargs: Any) -> Any:
    """Return the filesystem of a path or a URL."""
    return fsspec.core.url_to_fs(str(path), **kwargs)[0]


def atomic_save(checkpoint: dict[str, Any], filepath: str | Path) -> None:
    """Write a checkpoint, which is there whole or not at all."""
    with files.atomic_write(os.fspath(filepath)) as file:
        torch.save(checkpoint, file)
