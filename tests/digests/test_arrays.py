"""A digest of an array is the same in numpy, torch and JAX, and another one where a bit, the order, the type or the
shape is another."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from functrain.trainer.digests import WORD, array_digest, chained, sealed, tree_digest
from functrain_jax.digester import _digests
from functrain_torch.digester import TorchDigester

TYPES = [np.float32, np.int32, np.float16, np.int16, np.uint8, np.int8, np.bool_, np.complex64]
WIDE = [np.float64, np.int64, np.complex128]


def arrays(types: list[Any]) -> Any:
    def of(dtype: Any) -> Any:
        size = np.dtype(dtype).itemsize
        raw = nps.arrays(np.uint8, st.integers(0, 12).map(lambda n: n * size), elements=st.integers(0, 255))
        if dtype == np.bool_:
            return raw.map(lambda x: x % 2 == 1)
        return raw.map(lambda x: x.view(dtype))

    return st.sampled_from(types).flatmap(of)


def by_torch(array: np.ndarray) -> int:
    digester = TorchDigester(None)  # type: ignore[arg-type]
    return int(digester._digest(torch.from_numpy(array.copy()))) & WORD


def by_jax(array: np.ndarray) -> int:
    return int(np.asarray(_digests([jnp.asarray(array)]))[0]) & WORD


@given(arrays(TYPES))
def test_numpy_torch_and_jax_agree(array: np.ndarray):
    assert array_digest(array) == by_torch(array) == by_jax(array)


@given(arrays(WIDE))
def test_numpy_and_torch_agree_on_wide_types(array: np.ndarray):
    assert array_digest(array) == by_torch(array)


@given(arrays([*TYPES, *WIDE]).filter(lambda x: x.size and x.dtype != np.bool_), st.data())
def test_another_bit_is_another_digest(array: np.ndarray, data: st.DataObject):
    raw = array.copy().reshape(-1).view(np.uint8)
    place, bit = data.draw(st.integers(0, raw.size - 1)), data.draw(st.integers(0, 7))
    raw[place] ^= 1 << bit
    assert array_digest(raw.view(array.dtype)) != array_digest(array)


@given(st.floats(width=32).filter(lambda x: x != 0), st.integers(0, 40), st.integers(0, 40))
def test_a_number_and_its_negative_change_places(x: float, i: int, j: int):
    array = np.zeros(41, np.float32)
    array[i], array[j] = x, -x
    changed = array.copy()
    changed[i], changed[j] = array[j], array[i]
    assert (array_digest(array) == array_digest(changed)) == (array.tobytes() == changed.tobytes())


def test_type_and_shape_are_sealed_in():
    zeros = array_digest(np.zeros(4, np.float32))
    assert zeros == array_digest(np.zeros(4, np.int32))
    assert len({sealed(form, zeros) for form in ("float32(4,)", "int32(4,)", "float32(2, 2)")}) == 3


BATCHES: list[Any] = [
    np.arange(4), np.arange(4).reshape(2, 2), np.arange(4.0), [1, 2], [1, [2]], [[1], 2], {"a": 1}, {"b": 1},
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, "12", ["1", "2"], None, True, 1, 1.0, b"1",
]  # fmt: skip


def test_batches_that_differ_have_other_digests():
    def numpy_alone(leaf: Any) -> None:
        return None

    found = [tree_digest(batch, numpy_alone) for batch in BATCHES]
    assert len(set(found)) == len(BATCHES)
    assert tree_digest((1, 2), numpy_alone) == tree_digest([1, 2], numpy_alone)  # a loader may make either of it


def test_a_chain_depends_on_every_batch_and_on_their_order():
    def chain(digests: list[int]) -> int:
        before = 0
        for digest in digests:
            before = chained(before, digest)
        return before

    assert len({chain(x) for x in ([1, 2, 3], [2, 1, 3], [1, 2], [1, 2, 4], [5, 2, 3], [])}) == 6


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_small_types_of_jax_and_torch(dtype: str):
    values = np.linspace(-2, 2, 9, dtype=np.float32)
    ours = torch.from_numpy(values).to(getattr(torch, dtype))
    theirs = jnp.asarray(values, dtype)
    digester = TorchDigester(None)  # type: ignore[arg-type]
    assert int(digester._digest(ours)) & WORD == int(np.asarray(_digests([theirs]))[0]) & WORD
