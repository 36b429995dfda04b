"""Digests of what a run holds and of the batches that it takes: numbers that are equal where two runs are, and differ
where a single bit does. What they are of arrays is said here for all frameworks, by a reference in numpy.

The digest of an array is a sum over its 32-bit words, so that it may be added up in any order, on any device::

    digest = sum((w[i] ^ (w[i] >> 16)) * odd(i % BLOCK) * odd(i // BLOCK)  for all i)  mod 2^32

A number of 8 or 16 bits is a word by itself, with its sign; one of 64 is two, the lower half first. A word's upper half
goes into the lower one too, since what an upper bit is multiplied by hardly matters; and no two words are mixed to the
same. So where one word differs the digest does, whatever it was. The weights are odd and without any order, so that
small differences of several words do not make up for one another. Type and shape are taken in by `sealed`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeGuard

import numpy as np

from functrain.trainer.narrow import is_mapping, is_sequence

Array: TypeAlias = np.ndarray[Any, Any]

WORD = 0xFFFFFFFF
BLOCK = 1 << 18
"""So many words have weights of their own; those of the blocks after it are these, times a weight of the block."""

PARTS = ("parameters", "variables", "optimizer")
"""What a state is made of, in the order in which it is digested."""


Names: TypeAlias = Mapping[str, tuple[str, ...]]
"""The arrays of each of `PARTS`."""


class Layout(NamedTuple):
    """What the digests of a state are of.

    Attributes:
        names: the arrays of each of `PARTS`, by name.
        forms: type and shape of each, in the same order, one part after another.
    """

    names: Names
    forms: tuple[str, ...]


class Digests(NamedTuple):
    """The digests of a state, which may still be on the device.

    Attributes:
        layout: what they are of.
        read: returns them; waits for the device.
        random: the random states that the state holds itself, by name, as places in what `read` returns behind the
            others.
    """

    layout: Layout
    read: Callable[[], Sequence[int]]
    random: tuple[str, ...] = ()


class Digester(Protocol):
    """Makes digests for one framework."""

    def state(self) -> Digests:
        """Return those of parameters, of what the forward pass changes by itself, and of the optimizers. Does not wait
        for the device."""
        ...

    def batch(self, batch: Any, /) -> int:
        """Return that of a batch as its loader returned it."""
        ...


def array_digest(array: Array) -> int:
    """Return the digest of an array, without its type and shape.

    Example:
        >>> array_digest(np.array([1], np.int32))
        1
    """
    words = _words(array)
    mixed = words ^ (words >> np.uint32(16))
    place = np.arange(words.size, dtype=np.uint32)
    weights = odd(place % np.uint32(BLOCK)) * odd(place // np.uint32(BLOCK))
    return int((mixed * weights).sum(dtype=np.uint32))


def _words(array: Array) -> Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    size = flat.dtype.itemsize
    if size < 4:
        flat = flat.view(np.int16 if size == 2 else np.int8).astype(np.int32)
    return flat.view(np.uint32)


def odd(place: Any) -> Any:
    """Return the weights of these places, which are unsigned numbers of 32 bits of any framework: odd numbers that look
    as if they were drawn at random, and 1 for place 0."""
    mixed = place * FACTORS[0]
    mixed = (mixed ^ (mixed >> SHIFTS[0])) * FACTORS[1]
    mixed = (mixed ^ (mixed >> SHIFTS[1])) * FACTORS[2]
    return (mixed ^ (mixed >> SHIFTS[2])) | np.uint32(1)


FACTORS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], np.uint32)
SHIFTS = np.array([15, 13, 16], np.uint32)


def sealed(form: str, digest: int) -> str:
    """Return eight digits that stand for an array: its digest, and its type and shape as `form` says them."""
    return f"{zlib.crc32(form.encode(), digest & WORD):08x}"


def chained(before: int, digest: int) -> int:
    """Return what stands for a sequence of batches: for those before, and for one more."""
    return zlib.crc32(digest.to_bytes(4, "little"), before)


def _is_array(value: object) -> TypeGuard[Array]:
    return isinstance(value, np.ndarray)


PLAIN: tuple[type, ...] = (bool, int, float, complex, str, bytes, np.generic, type(None))

BUFFERS = "biufc"
"""Kinds of numbers whose bytes can be read where they are."""


@lru_cache(maxsize=256)
def _form_of(dtype: Any, shape: tuple[int, ...]) -> bytes:
    """Return type and shape as text; the same few come with every batch."""
    return f"{dtype}{shape}".encode()


AsArray: TypeAlias = Callable[[Any], Array | None]


def tree_digest(tree: Any, as_array: AsArray, start: int = 0) -> int:
    """Return the digest of a batch: of its arrays, numbers and texts, and of how they are put together.

    Args:
        as_array: returns an array of the framework as one of numpy, and None for what is none.
    """
    array = tree if _is_array(tree) else as_array(tree)
    if array is not None:
        if array.dtype == object:
            return tree_digest(array.tolist(), as_array, start)
        start = zlib.crc32(_form_of(array.dtype, array.shape), start)
        if array.flags.c_contiguous and array.dtype.kind in BUFFERS:
            return zlib.crc32(array.data, start)
        return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, start)
    if is_sequence(tree):
        start = zlib.crc32(b"(", start)
        for part in tree:
            start = tree_digest(part, as_array, start)
        return zlib.crc32(b")", start)
    if is_mapping(tree):
        for key, part in tree.items():
            start = tree_digest(part, as_array, zlib.crc32(repr(key).encode(), start))
        return zlib.crc32(b"}", start)
    if isinstance(tree, PLAIN):
        return zlib.crc32(repr(tree).encode(), start)
    return _object_digest(tree, as_array, start)


def _object_digest(tree: Any, as_array: AsArray, start: int) -> int:
    start = zlib.crc32(type(tree).__qualname__.encode(), start)
    if callable(tree):
        return start
    if dataclasses.is_dataclass(tree):
        parts = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    else:
        parts = dict(getattr(tree, "__dict__", {}))
    arrays = {name: part for name, part in parts.items() if not name.startswith("_")}
    return tree_digest(arrays, as_array, start)
