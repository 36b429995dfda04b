"""Batches from any loader to buffers on the device: converted to numpy, put behind one another, moved at
once.

A buffer has a fixed length for every form of batch, and the number of real batches goes along, so that the
same compiled program serves any number of them. What stands behind the real ones is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.hooks import Hooks
from functrain_jax.device import check_one_device
from functrain_jax.order import ordered, plain

ALIGNMENT = 64
"""Bytes. From here on JAX on the CPU uses numpy's memory as it is, without a copy."""

SHORTEST = 2
"""A buffer for one batch has room for two: where an index can only be 0 the compiler leaves it out, and what it makes
of the rest may differ in the last bit."""

LONGEST = 256
"""At most so many batches in one dispatch."""

DISPATCH_BYTES = 8 * 2**20
"""Longer buffers than this fall out of the processor's caches and gain nothing more."""

FEWEST = 8
BUFFER_BYTES = 256 * 2**20
"""A dispatch takes `FEWEST` batches however large they are, up to so much memory."""


def preparing(hooks: Hooks, device: Any) -> Callable[..., Any] | None:
    """Return what the hooks that may change a batch make of it before it is moved, `prepare(batch, loader=0)`; None
    where there are none."""
    before, transfer = hooks.on_before_batch_transfer, hooks.transfer_batch_to_device
    if before is None and transfer is None:
        return None

    def prepare(batch: Any, loader: int = 0) -> Any:
        batch = batch if before is None else before(batch, loader)
        return batch if transfer is None else transfer(batch, device, loader)

    return prepare


class BatchSpec(NamedTuple):
    """What must be the same for batches to go through one program: the structure, shapes and types."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    types: tuple[Any, ...]

    @property
    def bytes(self) -> int:
        """The memory of one batch."""
        return sum(int(np.prod(s)) * t.itemsize for s, t in zip(self.shapes, self.types, strict=True))

    def abstract(self) -> Any:
        """Return the batch as shapes and types, for tracing."""
        leaves = [jax.ShapeDtypeStruct(s, t) for s, t in zip(self.shapes, self.types, strict=True)]
        return jax.tree.unflatten(self.structure, leaves)


@dataclass(slots=True)
class Chunk:
    """Up to `size` batches of one form; `count` are there."""

    spec: BatchSpec
    size: int
    buffers: list[np.ndarray]
    count: int = 0

    @classmethod
    def empty(cls, spec: BatchSpec, size: int) -> Chunk:
        """Room for `size` batches."""
        pairs = zip(spec.shapes, spec.types, strict=True)
        return cls(spec, size, [aligned((max(size, SHORTEST), *shape), dtype) for shape, dtype in pairs])

    def add(self, leaves: list[np.ndarray]) -> None:
        """One batch more, copied."""
        for buffer, leaf in zip(self.buffers, leaves, strict=True):
            buffer[self.count] = leaf
        self.count += 1

    def cut(self, size: int) -> None:
        """Room for so many only."""
        self.size, self.buffers = size, [buffer[: max(size, SHORTEST)] for buffer in self.buffers]

    def example(self) -> Any:
        """Return a batch to trace a step with: its shapes and types. Its first batch where the user has told JAX to
        compile nothing, so that a step sees values always."""
        if not jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self.spec.abstract()
        return jax.tree.unflatten(self.spec.structure, [jnp.asarray(buffer[0]) for buffer in self.buffers])

    def first(self) -> Any:
        """Return its first batch, as its loader gave it."""
        return plain(jax.tree.unflatten(self.spec.structure, [buffer[0] for buffer in self.buffers]))

    def filled(self) -> Any:
        """Return its batches, one tree of arrays with a leading axis."""
        return jax.tree.unflatten(self.spec.structure, [buffer[: self.count] for buffer in self.buffers])

    def on_device(self, put: Callable[[np.ndarray], jax.Array]) -> Any:
        """Return the buffers as one tree of arrays with a leading axis of `size`."""
        return jax.tree.unflatten(self.spec.structure, [put(buffer) for buffer in self.buffers])


class Taken(NamedTuple):
    """A batch that was drawn, and its leaves as `Feed.leaves` returns them."""

    batch: Any
    leaves: list[np.ndarray]
    structure: Any


class Feed:
    """Takes batches from an iterator and returns them as chunks.

    Args:
        prepare: applied to every batch first (the hooks that may change one); None leaves it.
        x64: whether 64-bit floating values are kept.
        longest: at most so many batches in one chunk.
        settles: what comes in the first chunk decides how long the others are.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Any] | None = None,
        x64: bool = False,
        longest: int = 1,
        settles: bool = False,
    ) -> None:
        self.prepare = prepare
        self.x64 = x64
        self.longest = longest
        self.settles = settles
        self.sizes: dict[BatchSpec, int] = {}

    def chunks(self, batches: Iterator[Any], n: int) -> Iterator[Chunk]:
        """Yield the next n batches as chunks: neighbours of one form together, as far as a buffer goes.

        A batch is copied as it is drawn, as its loader may fill the same arrays again. Where the loader fails, what it
        returned before comes first.
        """
        given = islice(batches, n)
        begin, chunk = self._next(given), None
        while begin is not None:
            chunk, error = self._begun(begin, chunk), None
            try:
                begin = self._fill(chunk, given, type(begin.batch))
            except Exception as failed:
                error = failed
            full = chunk.count == chunk.size
            self._settle(chunk)
            yield chunk
            if error is not None:
                raise error
            if full:
                begin = self._next(given)

    def _next(self, given: Iterator[Any]) -> Taken | None:
        for batch in given:
            return Taken(batch, *self.leaves(batch))
        return None

    def _begun(self, taken: Taken, before: Chunk | None) -> Chunk:
        """Return a chunk that begins with this batch."""
        spec = spec_of(taken.leaves, taken.structure)
        if before is not None and spec == before.spec and before.size == 1:
            self._grow(spec)
        chunk = Chunk.empty(spec, self.size(spec))
        chunk.add(taken.leaves)
        return chunk

    def _fill(self, chunk: Chunk, given: Iterator[Any], kind: type) -> Taken | None:
        """Batches into the chunk until it is full. Returns the first that does not fit, and None where there was none.

        Tuples of numpy arrays are the common case, and go several times faster.
        """
        size, count, array = chunk.size, chunk.count, np.ndarray
        parts = list(zip(chunk.buffers, chunk.spec.shapes, chunk.spec.types, strict=True))
        length = len(parts)
        simple = self.prepare is None and kind in (tuple, list)
        simple = simple and chunk.spec.structure == jax.tree.structure(kind(range(length)))
        if count == size:
            return None
        for batch in given:
            if simple and type(batch) is kind and len(batch) == length:
                for leaf, (buffer, shape, dtype) in zip(batch, parts, strict=False):
                    # numpy keeps one object for each of its common types, and to ask whether it is that one costs less
                    if type(leaf) is array and leaf.dtype is dtype and leaf.shape == shape:
                        buffer[count] = leaf
                        continue
                    break
                else:
                    chunk.count = count = count + 1
                    if count == size:
                        return None
                    continue
            leaves, structure = self.leaves(batch)
            if not fits(chunk, leaves, structure):
                return Taken(batch, leaves, structure)
            chunk.add(leaves)
            count = chunk.count
            if count == size:
                return None
        return None

    def _settle(self, chunk: Chunk) -> None:
        """Where the first chunk decides: what came in it, as the next power of two, is the length from here on."""
        if self.settles:
            self.settles = False
            self.longest = 1 << (chunk.count - 1).bit_length()
            self.sizes[chunk.spec] = min(chunk.size, self.longest)
            chunk.cut(self.sizes[chunk.spec])

    def _grow(self, spec: BatchSpec) -> None:
        """A form that comes again and again deserves a longer buffer."""
        self.sizes[spec] = self._longest(spec)

    def size(self, spec: BatchSpec) -> int:
        """Return how many batches of this form go into one buffer. The first form gets a long one, an odd one begins
        with 1."""
        if spec not in self.sizes:
            self.sizes[spec] = 1 if self.sizes else self._longest(spec)
        return self.sizes[spec]

    def _longest(self, spec: BatchSpec) -> int:
        size = max(1, spec.bytes)
        fitting = max(DISPATCH_BYTES // size, min(FEWEST, BUFFER_BYTES // size))
        return max(1, min(self.longest, LONGEST, fitting))

    def leaves(self, batch: Any) -> tuple[list[np.ndarray], Any]:
        """Return a batch's leaves as numpy arrays of types that JAX keeps, and its structure.

        Raises:
            ConfigurationError: a leaf is no array of numbers; names it.
        """
        if self.prepare is not None:
            batch = self.prepare(batch)
        batch = ordered(batch)
        leaves, structure = jax.tree.flatten(batch)
        for i, leaf in enumerate(leaves):
            if type(leaf) is not np.ndarray or leaf.dtype not in KEPT:
                leaves[i] = self._array(leaf, batch, i)
        return leaves, structure

    def _array(self, leaf: Any, batch: Any, index: int) -> np.ndarray:
        if isinstance(leaf, jax.Array):
            check_one_device(leaf, f"batch{_path(batch, index)}")
        try:
            array = np.asarray(leaf)
            dtype = jax.dtypes.canonicalize_dtype(array.dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _unusable(leaf, batch, index, str(error)) from error
        if dtype == np.float64 and not self.x64:
            dtype = np.dtype(np.float32)
        no_number = dtype.kind not in "biufcV" or (dtype.kind == "V" and not jnp.issubdtype(dtype, np.number))
        if no_number:
            raise _unusable(leaf, batch, index, f"its type is {array.dtype}")
        kept = array.astype(dtype, copy=False)
        wraps = dtype.kind in "iu" and dtype != array.dtype and not (kept == array).all()
        if wraps:
            lost = array.flat[np.argmax(kept != array)]
            raise _unusable(
                leaf,
                batch,
                index,
                f"JAX keeps {dtype} of {array.dtype}, and {lost} does not fit; "
                "jax.config.update('jax_enable_x64', True) keeps 64 bits",
            )
        return kept


KEPT = frozenset(np.dtype(t) for t in (np.float32, np.float16, np.int32, np.uint8, np.int8, np.bool_))
"""Types that JAX takes as they are under any configuration."""


def _unusable(leaf: Any, batch: Any, index: int, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"batch{_path(batch, index)} is a {type(leaf).__name__} that cannot become an array ({why}): a batch must "
        "be a tree of numbers and arrays. Convert or drop it in the loader's collate function or in "
        "on_before_batch_transfer."
    )


def _path(batch: Any, index: int) -> str:
    return jax.tree_util.keystr(jax.tree_util.tree_leaves_with_path(batch)[index][0])


_SHAPE, _DTYPE = attrgetter("shape"), attrgetter("dtype")


def spec_of(leaves: list[np.ndarray], structure: Any) -> BatchSpec:
    """Return the form of a batch."""
    return BatchSpec(structure, tuple(map(_SHAPE, leaves)), tuple(map(_DTYPE, leaves)))


def fits(chunk: Chunk, leaves: list[np.ndarray], structure: Any) -> bool:
    """Return whether the batch is of the chunk's form."""
    spec = chunk.spec
    return structure == spec.structure and all(
        x.shape == s and x.dtype == t for x, s, t in zip(leaves, spec.shapes, spec.types, strict=True)
    )


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an uninitialized array that starts at a multiple of `ALIGNMENT` bytes."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(n + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n].view(dtype).reshape(shape)
