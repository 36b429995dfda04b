"""Objects in a checkpoint of another library, read without running anything of theirs: those of plain values become
such values, in the place of any other stands what it was."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from functrain.trainer.narrow import is_dict, is_list, is_sequence, is_tuple

Places = list[str]
"""Where objects stood that were not read, and what they were."""


class Unread:
    """Stands where an object stood that was not made."""

    name = "object"
    state: Any = None

    def __new__(cls, *args: Any) -> Unread:
        """Take whatever the object was to be made of, and leave it."""
        return object.__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _AttributeDict:
    """A dict whose items are attributes too: read as a dict."""

    def __new__(cls, *args: Any) -> dict[str, Any]:  # type: ignore[misc]
        return dict(*args)


class _DType:
    """A dtype of numpy, by its code."""

    def __init__(self, code: str = "V", *_: Any) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _scalar(dtype: _DType, data: bytes) -> Any:
    """Return a scalar of numpy as a number of Python's; numbers only."""
    if not isinstance(dtype, _DType) or dtype.code[:1] not in "biufc":
        raise ValueError("a scalar of numpy that is no number")
    order = dtype.order if dtype.order in "<>" else "="
    return np.frombuffer(data, np.dtype(f"{order}{dtype.code}"))[0].item()


def _posix_path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


def _windows_path(*parts: str) -> str:
    return str(PureWindowsPath(*parts))


def _default_dict(*_: Any) -> dict[Any, Any]:
    return {}


_PATHS = {
    f"{module}.{kind}Path": make
    for module in ("pathlib", "pathlib._local")
    for kind, make in (
        ("Posix", _posix_path), ("PurePosix", _posix_path), ("Windows", _windows_path), ("PureWindows", _windows_path)
    )
}  # fmt: skip

KNOWN: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace,
    "collections.defaultdict": _default_dict,
    "datetime.timedelta": datetime.timedelta,
    "numpy.dtype": _DType,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    **_PATHS,
}
"""What is made of an object of plain values, by its class's name."""


def stand_ins(names: Iterable[str]) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what a reader is to take for the classes and functions of these names, in the form that
    `torch.serialization.safe_globals` has."""
    return [(_stand_in(name), name) for name in names]


def _stand_in(name: str) -> Any:
    if name.endswith(".AttributeDict"):
        return _AttributeDict
    return KNOWN.get(name) or type(name.rpartition(".")[2], (Unread,), {"name": name})


def names_in(file: Any) -> list[str]:
    """Return the classes and functions that a checkpoint names and that torch does not read by itself."""
    return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))


def plain(value: Any, where: str, unread: Places) -> Any:
    """Return the value without what was not read: such entries of dicts are left out, so is a list that has one.

    Args:
        where: the value's place in the checkpoint.
        unread: what was left out is added to it.
    """
    found = _plain(value, where, unread)
    return None if found is Unread else found


def _plain(value: Any, where: str, unread: Places) -> Any:
    """As `plain`; Unread itself where the value was not read."""
    if isinstance(value, Unread):
        return _of_omegaconf(value, where, unread)
    if isinstance(value, type) and issubclass(value, Unread):
        unread.append(f"{where} ({value.name})")
        return Unread
    if is_dict(value):
        items = {_key(key): _plain(item, f"{where}[{_key(key)!r}]", unread) for key, item in value.items()}
        return type(value)((key, item) for key, item in items.items() if item is not Unread and key is not Unread)
    if isinstance(value, argparse.Namespace):
        return argparse.Namespace(**_plain(vars(value), where, unread))
    if is_sequence(value) and type(value) in (list, tuple):
        items = [_plain(item, f"{where}[{i}]", unread) for i, item in enumerate(value)]
        return Unread if Unread in items else tuple(items) if is_tuple(value) else items
    return value


def _key(key: Any) -> Any:
    """Return a key as it is; a class, as old checkpoints have callbacks' states by, by its name."""
    if isinstance(key, type) and issubclass(key, Unread):
        return key.__name__
    return Unread if isinstance(key, Unread) else key


def _of_omegaconf(value: Unread, where: str, unread: Places) -> Any:
    """Return a configuration of omegaconf as one, where that is loaded, else as plain values."""
    content = _content(value)
    if content is Unread:
        unread.append(f"{where} ({value.name})")
        return Unread
    content = _plain(content, where, unread)
    omegaconf: Any = sys.modules.get("omegaconf")
    return content if omegaconf is None else omegaconf.OmegaConf.create(content)


def _content(value: Any) -> Any:
    """Return what is in a node of omegaconf; Unread for anything else."""
    if not isinstance(value, Unread):
        return value
    of_omegaconf = value.name.startswith("omegaconf.") and isinstance(value.state, Mapping)
    if not of_omegaconf:
        return Unread
    if "_content" not in value.state:
        return value.state.get("_val", Unread)
    content = value.state["_content"]
    if is_dict(content):
        return {_content(key): _content(item) for key, item in content.items()}
    return [_content(item) for item in content] if is_list(content) else content
