"""Checkpoints of numpy modules: a line that says who wrote it, then numpy's own archive of the arrays, with the rest as
JSON in it. Nothing that stands in one is run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from functrain.files import atomic_write, open_read
from functrain.regular import open_regular
from functrain.trainer import saving
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.identity import Mark, decoded, encoded, mark_of
from functrain.trainer.saving import Saving

NOBODY = b"-"
LONGEST = 4096


class NumpyCheckpointIO:
    """See `functrain.trainer.adapter.CheckpointIO`."""

    suffix = ".npck"

    def save(self, path: str, value: dict[str, Any]) -> Saving:
        mark = mark_of(value.get("functrain"))
        return saving.in_thread(partial(_write, path, mark, self.pack(value)))

    def load(self, path: str, like: Callable[[], Mapping[str, Any]] | None = None) -> dict[str, Any]:
        saving.finish()
        try:
            with open_read(path) as file:
                _, _, data = file.read().partition(b"\n")
            return self.unpack(data)
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path}: cannot be read ({type(error).__name__}: {error}).") from error

    def pack(self, value: Any) -> bytes:
        arrays: dict[str, np.ndarray] = {}
        tree, file = json.dumps(_encoded(value, "", arrays)), io.BytesIO()
        np.savez(file, **{"": np.frombuffer(tree.encode(), np.uint8), **arrays})
        return file.getvalue()

    def unpack(self, data: bytes) -> Any:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return _decoded(json.loads(arrays[""].tobytes()), arrays)

    def mark(self, path: str) -> Mark | None:
        try:
            with open_regular(path) as file:
                return decoded(file.readline(LONGEST))
        except OSError:
            return None


def _write(path: str, mark: Mark | None, data: bytes) -> None:
    with atomic_write(path, by="" if mark is None else mark.fit) as file:
        file.write((NOBODY if mark is None else encoded(mark)) + b"\n" + data)


def _encoded(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON can hold; arrays go into `arrays` by their path."""
    if value is None or isinstance(value, bool | str) or type(value) in (int, float):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        arrays[path] = np.asarray(value)
        return {"array": path}
    if isinstance(value, dict):
        pairs = [(key, _encoded(item, f"{path}.{key}", arrays)) for key, item in value.items()]
        return {"dict": [[_encoded(key, path, arrays), item] for key, item in pairs]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encoded(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]}
    raise ConfigurationError(
        f"a checkpoint cannot hold {path.removeprefix('.')}, a {type(value).__name__}: keep numbers, text, arrays, and "
        "lists, tuples and dicts of those."
    )


def _decoded(value: Any, arrays: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {_decoded(key, arrays): _decoded(item, arrays) for key, item in content}
    items = (_decoded(item, arrays) for item in content)
    return tuple(items) if kind == "tuple" else list(items)
