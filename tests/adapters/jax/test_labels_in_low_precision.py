"""Low precision: what goes into the network is computed with in few bits; labels and ids keep all of theirs."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax import lax

import functrain_jax as ft
from functrain_jax.precision import policy_of
from tests.adapters.jax.common import trainer

X = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
IDS = np.array([1001.0, 257.0, 3.0, 1003.0, 999.0, 513.0, 1.0, 1023.0], np.float32)
LOW = [("bf16", jnp.bfloat16), (16, jnp.float16)]


def of(network):
    """A module that trains, validates and predicts with this network, and keeps the types it saw last."""

    class Keeps(ft.Module):
        def __init__(self):
            network(self)
            self.box = Box()

        def training_step(self, batch, batch_idx):
            out = self.net_of(batch["x"])
            self.box.types = batch["x"].dtype, batch["y"].dtype, out.dtype
            self.log("label", batch["y"].max())
            self.log("id", jnp.take(jnp.arange(2048), batch["ids"].astype(int)).max())
            return jnp.mean((out[:, 0] - batch["y"]) ** 2) * 1e-6

        def validation_step(self, batch, batch_idx):
            self.box.val = batch["x"].dtype, batch["y"].dtype, self.net_of(batch["x"]).dtype
            self.log("val_label", batch["y"].max())

        def predict_step(self, batch, batch_idx):
            return {"out": self.net_of(batch["x"]), "y": batch["y"]}

        def configure_optimizers(self):
            return optax.sgd(1e-3)

    return Keeps()


class Box:
    """What a trace leaves behind, out of the module's attributes."""


def plain(self):
    self.params = {"w": 0.1 * jnp.ones((6, 2)), "b": jnp.zeros(2)}
    type(self).net_of = lambda self, x: x @ self.params["w"] + self.params["b"]


def nnx_net(self):
    self.net = nnx.Sequential(nnx.Linear(6, 6, rngs=nnx.Rngs(0)), nnx.BatchNorm(6, rngs=nnx.Rngs(0)), jax.nn.relu)
    self.last = nnx.Linear(6, 2, rngs=nnx.Rngs(1))
    type(self).net_of = lambda self, x: self.last(self.net((x - 0.5) / 2))


def tokens(self):
    self.table = nnx.Embed(4, 6, rngs=nnx.Rngs(0))
    self.mix = nnx.Sequential(nnx.LayerNorm(6, rngs=nnx.Rngs(1)), nnx.Linear(6, 6, rngs=nnx.Rngs(1)))
    self.last = nnx.Linear(6, 2, rngs=nnx.Rngs(2))

    def net_of(self, x):
        y = x[:, None] + self.table(jnp.zeros((8, 3), jnp.int32))
        return self.last(nnx.remat(lambda mix, y: y + mix(y))(self.mix, y)).mean(1)

    type(self).net_of = net_of


def linen_net(self):
    self.net = ft.from_linen(linen.Dense(2), X, rng=0)
    type(self).net_of = lambda self, x: self.net(x)


def recurrent(self):
    self.params = {"w": 0.1 * jnp.ones((3, 2)), "r": 0.1 * jnp.ones((2, 2))}

    def net_of(self, x):
        def cell(h, xt):
            return jnp.tanh(xt @ self.params["w"] + h @ self.params["r"]), None

        return lax.scan(cell, jnp.zeros((8, 2), self.params["w"].dtype), x.reshape(8, 2, 3).swapaxes(0, 1))[0]

    type(self).net_of = net_of


def convolution(self):
    self.params = {"k": 0.1 * jnp.ones((2, 1, 6))}

    def net_of(self, x):
        return lax.conv_general_dilated(x[:, None], self.params["k"], (1,), "VALID")[:, :, 0]

    type(self).net_of = net_of


NETS = {
    "plain": plain,
    "nnx": nnx_net,
    "tokens": tokens,
    "linen": linen_net,
    "recurrent": recurrent,
    "convolution": convolution,
}


@pytest.mark.parametrize(("precision", "low"), LOW, ids=["bf16", "16"])
@pytest.mark.parametrize("net", NETS)
def test_labels_and_ids_keep_their_bits_and_networks_compute_low(net, precision, low):
    module = of(NETS[net])
    batch = {"ids": IDS, "x": X, "y": IDS}
    run = trainer(max_epochs=1, precision=precision, num_sanity_val_steps=0)
    run.fit(module, [batch, batch], [batch])
    assert module.box.types[:2] == module.box.val[:2] == (low, jnp.float32)
    assert module.box.types[2] == module.box.val[2] == low
    assert float(run.callback_metrics["label"]) == float(run.callback_metrics["val_label"]) == 1023.0
    assert int(run.callback_metrics["id"]) == 1023
    (given,) = run.predict(module, [batch])
    np.testing.assert_array_equal(given["y"], IDS)
    assert given["out"].dtype == low


@pytest.mark.parametrize(("precision", "low"), LOW, ids=["bf16", "16"])
def test_the_step_alone_keeps_labels_too(precision, low):
    seen = []

    def loss(params, batch):
        out = batch[0] @ params["w"]
        seen.append((batch[0].dtype, batch[1].dtype, out.dtype))
        return {"loss": jnp.mean((out - batch[1]) ** 2) * 1e-6, "vars": {"most": batch[1].max()}}

    step = ft.make_step(loss, optax.sgd(0.1), precision=precision, accumulate=2)
    state, _ = step.step(step.init({"w": jnp.ones(6)}, vars={"most": jnp.float32(0)}), (X, IDS))
    assert seen[-1] == (low, jnp.float32, low)
    assert float(state.vars["most"]) in IDS


def test_soft_labels_that_meet_only_what_the_network_gave_keep_their_bits():
    def loss(params, batch):
        return -jnp.einsum("bc,bc->", jax.nn.log_softmax(batch["x"] @ params["w"]), batch["p"])

    params = {"w": jnp.ones((6, 2), jnp.bfloat16)}
    inputs = policy_of("bf16").inputs(loss, params, {"p": np.ones((8, 2), np.float32), "x": X})
    assert inputs.cast == {1}
    assert not inputs.mixed


def column(params, batch):
    return jnp.mean((batch[:, :-1] @ params["w"] - batch[:, -1]) ** 2)


def test_an_input_that_is_a_label_too_is_told_once_and_casting_it_oneself_keeps_it():
    rows = np.concatenate([X, IDS[:, None]], 1)
    params = {"w": jnp.zeros(6)}
    step = ft.make_step(column, optax.sgd(0.1), precision="bf16", donate=False)
    with pytest.warns(UserWarning, match=r"batch goes into a product.*10001\.0 in it would become 9984\.0") as caught:
        step.step(step.init(params), rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step.step(step.init(params), rows[:4])
    assert len([w for w in caught if "product with weights" in str(w.message)]) == 1

    def by_hand(params, batch):
        loss = jnp.mean((batch[:, :-1].astype(jnp.bfloat16) @ params["w"] - batch[:, -1]) ** 2)
        return {"loss": loss, "vars": batch[:, -1].max()}

    step = ft.make_step(by_hand, optax.sgd(0.1), precision="bf16", donate=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state, _ = step.step(step.init(params, vars=jnp.float32(0)), rows)
    assert float(state.vars) == 1023.0


def test_a_step_that_needs_the_types_that_it_gets_is_no_error():
    def carried(params, batch):
        label = lax.fori_loop(0, 3, lambda i, y: y + jnp.ones(8, jnp.float32), batch["y"])
        return jnp.mean((batch["x"] @ params["w"] - label) ** 2)

    def attends(params, batch):
        query = (batch["x"] @ params["w"])[None, :, None]
        keys = batch["x"].astype(jnp.bfloat16)[None, :, None]
        return jnp.mean(jax.nn.dot_product_attention(query, keys, query))

    batch = {"x": X, "y": IDS}
    assert policy_of("bf16").inputs(carried, {"w": jnp.ones(6, jnp.bfloat16)}, batch).cast == {0}
    assert policy_of("bf16").inputs(attends, {"w": jnp.ones((6, 6), jnp.bfloat16)}, batch).cast == {0}


class Preprocesses(ft.Module):
    """Takes years as floats, counts from 2000, and may cast by itself."""

    def __init__(self, own_cast=False, log=False, keep=True):
        self.params = {"w": jnp.ones((1, 1))}
        self.own_cast, self.log_it, self.keep = own_cast, log, keep

    def out(self, batch):
        x = batch["year"]
        if self.log_it:
            self.log("latest", x.max())
        elif self.keep:
            x = x - 2000.0
        return (x.astype(jnp.bfloat16) if self.own_cast else x) @ self.params["w"]

    def training_step(self, batch, batch_idx):
        return self.out(batch).mean() * 1e-6

    def validation_step(self, batch, batch_idx):
        self.log("out", self.out(batch).astype(jnp.float32).mean())

    def configure_optimizers(self):
        return optax.sgd(0.0)


YEARS = [{"year": np.array([[2003.0], [2003.0]], np.float32)}] * 2


@pytest.mark.parametrize("validating", [False, True], ids=["fit", "validate"])
@pytest.mark.parametrize("log", [False, True], ids=["preprocessed", "logged"])
def test_years_that_are_rounded_before_they_are_preprocessed_or_logged_are_told_once(log, validating):
    run, module = trainer(max_epochs=1, precision="bf16", num_sanity_val_steps=0), Preprocesses(log=log)
    with pytest.warns(UserWarning, match=r"batch\['year'\] goes into a product.*2003 in it becomes 2000") as told:
        run.validate(module, YEARS) if validating else run.fit(module, YEARS, YEARS)
    assert len([w for w in told if "2003" in str(w.message)]) == 1


@pytest.mark.parametrize("log", [False, True], ids=["preprocessed", "logged"])
def test_a_step_that_casts_what_goes_into_the_network_gets_its_batch_exactly(log):
    run = trainer(max_epochs=1, precision="bf16", num_sanity_val_steps=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.fit(Preprocesses(own_cast=True, log=log), YEARS, YEARS)
    assert float(run.callback_metrics["latest" if log else "out"]) == (2003.0 if log else 3.0)


def test_numbers_that_low_precision_is_meant_for_are_not_told():
    small = [{"year": np.random.default_rng(0).normal(size=(8, 1)).astype(np.float32)}] * 2
    for batches, module in (
        (small, Preprocesses()),
        (small, Preprocesses(log=True)),
        (YEARS, Preprocesses(keep=False)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer(max_epochs=1, precision="bf16", num_sanity_val_steps=0).fit(module, batches, batches)
