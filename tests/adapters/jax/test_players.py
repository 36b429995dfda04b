"""Several optimizers: which parameters each moves, when, and with which windows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from functrain import kernel
from functrain_jax.backend import JaxBackend
from tests import inside
from tests.adapters.jax.common import Batches, Endless, X, bits, close, same, trainer


class Game(ft.Module):
    """Two networks that answer one another."""

    def __init__(self, configured):
        self.generator = nnx.Linear(6, 6, rngs=nnx.Rngs(0))
        self.discriminator = nnx.Linear(6, 1, rngs=nnx.Rngs(1))
        self.configured = configured

    def training_step(self, batch, batch_idx, optimizer_idx):
        fake = self.discriminator(self.generator(batch[0]))
        if optimizer_idx == 0:
            loss = jax.nn.softplus(-fake).mean()
            self.log("g", loss, on_epoch=True)
            return loss
        loss = (jax.nn.softplus(fake) + jax.nn.softplus(-self.discriminator(batch[0]))).mean()
        self.log("d", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return self.configured


def losses(params, x, player):
    def linear(p, x):
        return x @ p["kernel"] + p["bias"]

    fake = linear(params["discriminator"], linear(params["generator"], x))
    if player == 0:
        return jax.nn.softplus(-fake).mean()
    return (jax.nn.softplus(fake) + jax.nn.softplus(-linear(params["discriminator"], x))).mean()


def by_hand(module, batches, turns):
    """Alternating updates as a user would write them; turns: (player, closes) by batch number."""
    names, txs = ("generator", "discriminator"), (optax.adam(1e-2), optax.sgd(0.1))
    params = {n: {k: getattr(getattr(module, n), k)[...] for k in ("kernel", "bias")} for n in names}
    opts = [tx.init(params[n]) for n, tx in zip(names, txs, strict=True)]
    sums, counts = [None, None], [0, 0]
    for b, (x, _) in enumerate(batches):
        for i, n in enumerate(names):
            plays, closes = turns(i, b)
            if plays:
                grad = jax.grad(lambda p, i=i, x=x, n=n, now=params: losses({**now, n: p}, x, i))(params[n])
                sums[i] = grad if sums[i] is None else jax.tree.map(jnp.add, sums[i], grad)
                counts[i] += 1
            if closes:
                mean = jax.tree.map(lambda g, c=counts[i]: g / c, sums[i])
                updates, opts[i] = txs[i].update(mean, opts[i], params[n])
                params = {**params, n: optax.apply_updates(params[n], updates)}
                sums[i], counts[i] = None, 0
    return bits(params)


CASES = {
    "every batch": (
        {"generator": optax.adam(1e-2), "discriminator": optax.sgd(0.1)},
        lambda i, b: (True, True),
    ),
    "in turns": (
        [
            {"optimizer": optax.adam(1e-2), "params": "generator", "frequency": 1},
            {"optimizer": optax.sgd(0.1), "params": "discriminator", "frequency": 3},
        ],
        lambda i, b: ((b % 4 == 0) == (i == 0), (b % 4 == 0) == (i == 0)),
    ),
    "own windows": (
        [
            {"optimizer": optax.adam(1e-2), "params": ["generator"], "accumulate": 2},
            {"optimizer": optax.sgd(0.1), "params": ["discriminator"], "accumulate": 5},
        ],
        lambda i, b: (True, b == 11 or (b + 1) % (2, 5)[i] == 0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_alternating_by_hand(case):
    configured, turns = CASES[case]
    module = Game(configured)
    expected = by_hand(module, Batches().batches, turns)
    run = trainer(max_epochs=1, log_every_n_steps=3)
    run.fit(module, Batches())
    got = bits({n: dict(inside.train_state(run).params[n]) for n in expected})
    close(got, expected, 1e-5)
    assert {"g_epoch", "d_epoch"} <= set(run.callback_metrics)


def test_frozen_attributes_stay():
    module = Game({"generator": optax.adam(1e-2), "discriminator": None})
    before = bits(module.discriminator.kernel[...])
    module.training_step = lambda batch, batch_idx: Game.training_step(module, batch, batch_idx, 0)
    trainer(max_epochs=1).fit(module, Batches())
    same(bits(module.discriminator.kernel[...]), before)


def test_what_a_player_logs_appears_when_it_plays():
    class Late(Game):
        def training_step(self, batch, batch_idx, optimizer_idx):
            return super().training_step(batch, batch_idx, optimizer_idx)

    seen = []
    hook = ft.callbacks.LambdaCallback(on_train_batch_end=lambda t, *a: seen.append(set(t.callback_metrics)))
    run = trainer(max_epochs=1, callbacks=hook)
    run.fit(Late(CASES["in turns"][0]), Batches())
    assert "g" in seen[0]
    assert "d" not in seen[0]
    assert {"g", "d"} <= seen[1]


def test_open_windows_close_where_a_loader_just_ends():
    configured = CASES["own windows"][0]
    sized, unsized = Game(configured), Game(configured)
    a = trainer(max_epochs=1)
    a.fit(sized, Batches())
    b = trainer(max_epochs=1)
    b.fit(unsized, Endless(Batches().batches))
    same(bits(inside.train_state(a).params), bits(inside.train_state(b).params))


@pytest.mark.parametrize(
    ("configured", "match"),
    [
        (None, "returned None"),
        ({"generater": optax.sgd(0.1)}, r"self.generater holds no parameters.*'generator'"),
        ({"generator": optax.sgd(0.1)}, r"no optimizer moves the parameters of self.discriminator"),
        ([optax.sgd(0.1), optax.sgd(0.1)], "each needs to say what it moves"),
        ([{"optimizer": optax.sgd(0.1), "parms": "generator"}], "unknown key 'parms'.*'params'"),
        ([{"optimizer": 3}], "int is no optax transformation"),
        ("adam", "returned str"),
        (
            [
                {"optimizer": optax.sgd(0.1), "params": "generator", "frequency": 1},
                {"optimizer": optax.sgd(0.1), "params": "discriminator"},
            ],
            "frequencies",
        ),
    ],
)
def test_what_cannot_be_configured_says_so(configured, match):
    with pytest.raises(ft.ConfigurationError, match=match):
        trainer(max_epochs=1).fit(Game(configured), Batches())


def test_players_of_the_backend_leave_each_other_alone():
    """The kernel's verbs over two players with turns of their own, without a Trainer."""

    def loss(params, state, rng, batch, player):
        return jnp.sum((params["a"] - params["b"]) ** 2 + (1 - player) * params["a"]), 1.0, state

    backend = JaxBackend(loss, (optax.sgd(0.1), optax.sgd(0.1)), (("a",), ("b",)))
    state = backend.init({"a": jnp.float32(1), "b": jnp.float32(2)}, scales=(None, None))
    rules = (kernel.Rule(), kernel.Rule())
    state, reports = kernel.micro_step(backend, rules, state, X, (kernel.Action(), kernel.Action(False, False)), True)
    assert reports[1] is None
    assert float(state.params["b"]) == 2
    np.testing.assert_allclose(float(state.params["a"]), 1 - 0.1 * (-2 + 1), rtol=1e-6)
    state, _ = kernel.micro_step(backend, rules, state, X, (kernel.Action(False, False), kernel.Action()), True)
    np.testing.assert_allclose(float(state.params["b"]), 2 - 0.1 * 2 * (2 - 1.1), rtol=1e-6)
    assert [int(p.updates) for p in state.players] == [1, 1]
