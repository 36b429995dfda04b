"""Batches from any loader to buffers on the device: converted to numpy, put behind one another, moved at
once.

A buffer has a fixed length for every form of batch, and the number of real batches goes along, so that the
same compiled program serves any number of them. What stands behind the real ones is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functrain.trainer.errors import ConfigurationError

ALIGNMENT = 64
"""Bytes. From here on JAX on the CPU uses numpy's memory as it is, without a copy."""

LONGEST = 512
"""At most so many batches in one dispatch."""

DISPATCH_BYTES = 8 * 2**20
"""Longer buffers than this fall out of the processor's caches and gain nothing more."""

FEWEST = 8
BUFFER_BYTES = 256 * 2**20
"""A dispatch takes `FEWEST` batches however large they are, up to so much memory."""


class Form(NamedTuple):
    """What must be the same for batches to go through one program: the structure, shapes and types."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    types: tuple[Any, ...]

    @property
    def bytes(self) -> int:
        """The memory of one batch."""
        return sum(int(np.prod(s)) * t.itemsize for s, t in zip(self.shapes, self.types, strict=True))

    def abstract(self) -> Any:
        """The batch as shapes and types, for tracing."""
        leaves = [jax.ShapeDtypeStruct(s, t) for s, t in zip(self.shapes, self.types, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


@dataclass(slots=True)
class Chunk:
    """Up to `size` batches of one form; `count` are there."""

    form: Form
    size: int
    buffers: list[np.ndarray]
    count: int = 0

    @classmethod
    def empty(cls, form: Form, size: int) -> Chunk:
        """Room for `size` batches."""
        pairs = zip(form.shapes, form.types, strict=True)
        return cls(form, size, [aligned((size, *shape), dtype) for shape, dtype in pairs])

    def on_device(self, put: Callable[[np.ndarray], jax.Array]) -> Any:
        """The buffers as one tree of arrays with a leading axis of `size`."""
        return jax.tree.unflatten(self.form.structure, [put(buffer) for buffer in self.buffers])


class Feed:
    """Takes batches from an iterator and gives chunks.

    Args:
        prepare: applied to every batch first (the hooks that may change one); None leaves it.
        wide: whether 64-bit floating values are kept.
    """

    def __init__(self, prepare: Callable[[Any], Any] | None = None, wide: bool = False) -> None:
        self.prepare = prepare
        self.wide = wide
        self.sizes: dict[Form, int] = {}
        self.longest = 1

    def chunks(self, batches: Iterator[Any], n: int) -> Iterator[Chunk]:
        """The next n batches as chunks: neighbours of one form together, as far as a buffer goes."""
        while taken := list(islice(batches, min(n, LONGEST))):
            n -= len(taken)
            columns = self._columns(taken) if len(taken) > 1 else None
            yield from self._one_by_one(taken) if columns is None else self._at_once(taken[0], columns)

    def _columns(self, taken: list[Any]) -> list[Any] | None:
        """The batches leaf by leaf, where all of them are tuples of numpy arrays of one form, which is the common case
        and goes several times faster; else None."""
        kind = type(taken[0])
        if self.prepare is not None or kind not in (tuple, list):
            return None
        if any(type(batch) is not kind or len(batch) != len(taken[0]) for batch in taken):
            return None
        columns = list(zip(*taken, strict=True))
        for column in columns:
            first = column[0]
            if type(first) is not np.ndarray or first.dtype not in KEPT:
                return None
            shape, dtype = first.shape, first.dtype
            if any(type(x) is not np.ndarray or x.shape != shape or x.dtype != dtype for x in column):
                return None
        return columns or None

    def _at_once(self, first: Any, columns: list[Sequence[np.ndarray]]) -> Iterator[Chunk]:
        leaves, structure = jax.tree.flatten(first)
        form, total, start = form_of(leaves, structure), len(columns[0]), 0
        while start < total:
            if form in self.sizes and self.sizes[form] == 1 and total > 1:
                self._grow(form)
            chunk = Chunk.empty(form, self.size(form))
            chunk.count = min(chunk.size, total - start)
            for buffer, column in zip(chunk.buffers, columns, strict=True):
                _fill(buffer[: chunk.count], column[start : start + chunk.count])
            start += chunk.count
            yield chunk

    def _one_by_one(self, taken: list[Any]) -> Iterator[Chunk]:
        chunk: Chunk | None = None
        for batch in taken:
            leaves, structure = self.leaves(batch)
            if chunk is not None and not (chunk.count < chunk.size and fits(chunk, leaves, structure)):
                yield chunk
                chunk = self._after(chunk, form_of(leaves, structure))
            elif chunk is None:
                form = form_of(leaves, structure)
                chunk = Chunk.empty(form, self.size(form))
            for buffer, leaf in zip(chunk.buffers, leaves, strict=True):
                buffer[chunk.count] = leaf
            chunk.count += 1
        if chunk is not None:
            yield chunk

    def _after(self, full: Chunk, form: Form) -> Chunk:
        if form == full.form and full.size == 1:
            self._grow(form)
        return Chunk.empty(form, self.size(form))

    def _grow(self, form: Form) -> None:
        """A form that comes again and again deserves a longer buffer."""
        self.sizes[form] = self._longest(form)

    def size(self, form: Form) -> int:
        """How many batches of this form go into one buffer. The first form gets a long one, an odd one begins
        with 1."""
        if form not in self.sizes:
            self.sizes[form] = 1 if self.sizes else self._longest(form)
        return self.sizes[form]

    def _longest(self, form: Form) -> int:
        size = max(1, form.bytes)
        fitting = max(DISPATCH_BYTES // size, min(FEWEST, BUFFER_BYTES // size))
        return max(1, min(self.longest, LONGEST, fitting))

    def leaves(self, batch: Any) -> tuple[list[np.ndarray], Any]:
        """A batch's leaves as numpy arrays of types that JAX keeps, and its structure.

        Raises:
            ConfigurationError: a leaf is no array of numbers; names it.
        """
        if self.prepare is not None:
            batch = self.prepare(batch)
        leaves, structure = jax.tree.flatten(batch)
        for i, leaf in enumerate(leaves):
            if type(leaf) is not np.ndarray or leaf.dtype not in KEPT:
                leaves[i] = self._array(leaf, batch, i)
        return leaves, structure

    def _array(self, leaf: Any, batch: Any, index: int) -> np.ndarray:
        try:
            array = np.asarray(leaf)
            dtype = jax.dtypes.canonicalize_dtype(array.dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _unusable(leaf, batch, index, str(error)) from error
        if dtype == np.float64 and not self.wide:
            dtype = np.dtype(np.float32)
        if dtype.kind not in "biufcV" or (dtype.kind == "V" and not jnp.issubdtype(dtype, np.number)):
            raise _unusable(leaf, batch, index, f"its type is {array.dtype}")
        return array.astype(dtype, copy=False)


KEPT = frozenset(np.dtype(t) for t in (np.float32, np.float16, np.int32, np.uint8, np.int8, np.bool_))
"""Types that JAX takes as they are under any configuration."""


def _unusable(leaf: Any, batch: Any, index: int, why: str) -> ConfigurationError:
    path = jax.tree_util.keystr(jax.tree_util.tree_leaves_with_path(batch)[index][0])
    return ConfigurationError(
        f"batch{path} is a {type(leaf).__name__} that cannot become an array ({why}): a batch must be a tree of "
        "numbers and "
        "arrays. Convert or drop it in the loader's collate function or in on_before_batch_transfer."
    )


def _fill(buffer: np.ndarray, column: Sequence[np.ndarray]) -> None:
    """Put the arrays behind one another; concatenating is several times faster than stacking."""
    if buffer.ndim > 1:
        np.concatenate(column, out=buffer.reshape(-1, *buffer.shape[2:]))
    else:
        np.stack(column, out=buffer)


def form_of(leaves: list[np.ndarray], structure: Any) -> Form:
    """The form of a batch."""
    return Form(structure, tuple(x.shape for x in leaves), tuple(x.dtype for x in leaves))


def fits(chunk: Chunk, leaves: list[np.ndarray], structure: Any) -> bool:
    """Is the batch of the chunk's form?"""
    form = chunk.form
    return structure == form.structure and all(
        x.shape == s and x.dtype == t for x, s, t in zip(leaves, form.shapes, form.types, strict=True)
    )


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialized array that starts at a multiple of `ALIGNMENT` bytes."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(n + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n].view(dtype).reshape(shape)
