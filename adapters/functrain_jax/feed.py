"""Batches from any loader to buffers on the device: converted to numpy, put behind one another, moved at
once.

A buffer has a fixed length for every form of batch, and the number of real batches goes along, so that the
same compiled program serves any number of them. What stands behind the real ones is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functrain.trainer.errors import ConfigurationError

ALIGNMENT = 64
"""Bytes. From here on JAX on the CPU uses numpy's memory as it is, without a copy."""

LONGEST = 64
BUFFER_BYTES = 256 * 2**20
"""At most so much for the buffers of one dispatch."""


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
        chunk: Chunk | None = None
        for batch in islice(batches, n):
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
        if form == full.form and full.size == 1 and self.longest > 1:
            self.sizes.pop(form)  # a form that comes again and again deserves a longer buffer
            self.sizes[form] = self._longest(form)
        return Chunk.empty(form, self.size(form))

    def size(self, form: Form) -> int:
        """How many batches of this form go into one buffer. The first form gets a long one, an odd one begins
        with 1."""
        if form not in self.sizes:
            self.sizes[form] = 1 if self.sizes else self._longest(form)
        return self.sizes[form]

    def _longest(self, form: Form) -> int:
        return max(1, min(self.longest, LONGEST, BUFFER_BYTES // max(1, form.bytes)))

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
