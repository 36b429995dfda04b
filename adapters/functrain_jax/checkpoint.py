"""Checkpoints as directories, written and read by orbax: arrays beside plain JSON. May touch the named path
only.

A directory is filled beside its name and then renamed, so it is there whole or not at all. A list of its
files with their sums tells a damaged one before anything of it is read. Nothing in it is ever run.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from functrain import files
from functrain.regular import open_regular
from functrain.trainer.errors import CheckpointError
from functrain.trainer.identity import Mark, decoded, encoded, mark_of
from functrain_jax.encoding import decode, encode, specs

INNER = "orbax"
"""The directory within a checkpoint that orbax reads and writes."""

MARK = "mark.json"
"""The file that says which run wrote the checkpoint."""

SUMS = "files.json"
"""The list of the files in it: path -> [bytes, CRC-32]."""


def write(path: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        ConfigurationError: it holds a value that could not be read back safely; says where.
        OSError: the directory cannot be written, the disk is full; what was there before is untouched.
    """
    import orbax.checkpoint as ocp

    # Orbax wants one array at least.
    arrays: dict[str, Any] = {"": jnp.zeros(1)}
    rest = encode(checkpoint, arrays)
    with files.atomic_directory(path) as directory, _checkpointer(ocp) as checkpointer:
        args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), rest=ocp.args.JsonSave(rest))
        checkpointer.save(_absolute(directory), args)
        own = mark_of(checkpoint.get("functrain"))
        if own is not None:
            with files.atomic_write(files.join(directory, MARK)) as file:
                file.write(encoded(own))
        with files.atomic_write(files.join(directory, SUMS), "w") as file:
            json.dump({name: _sum(directory, name) for name in _names(directory)}, file, indent=1)


def mark(path: str | os.PathLike[str]) -> Mark | None:
    """Who wrote a checkpoint, from its small file; None where there is none, or a link."""
    text = os.fspath(path)
    if not files.is_remote(text) and os.path.islink(text.rstrip(os.sep)):
        return None
    try:
        with open_regular(files.join(text, MARK)) as file:
            return decoded(file.read(4096))
    except OSError:
        return None


def read(path: str | os.PathLike[str], sharding: Any = None) -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        sharding: where the arrays go; default: JAX's first device.

    Raises:
        CheckpointError: there is none, it is damaged, or it is something else; names the path.
    """
    import orbax.checkpoint as ocp

    text = os.fspath(path)
    _check(text)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    inner = _absolute(text)
    try:
        with _checkpointer(ocp) as checkpointer:
            rest = checkpointer.restore(inner, ocp.args.Composite(rest=ocp.args.JsonRestore())).rest
            wanted = {"": ("float32", (1,)), **specs(rest)}
            abstract = {
                name: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=sharding)
                for name, (dtype, shape) in wanted.items()
            }
            args = ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract))
            return decode(rest, checkpointer.restore(inner, args).arrays)
    except Exception as error:  # orbax and tensorstore raise of many kinds; whichever it is, this is no checkpoint
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{text}: not a checkpoint of this version ({lines[0]}).") from error


def _checkpointer(ocp: Any) -> Any:
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())


def _absolute(directory: str) -> str:
    return files.join(directory if files.is_remote(directory) else os.path.abspath(directory), INNER)


def _check(path: str) -> None:
    """Every file that was written is there as it was written."""
    if not files.exists(path):
        raise CheckpointError(f"{path}: no such checkpoint.")
    if not files.is_dir(path):
        raise CheckpointError(
            f"{path}: a file, but checkpoints of JAX modules are directories; is it one of a torch module, or damaged?"
        )
    try:
        with files.open_read(files.join(path, SUMS)) as file:
            sums = json.load(file)
        damaged = [name for name, whole in sums.items() if _sum(path, name) != whole]
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({error}); an earlier one may be whole.") from error
    if damaged:
        raise CheckpointError(
            f"{path}: damaged: {damaged[0]} is not as it was written; an earlier checkpoint may be whole."
        )


def _names(directory: str, below: str = "") -> Iterator[str]:
    for name in files.list_dir(files.join(directory, below) if below else directory):
        inner = f"{below}/{name}" if below else name
        if files.is_dir(files.join(directory, inner)):
            yield from _names(directory, inner)
        elif inner != SUMS:
            yield inner


def _sum(directory: str, name: str) -> list[int]:
    size, crc = 0, 0
    with files.open_read(files.join(directory, *name.split("/"))) as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
