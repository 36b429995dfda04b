"""`.ckpt` files: written beside and renamed, read without running anything that stands in them."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from functrain.files import atomic_write, exists, is_dir, open_read
from functrain.regular import open_regular
from functrain.trainer import saving
from functrain.trainer.errors import CheckpointError, ConfigurationError, kind
from functrain.trainer.identity import Mark, decoded, encoded, mark_of
from functrain.trainer.saving import Saving
from functrain.trainer.weights import ArraySpec
from functrain_torch import inert, lightning_names

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)

END = 4096
"""Bytes at the end of a file among which its mark is found."""


def write(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        ConfigurationError: it holds a value that could not be read back safely; says where.
        OSError: the directory cannot be written, the disk is full; the file of before is untouched.
    """
    _store(path, _plain(checkpoint, ""))


def begin(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> Saving:
    """Have a thread write a checkpoint; what it holds may change when this returns.

    Raises:
        ConfigurationError: it holds a value that could not be read back safely; says where.
    """
    return saving.in_thread(partial(_store, path, _Copies().of(_plain(checkpoint, ""))))


def pack(value: Any) -> bytes:
    """Return a part of a checkpoint as bytes.

    Raises:
        ConfigurationError: it holds a value that could not be read back safely; says where.
    """
    file = io.BytesIO()
    torch.save(_Copies().of(_plain(value, "")), file)
    return file.getvalue()


def unpack(data: bytes) -> Any:
    """Return what `pack` was given."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


class _Copies:
    """Copies plain values into the host's memory. Tensors that share memory share it in the copy, as the file has it
    once."""

    def __init__(self) -> None:
        self._storages: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """Return the copy of what `_plain` has made, whose containers are its own already."""
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set) and not isinstance(value, torch.Size):
            return type(value)(self.of(item) for item in value)
        return value

    def _tensor(self, tensor: Tensor) -> Tensor:
        own_form = tensor.is_quantized or tensor.is_meta or tensor.is_conj() or tensor.is_neg()
        if own_form or tensor.layout is not torch.strided:
            return tensor.detach().to("cpu", copy=True)
        storage = tensor.untyped_storage()
        copy = self._storages.get(storage._cdata)
        if copy is None:
            copy = self._storages[storage._cdata] = storage.cpu() if storage.device.type != "cpu" else storage.clone()
        here = torch.empty(0, dtype=tensor.dtype).set_(copy, tensor.storage_offset(), tensor.size(), tensor.stride())
        return here.requires_grad_(tensor.requires_grad)


def _store(path: str | os.PathLike[str], plain: dict[str, Any]) -> None:
    own = mark_of(plain.get("functrain"))
    with atomic_write(path, by="" if own is None else own.fit) as file:
        try:
            if own is None:
                torch.save(plain, file)
            else:
                with _commented(file, encoded(own)) as archive:
                    torch.save(plain, archive)
        except RuntimeError as error:
            # torch's zip writer closes over a failed write and hides its cause.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


@contextmanager
def _commented(file: Any, comment: bytes) -> Iterator[Any]:
    """A zip archive that is written in the block gets a comment: its last field, which other readers pass over."""
    archive = _ButTheEnd(file)
    yield archive
    assert archive.end == b"\0\0", "the archive ends with the length of its comment, none"
    file.write(struct.pack("<H", len(comment)) + comment)


class _ButTheEnd:
    """Writes to a file all but the last two bytes."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.end = b""

    def write(self, data: Any) -> int:
        self.file.write(self.end[: len(data)])
        self.file.write(memoryview(data)[:-2])
        self.end = (self.end + bytes(data[-2:]))[-2:]
        return len(data)

    def flush(self) -> None:
        self.file.flush()


def mark(path: str | os.PathLike[str]) -> Mark | None:
    """Return who wrote a checkpoint, from the last bytes of its file; None where that is no file, a link, or says
    nothing."""
    try:
        with open_regular(path) as file:
            return decoded(_comment(file))
    except (OSError, zipfile.BadZipFile):
        return None


def _comment(file: Any) -> bytes:
    """Return the comment of a zip archive.

    Raises:
        BadZipFile: it is not as long as the archive says, or there is no archive.
    """
    file.seek(-min(file.seek(0, io.SEEK_END), END), io.SEEK_END)
    end = file.read(END)
    start = end.rfind(b"PK\5\6") + 22  # the archive's last record, which ends with the comment's length
    if start < 22 or end[start - 2 : start] != struct.pack("<H", len(end) - start):
        raise zipfile.BadZipFile("its end is not whole")
    return end[start:]


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, as weights and plain values only.

    Raises:
        CheckpointError: there is no such file, it is damaged, or holds anything else than tensors and plain values.
    """
    saving.finish()
    if not isinstance(path, str | os.PathLike) and not hasattr(path, "seekable"):
        raise CheckpointError(f"{path!r}: {kind(path)} names no checkpoint; give a path or an open file.")
    if isinstance(path, str | os.PathLike) and not exists(path):
        raise CheckpointError(f"{os.fspath(path)}: no such checkpoint.")
    if isinstance(path, str | os.PathLike) and is_dir(path):
        raise CheckpointError(f"{os.fspath(path)}: a directory; give the path of a file, such as one in it.")
    with open_read(path) if isinstance(path, str | os.PathLike) else nullcontext(path) as file:
        return _loaded(_seekable(file), path)


def _loaded(file: Any, path: Any) -> dict[str, Any]:
    try:
        return _load(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds objects that could run code when loaded, or is damaged; it was not loaded. Only tensors "
            "and plain values are read: where you trust it, load it by torch.load(path, weights_only=False), take them "
            f"out and save it again. ({_first_line(error)})"
        ) from error
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        UnicodeDecodeError,
        OSError,
    ) as error:
        raise CheckpointError(
            f"{path}: damaged or not a checkpoint ({_first_line(error)}); an earlier one may be whole."
        ) from error


def _load(file: Any) -> Any:
    # torch leaves the checksums that it has written unread.
    if zipfile.is_zipfile(file):
        _comment(file)
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            _check_sizes(archive, file.seek(0, io.SEEK_END))
            _check_pickle(archive)
            bad = archive.testzip()
        if bad is not None:
            raise zipfile.BadZipFile(f"the checksum of {bad} is wrong")
    file.seek(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # it is read or refused all the same
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            return _of_lightning(file)


def _of_lightning(file: Any) -> Any:
    """Return a checkpoint of pytorch_lightning that holds objects beside its tensors, without those that are no plain
    values. Nothing of theirs is run.

    Raises:
        UnpicklingError: it is another file, which may not hold objects.
    """
    file.seek(0)
    is_archive = zipfile.is_zipfile(file)
    names: list[str] = []
    if is_archive:
        file.seek(0)
        names = inert.names_in(file)
    file.seek(0)
    with torch.serialization.safe_globals(inert.stand_ins(names)):
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    if not lightning_names.is_lightning(found):
        raise pickle.UnpicklingError(f"It names {', '.join(names[:5])}.")
    return lightning_names.without_objects(found)


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """What the archive's members hold is all in the file: none grows when it is read, and no two share their bytes.

    Raises:
        BadZipFile: one is compressed, which `torch.save` never does, or they declare more than there is.
    """
    members = archive.infolist()
    grown = next((m.filename for m in members if m.compress_type != zipfile.ZIP_STORED), None)
    if grown is not None:
        raise zipfile.BadZipFile(f"its member {grown} is compressed, and could hold any amount; save it anew")
    if sum(member.file_size for member in members) > size:
        raise zipfile.BadZipFile("its members declare more bytes than the file has")


def _check_pickle(archive: zipfile.ZipFile) -> None:
    """A bytearray is made of a length alone, of any length; torch's safe loader takes it, and no checkpoint has one.

    Raises:
        UnpicklingError: the archive's pickle asks for one.
    """
    for name in archive.namelist():
        if name.endswith("/data.pkl") and b"bytearray" in (content := archive.read(name)):
            strings = {arg for _, arg, _ in pickletools.genops(content) if isinstance(arg, str)}
            if strings & {"builtins bytearray", "__builtin__ bytearray"} or {"bytearray", "builtins"} <= strings:
                raise pickle.UnpicklingError("it asks for a bytearray")


def _first_line(error: BaseException) -> str:
    says_nothing = isinstance(error, KeyError) or (
        isinstance(error, OSError) and error.filename is None and error.errno
    )
    if says_nothing:
        return "its content is none that torch.save writes"
    return next(iter(str(error).splitlines()), type(error).__name__)


def _seekable(file: Any) -> Any:
    return file if file.seekable() else io.BytesIO(file.read())


def _plain(value: Any, where: str) -> Any:
    """Return the value, if it can be read back without running code; numpy scalars become Python's. Containers are
    new."""
    kind: type = type(value)
    is_plain = kind in PLAIN or (isinstance(value, Tensor) and kind is Tensor)
    if is_plain:
        return value
    if isinstance(value, Tensor):
        return value.detach().as_subclass(Tensor)
    if isinstance(value, Mapping):
        prefix = where and f"{where}."
        return {_plain(key, where): _plain(item, f"{prefix}{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, list):
            return items
        return tuple(items) if isinstance(value, tuple) else set(items)
    if kind.__module__ == "numpy":
        return torch.from_numpy(value.copy()) if getattr(value, "ndim", 0) else value.item()
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type):
        return _name_of(value, where)
    raise ConfigurationError(
        f"checkpoint[{where}] holds a {kind.__module__}.{kind.__qualname__}, which could not be read back without "
        "running code; store plain values, lists, dicts and tensors."
    )


_told: set[str] = set()


def _name_of(kind: type, where: str) -> str:
    """Return a class by its name, as which it is stored: a class could not be read back safely. Said once a place."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if where not in _told:
        _told.add(where)
        warnings.warn(
            f"checkpoint[{where}] holds the class {name}, which is stored as its name: reading a class back could run "
            "code. What takes it back gets the name.",
            UserWarning,
            stacklevel=3,
        )
    return name


def forms(named: Mapping[str, Any]) -> dict[str, ArraySpec | None]:
    """Return what is compared of the tensors of a `state_dict`, by name; None for what is no tensor."""
    return {name: _form(value) if isinstance(value, Tensor) else None for name, value in named.items()}


def _form(tensor: Tensor) -> ArraySpec:
    return ArraySpec(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
