"""A digest of a batch sees every bit of it, and where it stands."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from functrain.trainer.fingerprint import digest_of

TYPES = st.sampled_from(["float32", "float64", "int64", "int8", "uint8", "float16", "complex64", "bool"])
ARRAYS = TYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=1)))


@given(ARRAYS, st.data())
def test_one_flipped_bit_changes_it(array, data):
    bits = np.frombuffer(array.tobytes(), np.uint8).copy()
    place = data.draw(st.integers(0, bits.size - 1))
    bits[place] ^= 1 if array.dtype == bool else 1 << data.draw(st.integers(0, 7))
    other = bits.view(array.dtype).reshape(array.shape)
    assert digest_of({"x": array}) != digest_of({"x": other})


@given(ARRAYS)
def test_torch_and_numpy_have_the_same(array):
    assert digest_of((array,)) == digest_of((torch.from_numpy(np.array(array)),))


def test_jax_has_the_same_and_a_view_in_another_order_of_memory_too():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert len({digest_of(x) for x in (array, jnp.asarray(array), np.asfortranarray(array))}) == 1


@pytest.mark.parametrize(
    "other",
    [
        np.zeros((2, 3), np.int32),
        np.zeros((3, 2), np.float32),
        np.full((2, 3), -0.0, np.float32),
        [np.zeros((2, 3), np.float32)],
        {"x": np.zeros((2, 3), np.float32)},
        torch.zeros(2, 3, dtype=torch.bfloat16),
    ],
    ids=["type", "shape", "sign", "list", "name", "bfloat16"],
)
def test_another_type_shape_or_place_changes_it(other):
    assert digest_of(np.zeros((2, 3), np.float32)) != digest_of(other)


def test_what_is_no_array_is_named():
    with pytest.raises(TypeError, match=r"batch\['x'\]\[1\] is a object, no array"):
        digest_of({"x": [1.0, object()]})
