"""The programs of small steps: what a round of their loops runs, beside loops written by hand, and that their bits do
not depend on how a run is cut."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import functrain_jax as ft
from functrain.callbacks import LambdaCallback
from functrain.loggers import Logger
from functrain_jax.backend import JaxBackend
from functrain_jax.precision import policy_of
from tests.adapters.jax.common import Batches, everything, same, trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(96, 4)).astype(np.float32), RNG.normal(size=(96, 3)).astype(np.float32)
WINDOW = 4
KERNEL = re.compile(r"^  (?:ROOT )?%\S+ = .*? (fusion|dot|copy|custom-call|conditional|while)\(", re.M)


class Round(NamedTuple):
    """What one round of a loop runs."""

    kernels: int
    loops: int


def loss_of(params, batch):
    x, y = batch
    return jnp.mean((jax.nn.relu(x @ params["a"]) @ params["b"] - y) ** 2)


def parameters():
    rng = np.random.default_rng(1)
    return {"a": rng.normal(size=(4, 8)).astype(np.float32), "b": rng.normal(size=(8, 3)).astype(np.float32)}


class Small(ft.Module):
    def __init__(self, tx=None):
        self.params = parameters()
        self.tx = tx or optax.adam(1e-2)

    def training_step(self, batch, batch_idx):
        return loss_of(self.params, batch)

    def configure_optimizers(self):
        return self.tx


def loader():
    return Batches(size=4, n=96, x=X, y=Y)


def rounds(text):
    """The rounds of a compiled program's loops: kernels, branches and copies, and the loops within."""
    parts = {m.group(1): m.group(0) for m in re.finditer(r"^%([\w.\-]+) \(.*?^}", text, re.M | re.S)}
    found = [KERNEL.findall(parts[name]) for name in re.findall(r"body=%([\w.\-]+)", text)]
    return [Round(len(each) - each.count("while"), each.count("while")) for each in found]


def of_the_trainer(monkeypatch, **flags):
    """The rounds of the longest training program of a run."""
    return rounds(text_of_the_trainer(monkeypatch, **flags))


def text_of_the_trainer(monkeypatch, **flags):
    texts, jit = [], jax.jit
    with monkeypatch.context() as patch:
        patch.setattr("functrain_jax.programs.jax.jit", lambda f, **options: Noted(jit(f, **options), texts))
        trainer(max_epochs=1, **flags).fit(Small(), loader())
    return texts[-1]


class Sink(Logger):
    """Reads every row, late."""

    name, version = "sink", 0
    may_lag = True

    def log_metrics(self, metrics, step=None): ...

    def log_hyperparams(self, params, metrics=None): ...


class Noted:
    """A compiled function that notes its program's text when it is called."""

    def __init__(self, function, texts):
        self.function, self.texts = function, texts

    def trace(self, *args):
        return self.function.trace(*args)

    def __call__(self, *args):
        self.texts.append(self.function.lower(*args).compile().as_text())
        return self.function(*args)


def added(total, params, micro):
    return jax.tree.map(jnp.add, total, jax.grad(loss_of)(params, micro))


def by_hand(accumulate):
    """The rounds of a scan over updates, with one over the micro-batches of each."""
    tx = optax.adam(1e-2)

    def update(carry, batch):
        params, opt = carry
        if accumulate:
            zeros = jax.tree.map(jnp.zeros_like, params)
            total, _ = lax.scan(lambda total, micro: (added(total, params, micro), None), zeros, batch)
            grads = jax.tree.map(lambda g: g / WINDOW, total)
        else:
            grads = jax.grad(loss_of)(params, batch)
        updates, opt = tx.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), None

    params = jax.tree.map(jnp.asarray, parameters())
    lead = (6, WINDOW, 4) if accumulate else (24, 4)
    run = jax.jit(lambda carry, batches: lax.scan(update, carry, batches)[0], donate_argnums=0)
    text = run.lower((params, tx.init(params)), (X.reshape(*lead, 4), Y.reshape(*lead, 3))).compile().as_text()
    return rounds(text)


on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="counts the kernels of the CPU's compiler")


@on_cpu
def test_a_small_step_runs_no_more_kernels_than_a_round_of_a_scan_by_hand(monkeypatch):
    (hand,) = by_hand(accumulate=False)
    (ours,) = of_the_trainer(monkeypatch)
    assert ours.loops == hand.loops == 0
    assert ours.kernels <= hand.kernels


@on_cpu
def test_an_update_of_a_small_accumulating_step_is_no_loop_of_its_own(monkeypatch):
    hand = by_hand(accumulate=True)
    ours = of_the_trainer(monkeypatch, accumulate_grad_batches=WINDOW)
    assert sum(each.loops for each in ours) == sum(each.loops for each in hand) == 1

    def micro(found):
        return max(each.kernels for each in found if not each.loops)

    # One more adds up the weights.
    assert micro(ours) <= micro(hand) + 1


@on_cpu
@pytest.mark.parametrize("window", [1, WINDOW])
def test_a_round_of_a_dispatch_that_runs_past_rows_is_that_of_one_which_does_not(monkeypatch, window):
    flags = {"accumulate_grad_batches": window}
    without = of_the_trainer(monkeypatch, **flags)
    past = of_the_trainer(monkeypatch, logger=Sink(), log_every_n_steps=2, **flags)
    # One loop more goes over the parts.
    assert len(past) == len(without) + 1

    def steps(found):
        return sorted(each for each in found if not each.loops)

    assert steps(past) == steps(without)


@on_cpu
def test_a_small_step_with_a_loss_scale_asks_once_a_round_whether_gradients_are_finite(monkeypatch):
    text = text_of_the_trainer(monkeypatch, precision=16)
    # Where the gradients' largest components are brought together.
    assert len(re.findall(r"%reduce_max\S* = \w+\[\] maximum\(%max", text)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_component_of_gradients_keeps_what_is_not_finite(dtype):
    with jax.enable_x64(dtype == "float64"):
        backend = JaxBackend(None, (), policy=policy_of("64" if dtype == "float64" else "32"))
        for odd in (2.5, -2.5, -0.0, np.inf, -np.inf, np.nan, -np.nan, np.finfo(dtype).max, np.finfo(dtype).tiny):
            grads = {"a": jnp.array([0.0, odd, 0.0], dtype), "b": jnp.zeros((0, 2), dtype)}
            found = np.asarray(backend.norm(grads, float("inf")))
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, np.abs(np.asarray(odd, dtype)))
            assert bool(backend.isfinite(found)) == bool(np.isfinite(odd))
            assert bool(backend.isfinite(-found)) == bool(np.isfinite(odd))


@pytest.mark.parametrize("branches", [True, False])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1.0, 1e15, 1e25, np.inf, np.nan])
def test_the_norm_of_gradients_holds_at_any_size_with_a_branch_and_without(size, branches):
    backend = JaxBackend(None, (), branches=branches)
    grads = {"a": jnp.array([3.0 * size, 0.0], jnp.float32), "b": jnp.array([[-4.0 * size]], jnp.float32)}
    found = backend.norm(grads, 2.0)
    if np.isfinite(size):
        np.testing.assert_allclose(found, np.float32(5.0 * size), rtol=1e-6)
    else:
        assert not np.isfinite(found)


@pytest.mark.parametrize("window", [3, 4, 5])
@pytest.mark.parametrize("tx", ["adam", "plateau"])
def test_windows_train_to_the_same_bits_however_they_are_cut_into_dispatches(window, tx):
    hook = LambdaCallback(on_train_batch_end=lambda *a: None)
    states = []
    for flags in ({}, {"log_every_n_steps": 1}, {"val_check_interval": 7}, {"callbacks": hook}):
        ft.seed_everything(3)
        module = Small(optimizer(tx))
        module.validation_step = lambda batch, batch_idx: None
        run = trainer(max_epochs=3, accumulate_grad_batches=window, **flags)
        run.fit(module, loader(), loader())
        states.append(everything(run))
    for state in states[1:]:
        same(state, states[0])


def optimizer(name):
    plateau = optax.contrib.reduce_on_plateau(patience=1, factor=0.5, accumulation_size=2)
    return optax.adam(1e-2) if name == "adam" else optax.chain(optax.sgd(0.05), plateau)


def test_an_optimizer_that_reads_the_loss_gets_the_mean_of_a_window():
    tx = optimizer("plateau")
    run = trainer(max_epochs=3, accumulate_grad_batches=WINDOW)
    run.fit(module := Small(tx), loader())
    params = jax.tree.map(jnp.asarray, parameters())
    opt, batches = tx.init(params), list(loader())
    scales = set()
    for i in range(0, 3 * len(batches), WINDOW):
        window = [batches[j % len(batches)] for j in range(i, i + WINDOW)]
        values, grads = zip(*(jax.value_and_grad(loss_of)(params, batch) for batch in window), strict=True)
        grads = jax.tree.map(lambda *g: sum(g) / WINDOW, *grads)
        updates, opt = tx.update(grads, opt, params, value=sum(values) / WINDOW)
        params = optax.apply_updates(params, updates)
        scales.add(float(opt[1].scale))
    assert len(scales) > 1
    for name, value in params.items():
        np.testing.assert_allclose(module.params[name], value, rtol=1e-4, atol=1e-6)
