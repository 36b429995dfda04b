"""Checkpoints as directories: arrays in orbax's store, by tensorstore, beside plain JSON. Touches the named path only.

A directory is filled beside its name and then takes it, so it is there whole or not at all. A list of its files with
their sums tells a damaged one, and a tree of links and devices, before anything of it is read; each array is held
against what was declared before memory is taken for it. Nothing in a checkpoint is ever run.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np

from functrain import files
from functrain.regular import open_regular
from functrain.trainer import saving
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.identity import Mark, decoded, encoded, mark_of
from functrain.trainer.saving import Saving
from functrain_jax.encoding import decode, encode, specs
from functrain_jax.placement import first_device

ARRAYS = "arrays"
"""The store of arrays within a checkpoint."""

REST = "rest.json"
"""The file of all that is no array."""

MARK = "mark.json"
"""The file that says which run wrote the checkpoint."""

SUMS = "files.json"
"""The list of the files in it: path -> [bytes, CRC-32]."""

LONGEST_LIST = 64 << 20
"""Bytes that the list may have."""

LONGEST_MARK = 4096
"""Bytes that the mark may have."""

LONGEST_REST = 1 << 30
"""Bytes that all that is no array may have."""

OVERHEAD = 64 << 20, 64 << 10
"""Bytes that the store may have beside its arrays: altogether, and for each."""

CACHE = 64 << 20
"""Bytes of the store's own index that are kept while it is read."""


def write(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        ConfigurationError: it holds a value, or so much beside arrays, that could not be read back safely; says which.
        OSError: the directory cannot be written, the disk is full; what was there before is untouched.
    """
    _write(path, *_parts(path, checkpoint))


def begin(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> Saving:
    """Have a thread write a checkpoint; what it holds may change, and its arrays be donated, when this returns.

    Raises:
        ConfigurationError: it holds a value, or so much beside arrays, that could not be read back safely; says which.
    """
    arrays, rest, own = _parts(path, checkpoint)
    return saving.in_thread(partial(_write, path, _copies(arrays), rest, own))


def _copies(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays again, for nobody else. Those of a device are copied there, behind the host's back, if it has
    the room; the thread that writes fetches them."""
    device = {name: array for name, array in arrays.items() if isinstance(array, jax.Array)}
    host = {name: np.array(array) for name, array in arrays.items() if name not in device}
    if not _have_room(device.values()):
        return {**{name: np.array(array) for name, array in device.items()}, **host}
    places = {name: array.sharding for name, array in device.items()}
    return {**jax.device_put(device, places, may_alias=False), **host}


def _have_room(arrays: Collection[jax.Array]) -> bool:
    """Return whether every device has at least twice the memory free that copies of these arrays take."""
    needed: dict[Any, int] = {}
    for array in arrays:
        for shard in array.addressable_shards:
            needed[shard.device] = needed.get(shard.device, 0) + shard.data.nbytes
    for device, size in needed.items():
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats and stats["bytes_limit"] - stats.get("bytes_in_use", 0) < 2 * size:
            return False
    return True


def _parts(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], bytes, Mark | None]:
    """Return the arrays of a checkpoint, the JSON of the rest, and its mark."""
    # A store without an array would be none.
    arrays: dict[str, Any] = {"": np.zeros(1, np.float32)}
    rest = json.dumps(encode(checkpoint, arrays)).encode()
    if len(rest) > LONGEST_REST:
        raise ConfigurationError(
            f"{os.fspath(path)}: the checkpoint holds {len(rest)} bytes beside its arrays, more than "
            f"the {LONGEST_REST} that could be read back; keep long lists of numbers as arrays."
        )
    return arrays, rest, mark_of(checkpoint.get("functrain"))


def _write(path: str | os.PathLike[str], arrays: dict[str, Any], rest: bytes, own: Mark | None) -> None:
    by = "" if own is None else own.fit
    with files.atomic_directory(path, by) as directory, _as_os_errors():
        _save(files.join(directory, ARRAYS), arrays)
        _store(files.join(directory, REST), rest)
        if own is not None:
            _store(files.join(directory, MARK), encoded(own))
        sums = {name: _sum(directory, name) for name in files.tree(directory)}
        _store(files.join(directory, SUMS), json.dumps(sums, indent=1).encode())


def mark(path: str | os.PathLike[str]) -> Mark | None:
    """Return who wrote a checkpoint, from its small file; None where there is none, or a link."""
    text = os.fspath(path)
    if not files.is_remote(text) and os.path.islink(text.rstrip(os.sep)):
        return None
    try:
        with open_regular(files.join(text, MARK)) as file:
            return decoded(file.read(LONGEST_MARK))
    except OSError:
        return None


def read(path: str | os.PathLike[str], sharding: Any = None, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        sharding: where the arrays go; default: JAX's first device.
        like: a checkpoint, or a part of one; an array goes where that of the same place and shape in it is.

    Raises:
        CheckpointError: there is none, it is damaged, or it is something else; names the path.
    """
    saving.finish()
    text = os.fspath(path)
    directory = files.standing(text)
    rest = _check(text, directory)
    sharding_of = _places(like or {}, sharding or first_device().sharding)
    try:
        return decode(rest, _load(files.join(directory, ARRAYS), _wanted(rest), sharding_of))
    except Exception as error:  # tensorstore raises of many kinds; whichever it is, this is no checkpoint
        raise _of_no_version(text, error) from error


def _save(directory: str, arrays: dict[str, Any]) -> None:
    """Write arrays in one transaction of the store that orbax has its arrays in; as they are, so that a file is never
    smaller than what it declares."""
    import tensorstore as ts

    # What is in the directory is forced to the disk as a whole, once.
    transaction, context = ts.Transaction(), ts.Context({"file_io_sync": False})
    values = {name: np.asarray(value) for name, value in jax.device_get(arrays).items()}
    making = {
        name: ts.open(
            {**_spec(directory, name), "metadata": {"compressor": None}, "store_data_equal_to_fill_value": True},
            dtype=value.dtype,
            shape=value.shape,
            chunk_layout=ts.ChunkLayout(chunk_shape=value.shape),
            create=True,
            transaction=transaction,
            context=context,
        )
        for name, value in values.items()
    }
    for writing in [future.result().write(values[name]) for name, future in making.items()]:
        writing.result()
    transaction.commit_async().result()


def _spec(directory: str, name: str) -> dict[str, Any]:
    local = {"driver": "file", "path": os.path.abspath(directory) + os.sep}
    base = directory + "/" if files.is_remote(directory) else local
    return {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/" if name else ""}}


def _wanted(rest: Any) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return what the JSON says of the arrays."""
    return {"": (np.dtype("float32"), (1,)), **specs(rest)}


def _check_store(rest: Any, stored: int) -> None:
    """Raises ValueError where files of `stored` bytes are not those of the arrays that the JSON declares."""
    wanted = _wanted(rest)
    declared = sum(dtype.itemsize * math.prod(shape) for dtype, shape in wanted.values())
    if declared > stored or stored > 2 * declared + OVERHEAD[0] + OVERHEAD[1] * len(wanted):
        raise ValueError(f"declares {declared} bytes of arrays, and has files of {stored}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if declared > memory:
        raise ValueError(f"declares {declared} bytes of arrays, and this machine has a memory of {memory}")


def _places(like: Mapping[str, Any], default: Any) -> Callable[[str, tuple[int, ...]], Any]:
    """Return what tells the sharding of an array by its name and shape."""
    arrays: dict[str, Any] = {}
    encode(like, arrays)
    known = {(name, array.shape): array.sharding for name, array in arrays.items() if isinstance(array, jax.Array)}
    return lambda name, shape: known.get((name, shape), default)


def _load(
    directory: str,
    wanted: dict[str, tuple[np.dtype, tuple[int, ...]]],
    sharding_of: Callable[[str, tuple[int, ...]], Any],
) -> dict[str, Any]:
    """Return the wanted arrays; those of types that this JAX does not have stay numpy's."""
    import tensorstore as ts

    context = ts.Context({"cache_pool": {"total_bytes_limit": CACHE}})
    opening = {name: ts.open(_spec(directory, name), context=context) for name in wanted}
    opened = {name: _fitting(name, future.result(), *wanted[name]) for name, future in opening.items()}
    reading = {name: each.read() for name, each in opened.items()}
    return {name: _placed(future.result(), sharding_of(name, wanted[name][1])) for name, future in reading.items()}


def _fitting(name: str, stored: Any, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
    """Return the stored array, if reading it takes the memory that it declares and no more."""
    chunk = stored.chunk_layout.read_chunk.shape or ()  # None, where the array has no axes
    plain = stored.codec.to_json().get("compressor") is None
    same = stored.shape == shape and stored.dtype.numpy_dtype == dtype
    as_declared = same and plain and all(c <= max(n, 1) for c, n in zip(chunk, shape, strict=True))
    if as_declared:
        return stored
    form = f"{stored.dtype.name} {stored.shape} in chunks of {chunk}{'' if plain else ', compressed'}"
    raise ValueError(f"the array {name!r} is stored as {form}, and declared as {dtype} {shape}")


def _placed(array: np.ndarray, sharding: Any) -> Any:
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        return array
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Errors of tensorstore that the operating system has raised are raised as such, so that they are explained."""
    try:
        yield
    except ValueError as error:
        number = re.search(r"os_error_code='(\d+)'", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _check(path: str, directory: str) -> Any:
    """Check that every file that was written is there as it was written, and nothing else than files and directories.
    Return the JSON of all that is no array.

    Raises:
        CheckpointError: not so; nothing but regular files within the directory has been opened, and none that is longer
            than what is declared of it.
    """
    if not files.exists(directory):
        raise CheckpointError(f"{path}: no such checkpoint.")
    if not files.is_dir(directory):
        raise CheckpointError(
            f"{path}: a file, but checkpoints of JAX modules are directories; is it one of a torch module, or damaged?"
        )
    try:
        sizes = files.tree(directory)
        sums = _listed(directory, sizes)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, _first_line(error)) from error
    _check_as_written(path, [name for name, (size, _) in sums.items() if sizes.get(name) != size])
    try:
        small = [name for name in sums if not name.startswith(f"{ARRAYS}/")]
        _check_small(sizes, small)
        _check_as_written(path, [name for name in small if _sum(directory, name) != sums[name]])
    except (OSError, ValueError) as error:
        raise _damaged(path, _first_line(error)) from error
    try:
        with files.open_read(files.join(directory, REST)) as file:
            rest = json.load(file)
        _check_store(rest, sum(size for name, size in sizes.items() if name.startswith(f"{ARRAYS}/")))
    except Exception as error:  # whatever a JSON of another kind raises
        raise _of_no_version(path, error) from error
    try:
        large = [name for name in sums if name not in small]
        _check_as_written(path, [name for name in large if _sum(directory, name) != sums[name]])
    except OSError as error:
        raise _damaged(path, _first_line(error)) from error
    return rest


def _check_small(sizes: Mapping[str, int], names: list[str]) -> None:
    """Raises ValueError where a file beside the arrays is none of a checkpoint, or longer than any is."""
    longest = {REST: LONGEST_REST, MARK: LONGEST_MARK}
    for name in names:
        if name not in longest:
            raise ValueError(f"{SUMS} lists {name}, which is no part of a checkpoint")
        if sizes[name] > longest[name]:
            raise ValueError(f"{name} has {sizes[name]} bytes, and at most {longest[name]} are read")


def _check_as_written(path: str, wrong: list[str]) -> None:
    if wrong:
        raise CheckpointError(
            f"{path}: damaged: {wrong[0]} is not as it was written; an earlier checkpoint may be whole."
        )


def _damaged(path: str, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged or not a checkpoint ({why}); an earlier one may be whole.")


def _of_no_version(path: str, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{path}: not a checkpoint of this version ({_first_line(error)}).")


def _listed(directory: str, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Return what the list of files says."""
    if sizes.get(SUMS, 0) > LONGEST_LIST:
        raise ValueError(f"{SUMS} has {sizes[SUMS]} bytes")
    with files.open_read(files.join(directory, SUMS)) as file:
        sums = json.load(file)
    entries = sums.items() if isinstance(sums, dict) else [("it", sums)]
    wrong = [name for name, sum_ in entries if not isinstance(sum_, list) or [type(n) for n in sum_] != [int, int]]
    if wrong:
        raise ValueError(f"{SUMS}: {wrong[0]} is not listed as [bytes, sum]")
    return sums


def _sum(directory: str, name: str) -> list[int]:
    size, crc = 0, 0
    with files.open_read(files.join(directory, *name.split("/"))) as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


def _store(path: str, content: bytes) -> None:
    """A file in a directory that is not there yet for anybody else."""
    with files.open_write(path) as file:
        file.write(content)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
