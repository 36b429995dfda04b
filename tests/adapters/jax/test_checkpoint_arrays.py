"""Every array that can be saved is read back: of any form, type, name and number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functrain_jax as ft
from functrain_jax.checkpoint import read, write
from functrain_jax.encoding import STORED
from tests.adapters.jax.common import Batches, Plain, trainer


def comes_back(path, value):
    write(path, value)
    back = read(path)
    assert jax.tree.structure(back) == jax.tree.structure(value)
    for got, want in zip(jax.tree.leaves(back), jax.tree.leaves(value), strict=True):
        native = np.asarray(want).dtype.newbyteorder("=")
        assert (np.shape(got), np.asarray(got).dtype) == (np.shape(want), native)
        assert np.asarray(got).tobytes() == np.asarray(want).astype(native).tobytes()


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 0)])
def test_arrays_of_any_type_of_numbers_come_back_as_scalars_empty_or_whole(tmp_path, shape):
    comes_back(tmp_path / "a.ckpt", {name: np.ones(shape, jnp.dtype(name)) for name in sorted(STORED)})


def test_arrays_whose_places_read_alike_stay_apart(tmp_path):
    comes_back(
        tmp_path / "a.ckpt",
        {"a/b": jnp.ones(3), "a": {"b": jnp.zeros(3), "/b": jnp.full(3, 2.0)}, "": jnp.full(3, 4.0), "/": jnp.ones(2)},
    )


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a//b", "\n", "a\0", "é", "\ud800", "x" * 100_000])
def test_an_array_of_any_name_comes_back(tmp_path, name):
    comes_back(tmp_path / "a.ckpt", {name: jnp.arange(3.0), "other": {name + "2": jnp.ones(3)}})


def test_thousands_of_tiny_arrays_come_back(tmp_path):
    comes_back(tmp_path / "a.ckpt", {f"layer{i}": {"kernel": np.full((1, 2), i, np.float16)} for i in range(5000)})


def test_views_and_numbers_of_the_other_byte_order_come_back(tmp_path):
    comes_back(tmp_path / "a.ckpt", {"t": np.arange(12.0).reshape(3, 4).T, "r": np.arange(5)[::-1]})
    comes_back(tmp_path / "b.ckpt", {"big": np.arange(3, dtype=">f4"), "empty": np.zeros((0, 1), ">i8")})


def test_random_keys_come_back_as_keys(tmp_path):
    value = {"one": jax.random.key(3), "many": jax.random.split(jax.random.key(4, impl="rbg"), 3)}
    write(tmp_path / "a.ckpt", value)
    back = read(tmp_path / "a.ckpt")
    for name, key in value.items():
        assert back[name].dtype == key.dtype
        np.testing.assert_array_equal(jax.random.key_data(back[name]), jax.random.key_data(key))


def test_a_run_with_keys_and_scalars_in_its_vars_continues_from_its_checkpoint(tmp_path):
    class Keeps(Plain):
        def __init__(self):
            super().__init__()
            self.vars = {"key": jax.random.key(7), "low": jnp.bfloat16(1.5), "none": jnp.zeros((0, 3))}

        def training_step(self, batch, batch_idx):
            key, noise = jax.random.split(self.vars["key"])
            self.vars = {**self.vars, "key": key, "low": self.vars["low"] * 0.75}
            return super().training_step(batch, batch_idx) + 0.1 * jax.random.normal(noise) * self.params["b"].sum()

    whole, first, again = Keeps(), Keeps(), Keeps()
    trainer(max_epochs=2).fit(whole, Batches())
    run = trainer(max_epochs=1)
    run.fit(first, Batches())
    run.save_checkpoint(tmp_path / "a.ckpt")
    trainer(max_epochs=2).fit(again, Batches(), ckpt_path=tmp_path / "a.ckpt")
    for name in ("low", "none"):
        np.testing.assert_array_equal(again.vars[name], whole.vars[name])
    np.testing.assert_array_equal(*(jax.random.key_data(each.vars["key"]) for each in (again, whole)))
    np.testing.assert_array_equal(again.params["w"], whole.params["w"])


def test_weights_that_would_have_one_name_in_a_checkpoint_are_an_error(tmp_path):
    class Named(Plain):
        def __init__(self):
            super().__init__()
            self.vars = {"a.b": jnp.ones(2), "a": {"b": jnp.zeros(2)}}

    run = trainer(max_epochs=1)
    run.fit(Named(), Batches())
    with pytest.raises(ft.ConfigurationError, match=r"two arrays would both be 'vars\.a\.b' in a checkpoint"):
        run.save_checkpoint(tmp_path / "a.ckpt")
