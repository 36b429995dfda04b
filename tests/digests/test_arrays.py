"""A digest of an array is the same in numpy, torch and JAX, and another one where a bit, the order, the type or the
shape is another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from functrain.trainer.digests import BLOCK, array_digest, chained, sealed, tree_digest
from functrain_jax.digests import of_arrays
from functrain_torch.sums import SMALL, Sums

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
    return Sums([torch.from_numpy(array.copy())]).begin()()[0]


def by_jax(array: np.ndarray) -> int:
    return int(np.asarray(jax.jit(of_arrays)([jnp.asarray(array)]))[0])


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


@given(st.integers(0, 5), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_another_word_in_one_place_is_another_digest_whatever_it_was(place: int, before: int, now: int):
    a = np.arange(6, dtype=np.int32)
    b = a.copy()
    a[place], b[place] = before, now
    assert (array_digest(a) == array_digest(b)) == (before == now)


def test_a_number_and_its_complement_are_told_apart():
    assert array_digest(np.array([0, 5], np.int32)) != array_digest(np.array([-1, 5], np.int32))


def test_roundings_of_several_numbers_do_not_make_up_for_one_another():
    random = np.random.default_rng(1)
    array = random.normal(size=100).astype(np.float32).view(np.int32)
    before = array_digest(array)
    for _ in range(5000):
        other = array.copy()
        other[random.choice(100, 6, replace=False)] += random.choice([-1, 1], 6).astype(np.int32)
        assert array_digest(other) != before


def test_signs_that_all_turn_are_seen():
    array = np.ones((16, 16), np.float32)
    turned = array.copy()
    turned[3:5] = -1
    assert array_digest(array) != array_digest(turned)


@pytest.mark.parametrize("n", [SMALL, SMALL + 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_long_arrays_have_the_same_digest_everywhere(n: int):
    array = np.random.default_rng(n).normal(size=n).astype(np.float32)
    assert array_digest(array) == by_torch(array) == by_jax(array)
    other = array.copy()
    other[-1] = np.nextafter(other[-1], np.float32(9))
    assert array_digest(other) != array_digest(array)


def test_many_tensors_of_all_kinds_at_once_are_each_by_itself():
    random = np.random.default_rng(0)
    arrays = [random.normal(size=size).astype(np.float32) for size in (1, 300, SMALL + 7, 0, (3, 5), 2 * SMALL)]
    tensors = [torch.from_numpy(array) for array in arrays]
    tensors += [tensors[4].t(), tensors[1].half(), torch.tensor(3), tensors[5][::2], torch.complex(*tensors[4][:2])]
    arrays = [tensor.numpy() for tensor in tensors]
    sums = Sums(tensors)
    for _ in range(2):
        assert sums.begin()() == [array_digest(array) for array in arrays]
        tensors[2][5] += 1  # what is begun later is of the values of then
        tensors[0][0] += 1


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
    assert Sums([ours]).begin()()[0] == int(np.asarray(jax.jit(of_arrays)([theirs]))[0])
