"""Parts of the JAX adapter by themselves: keys, linen, feeding, truncated sequences, summaries, rates, lazy imports."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax import lax

import functrain_jax as ft
from functrain.seed import rng_state, seed_everything, set_rng_state
from functrain_jax.binding import Bindings
from functrain_jax.feed import Chunk, Feed, aligned
from functrain_jax.loaders import JaxLoaders
from functrain_jax.summary import rows
from tests.adapters.jax.common import Batches, Classifier, Plain, X, Y, bits, close, trainer


def test_the_stream_of_keys_is_seeded_and_kept():
    seed_everything(11)
    first = [bits(ft.next_key()) for _ in range(3)]
    state = rng_state()
    later = bits(ft.next_key())
    assert len({tuple(k.tolist()) for k in [*first, later]}) == 4
    set_rng_state(state)
    np.testing.assert_array_equal(bits(ft.next_key()), later)
    seed_everything(11)
    np.testing.assert_array_equal(bits(ft.next_key()), first[0])
    with pytest.raises(ValueError, match="'jax'"):
        set_rng_state({"jax": [3, -1]})


def test_a_module_outside_a_run_draws_from_the_stream():
    seed_everything(2)
    a = bits(Plain().next_key())
    seed_everything(2)
    np.testing.assert_array_equal(bits(Plain().next_key()), a)


def test_the_step_alone_imports_neither_flax_nor_the_trainer():
    code = (
        "import sys, functrain_jax; "
        "print([n for n in ('flax', 'orbax', 'torch', 'functrain.trainer.trainer') if n in sys.modules]); "
        "functrain_jax.from_linen; print('flax' in sys.modules)"
    )
    path = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def recurrent(params, x, hidden):
    hidden = jnp.zeros((x.shape[0], 4)) if hidden is None else hidden

    def cell(h, xt):
        h = jnp.tanh(xt @ params["in"] + h @ params["rec"])
        return h, h @ params["out"]

    hidden, out = lax.scan(cell, hidden, jnp.swapaxes(x, 0, 1))
    return hidden, jnp.swapaxes(out, 0, 1)


class Recurrent(ft.Module):
    truncated_bptt_steps = 3

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 3)
        shapes = {"in": (2, 4), "rec": (4, 4), "out": (4, 1)}
        self.params = {
            name: 0.5 * jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        hidden, out = recurrent(self.params, x, hiddens)
        loss = jnp.mean((out - y) ** 2)
        self.log("loss", loss, on_epoch=True)
        self.log("batch_idx", batch_idx)
        return {"loss": loss, "hiddens": hidden}

    def configure_optimizers(self):
        return optax.adam(1e-2)


def test_a_batch_is_finished_past_max_steps_and_one_line_says_so(capsys):
    """Three pieces a batch are three updates, as in torch."""
    x = np.ones((24, 8, 2), np.float32)
    run = trainer(max_epochs=9, max_steps=4)
    run.fit(Recurrent(), Batches(size=8, n=24, x=x, y=x.sum(-1, keepdims=True)))
    assert run.global_step == 6
    said = "max_steps=4 was met within a batch, which was finished: 6 updates, 2 more."
    assert capsys.readouterr().out.count(said) == 1


def test_truncated_sequences_in_a_fit_equal_the_step_alone():
    x = np.random.default_rng(0).normal(size=(24, 8, 2)).astype(np.float32)
    y = x.sum(-1, keepdims=True)
    loader = Batches(size=8, n=24, x=x, y=y)
    module = Recurrent()

    def loss(params, batch, hiddens):
        hidden, out = recurrent(params, batch[0], hiddens)
        return {"loss": jnp.mean((out - batch[1]) ** 2), "hiddens": hidden}

    step = ft.make_step(loss, optax.adam(1e-2), tbptt=3)
    state = step.init(module.params)
    for _ in range(2):
        for batch in loader.batches:
            state, _ = step.step(state, batch)
    run = trainer(max_epochs=2)
    run.fit(module, loader)
    close(bits(module.params), bits(state.params))
    assert run.global_step == 2 * 3 * 3
    assert int(run.callback_metrics["batch_idx"]) == 2
    assert np.isfinite(float(run.callback_metrics["loss_epoch"]))


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x, train=True):
        noise = jax.random.normal(self.make_rng("dropout"), x.shape) if train else 0.0
        x = linen.BatchNorm(use_running_average=not train)(x + noise)
        return linen.Dense(2)(x)

    @linen.nowrap
    def constant(self):
        return 3


def test_linen_updates_in_training_and_rests_in_evaluation():
    net = ft.from_linen(Dense(), jnp.ones((2, 3)), rng=1)
    x = jnp.arange(6.0).reshape(2, 3)

    def mean():
        return np.array(net.BatchNorm_0["mean"][...])

    before = mean()
    first, second = net(x, train=True), net(x, train=True)
    assert not np.allclose(first, second), "another key at every call"
    assert not np.allclose(mean(), before)
    net.eval()
    after = mean()
    net(x, train=False)
    np.testing.assert_array_equal(mean(), after)
    holder = nnx.Sequential(net)
    holder.train()
    assert not net.deterministic
    again = ft.from_linen(Dense(), jnp.ones((2, 3)), rng=1)
    np.testing.assert_array_equal(again.Dense_0["kernel"][...], net.Dense_0["kernel"][...])


def test_a_binding_restores_what_it_replaced():
    module = Classifier()
    net = module.net
    binding = Bindings(module)
    params, vars_ = binding.collect()
    doubled = jax.tree.map(lambda x: 2 * x, params)
    with binding.bound(doubled, vars_):
        assert module.net is not net
        np.testing.assert_array_equal(module.net.first.kernel[...], 2 * net.first.kernel[...])
    assert module.net is net
    binding.publish(doubled, vars_)
    np.testing.assert_array_equal(net.first.kernel[...], doubled["net"]["first"]["kernel"])
    with pytest.raises(ZeroDivisionError), binding.bound(params, vars_):
        raise ZeroDivisionError
    assert module.net is net


def chunks(feed, batches, n=100):
    return [(chunk.count, chunk.size) for chunk in feed.chunks(iter(batches), n)]


def test_batches_go_in_buffers_of_one_length_for_a_form():
    feed = Feed()
    feed.longest = 4
    a = [(np.full((2, 3), i, np.float32), np.full(2, i)) for i in range(9)]
    odd = (np.zeros((1, 3), np.float32), np.zeros(1, np.int64))
    assert chunks(feed, [*a, odd]) == [(4, 4), (4, 4), (1, 4), (1, 1)]
    assert chunks(feed, a[:1]) == [(1, 4)]
    assert chunks(feed, [odd]) == [(1, 1)]
    assert chunks(feed, [a[0], odd, a[1]]) == [(1, 4), (1, 1), (1, 4)]
    chunk = next(feed.chunks(iter(a), 3))
    assert isinstance(chunk, Chunk)
    np.testing.assert_array_equal(chunk.buffers[0][:3], np.stack([x for x, _ in a[:3]]))
    assert [b.dtype for b in chunk.buffers] == [np.float32, np.int32]


def test_any_tree_of_numbers_is_a_batch():
    feed = Feed()
    feed.longest = 2
    batch = {"x": [1, 2.5], "deep": ({"y": np.float64(3)}, np.ones(2, np.int64)), "flag": True, "none": None}
    (chunk,) = feed.chunks(iter([batch, batch]), 2)
    tree = chunk.on_device(jnp.asarray)
    assert {str(x.dtype) for x in jax.tree.leaves(tree)} == {"float32", "int32", "bool"}
    assert tree["none"] is None
    assert tree["deep"][0]["y"].shape == (2,)


def test_buffers_begin_where_jax_takes_them_as_they_are():
    for shape in ((3, 5), (7,), (2, 1, 3)):
        buffer = aligned(shape, np.float32)
        assert buffer.shape == shape
        assert buffer.ctypes.data % 64 == 0


def test_loaders_of_plain_python_are_left_to_the_core():
    assert JaxLoaders().skip([1, 2, 3], 2) is None
    assert JaxLoaders().loader_rng([1, 2, 3]) is None


def test_summary_counts_parts_to_a_depth():
    module = Classifier()
    params, _ = Bindings(module).collect()
    total = sum(x.size for x in jax.tree.leaves(params))
    assert rows(module, params, None, 1) == [("net", "Net", total, total, 4 * total)]
    deep = {row[0]: row[1:] for row in rows(module, params, set(), -1)}
    assert deep["net.blocks.1"] == ("Linear", 27, 0, 108)
    assert deep["net.norm"] == ("BatchNorm", 16, 0, 64)
    assert rows(Plain(), Plain().params and {"params": Plain().params}, None, -1) == [("params", "dict", 21, 21, 84)]


def test_evaluations_draw_another_key_for_every_batch():
    class Draws(Classifier):
        def validation_step(self, batch, batch_idx):
            return {"own": jax.random.uniform(self.next_key()), "nnx": self.net.drop.rngs.uniform()}

        def validation_epoch_end(self, outputs):
            self.seen = [(float(o["own"]), float(o["nnx"])) for o in outputs]

    module = Draws()
    run = trainer()
    run.validate(module, Batches(), verbose=False)
    assert len({own for own, _ in module.seen}) == 12
    assert len({drawn for _, drawn in module.seen}) == 12


def test_trained_values_predict_outside_a_run():
    module = Classifier()
    trainer(max_epochs=6).fit(module, Batches())
    module.net.eval()
    assert float((module(X).argmax(-1) == Y).mean()) > 0.7
