"""The form of compiled programs: XLA's compiler for the CPU makes gradients of convolutions fast only outside of loops
and branches."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params

import functrain_jax as ft
from functrain.callbacks import LambdaCallback
from functrain_jax.loops import has_primitive
from tests.adapters.jax.common import Batches, cross_entropy, everything, same, trainer

BRANCHES = {"while", "scan", "cond"}
IMAGES = np.random.default_rng(0).normal(size=(24, 6, 6, 1)).astype(np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype(np.int32)


def convolutions(jaxpr, within=False):
    """For every convolution: is it within a loop or a branch?"""
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        if eqn.primitive.name == "conv_general_dilated":
            yield within
        for part in jaxprs_in_params(eqn.params):
            yield from convolutions(part, within or eqn.primitive.name in BRANCHES)


class Images(ft.Module):
    """A convolution with batch normalization, and a head."""

    def __init__(self):
        self.conv = nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = cross_entropy(self.head(jax.nn.relu(self.norm(self.conv(x))).mean((1, 2))), y)
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return optax.adam(1e-2)


def loader():
    return Batches(size=4, n=24, x=IMAGES, y=LABELS)


class Programs:
    """Notes the jaxpr of every training program that a run compiles."""

    def __init__(self, monkeypatch):
        self.jaxprs = []
        jit = jax.jit

        def noting(function, **options):
            compiled = jit(function, **options)
            seen = set()

            def run(*args):
                static = options.get("static_argnums")
                kind = None if static is None else args[static]
                if kind not in seen:
                    seen.add(kind)
                    self.jaxprs.append(jax.make_jaxpr(function, static_argnums=static)(*args))
                return compiled(*args)

            run.trace = compiled.trace
            return run

        monkeypatch.setattr(jax, "jit", noting)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices are as fast within loops")
@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"accumulate_grad_batches": 4},
        {"gradient_clip_val": 0.1},
        {"precision": 16},
        {"precision": 16, "accumulate_grad_batches": 4, "gradient_clip_val": 0.1, "terminate_on_nan": True},
    ],
    ids=str,
)
def test_no_gradient_of_a_convolution_is_within_a_loop(flags, monkeypatch):
    programs = Programs(monkeypatch)
    run = trainer(max_epochs=1, **flags)
    run.fit(Images(), loader())
    found = [inside for jaxpr in programs.jaxprs for inside in convolutions(jaxpr)]
    assert len(found) >= 2, "forward and backward"
    assert not any(found)
    assert run.global_step == (2 if "accumulate_grad_batches" in flags else 6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices are as fast with branches")
def test_clipping_puts_no_branch_into_a_program_with_convolutions(monkeypatch):
    programs = Programs(monkeypatch)
    trainer(max_epochs=1, gradient_clip_val=0.1).fit(Images(), loader())
    assert programs.jaxprs
    assert not any(has_primitive(jaxpr, name) for jaxpr in programs.jaxprs for name in BRANCHES)


def test_the_convolutions_of_a_scan_are_found_within_a_loop():
    def scanned(x):
        def body(x, _):
            return jax.lax.conv(x, jnp.ones((1, 1, 3, 3)), (1, 1), "SAME"), None

        return jax.lax.scan(body, x, None, length=2)[0]

    assert list(convolutions(jax.make_jaxpr(scanned)(jnp.ones((1, 1, 4, 4))))) == [True]


def test_convolutions_train_to_the_same_bits_however_many_are_dispatched():
    hook = LambdaCallback(on_train_batch_end=lambda *a: None)
    for window in (1, 4):
        states = []
        for flags in ({}, {"log_every_n_steps": 1}, {"callbacks": hook}):
            ft.seed_everything(3)
            run = trainer(max_epochs=2, accumulate_grad_batches=window, **flags)
            run.fit(Images(), loader())
            states.append((everything(run), float(run.callback_metrics["loss_epoch"])))
        for state in states[1:]:
            same(state[0], states[0][0])
            assert state[1] == states[0][1]


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices are as fast within loops")
def test_a_step_made_by_hand_accumulates_convolutions_outside_of_loops():
    def loss(params, batch):
        return jnp.mean(jax.lax.conv(batch, params["k"], (1, 1), "SAME") ** 2)

    made = ft.make_step(loss, optax.sgd(0.1), accumulate=4)
    state = made.init({"k": jnp.ones((1, 1, 3, 3))})
    found = list(convolutions(jax.make_jaxpr(made.step)(state, jnp.ones((8, 1, 6, 6)))))
    assert len(found) == 8
    assert not any(found)


def test_an_evaluation_in_a_loop_has_the_convolutions_of_the_same_step_in_a_straight_line(monkeypatch):
    """Forward convolutions are as fast within a loop: only those of gradients are rewritten outside."""
    texts, jit = [], jax.jit

    class Noted:
        def __init__(self, function):
            self.function = function

        def trace(self, *args):
            texts.append(self.function.lower(*args).compile().as_text())
            return self.function.trace(*args)

        def __call__(self, *args):
            return self.function(*args)

    class Validated(Images):
        def validation_step(self, batch, batch_idx):
            self.log("loss", self.training_step(batch, batch_idx))

        def training_step(self, batch, batch_idx):
            x, y = batch
            return cross_entropy(self.head(jax.nn.relu(self.norm(self.conv(x))).mean((1, 2))), y)

    module = Validated()
    module.norm.eval()
    straight = jit(lambda x, y: module.training_step((x, y), 0)).lower(IMAGES[:4], LABELS[:4]).compile().as_text()
    monkeypatch.setattr("functrain_jax.programs.jax.jit", lambda function, **options: Noted(jit(function, **options)))
    trainer().validate(module, loader())

    def forms(text):
        return re.findall(r" convolution\(.*?(window={.*?}, dim_labels=[^\s,]+)", text)

    assert forms(straight)
    assert forms(texts[-1]) == forms(straight)
    assert " while(" in texts[-1]
