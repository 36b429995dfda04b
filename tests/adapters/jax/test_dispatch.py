"""How many batches are handed over at once changes nothing: not what is trained, where a run stops, or what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from functrain.callbacks import LambdaCallback
from functrain.trainer.callback import Callback
from functrain.trainer.errors import NotFiniteError
from tests import inside
from tests.adapters.jax.common import Batches, Endless, Plain, X, Y, bits, everything, same, trainer

NOTHING = LambdaCallback(on_train_batch_end=lambda *a: None, on_validation_batch_end=lambda *a: None)
ONE_BY_ONE = {"callbacks": [NOTHING]}


class Reusing:
    """Fills the same arrays again for every batch, as readers of files do."""

    def __init__(self, kind=tuple):
        self.kind = kind

    def __iter__(self):
        x, y = np.empty((8, 6), np.float32), np.empty(8, np.int32)
        for i in range(0, 96, 8):
            x[:], y[:] = X[i : i + 8], Y[i : i + 8]
            yield (x, y) if self.kind is tuple else {"x": x, "y": y}


class Either(Plain):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["x"], batch["y"]) if isinstance(batch, dict) else batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
        logits = self(x)
        self.log("val_loss", jnp.log1p(jnp.exp(-logits)).mean() + jnp.where(logits.argmax(-1) == y, 0.1, 0.7).mean())


@pytest.mark.parametrize("kind", [tuple, dict])
def test_a_loader_that_fills_one_array_again_and_again_trains_and_validates_on_its_batches(kind):
    ends = []
    for loader in (Reusing(kind), Endless(list(Batches(y=Y.astype(np.int32))))):
        module = Either()
        run = trainer(max_epochs=2)
        run.fit(module, loader, loader)
        ends.append((bits(module.params), float(run.callback_metrics["val_loss"])))
    same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


class Failing:
    """An error at one of twenty batches."""

    def __init__(self, at):
        self.at = at

    def __iter__(self):
        for i in range(20):
            if i == self.at:
                raise OSError("the disk is gone")
            yield X[i : i + 8], Y[i : i + 8].astype(np.int32)


class Seen(Callback):
    def on_exception(self, trainer, pl_module, exception):
        self.position = inside.position(trainer)
        self.notes = list(exception.__notes__) if hasattr(exception, "__notes__") else []


@pytest.mark.parametrize("window", [1, 3])
def test_an_error_of_the_loader_comes_after_the_batches_before_it_were_trained(window):
    ends = []
    for flags in ({}, {"log_every_n_steps": 7}, ONE_BY_ONE):
        seen, module = Seen(), Plain()
        run = trainer(
            max_epochs=1, accumulate_grad_batches=window, **{**flags, "callbacks": [seen, *flags.get("callbacks", ())]}
        )
        with pytest.raises(OSError, match="the disk is gone"):
            run.fit(module, Failing(13))
        assert seen.position == (0, 13, 13 // window)
        assert seen.notes == ["(while the training loader was asked for batch 13 of epoch 0)"]
        ends.append(bits(module.params))
    for end in ends[1:]:
        same(end, ends[0])


@pytest.mark.parametrize("flags", [{}, ONE_BY_ONE], ids=["many", "one"])
def test_an_error_of_a_validation_loader_names_the_batch(flags):
    with pytest.raises(OSError) as caught:
        trainer(**flags).validate(Either(), Failing(6), verbose=False)
    assert caught.value.__notes__ == ["(while the validation loader 0 was asked for batch 6)"]


@pytest.mark.parametrize("flags", [{}, ONE_BY_ONE], ids=["many", "one"])
def test_an_error_while_a_step_is_traced_says_which_batch_it_was_and_of_which_form(flags):
    class Wrong(Either):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + (batch[0] @ jnp.ones((len(batch[0]) - 3, 2))).sum()

        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx)

    batches = Endless([(X[:9], Y[:9]), (X[:9], Y[:9]), (X[:8], Y[:8])])
    for stage, where in (
        ("fit", "training_step was traced for batch 2 of epoch 0"),
        ("validate", "batch 2 of loader 0"),
    ):
        with pytest.raises(TypeError) as caught:
            getattr(trainer(**({"max_epochs": 1} if stage == "fit" else {}), **flags), stage)(Wrong(), batches)
        said = [note for note in caught.value.__notes__ if where in note]
        assert len(said) == 1
        assert "ndarray (8, 6), ndarray (8,)" in said[0]


class Bursts(Plain):
    """The loss, or only the parameters, become NaN at batch 7."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.what == "loss":
            return loss + jnp.where(batch_idx == 7, jnp.nan, 0.0)
        # Nothing at all, with an infinite slope where the root is taken at 0.
        return loss + jnp.sqrt(jnp.where(batch_idx == 7, 0.0, 1.0) * (1 + 0 * self.params["b"][0])) * 0.0


@pytest.mark.parametrize("what", ["loss", "parameter"])
@pytest.mark.parametrize("window", [1, 2])
def test_a_nan_stops_at_its_very_batch(what, window):
    ends = []
    for flags in ({}, {"log_every_n_steps": 5}, ONE_BY_ONE):
        seen, module = Seen(), Bursts(what)
        run = trainer(
            max_epochs=1,
            terminate_on_nan=True,
            accumulate_grad_batches=window,
            **{**flags, "callbacks": [seen, *flags.get("callbacks", ())]},
        )
        with pytest.raises(NotFiniteError, match=r"batch 7\b"):
            run.fit(module, Batches())
        assert seen.position == (0, 8, 8 // window)
        ends.append(bits(module.params))
    for end in ends[1:]:
        same(end, ends[0])


class Deep(ft.Module):
    """Sums whose last bits depend on how the compiler orders them."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(37, 53, rngs=rngs), nnx.Linear(53, 5, rngs=rngs)
        self.norm = nnx.LayerNorm(53, rngs=rngs)

    def losses(self, batch):
        x, y = batch
        guess = self.last(self.norm(jax.nn.gelu(self.first(x))))
        return {"loss": ((guess - y) ** 2).mean(), "mae": jnp.abs(guess - y).mean(), "var": (x @ x.T).var()}

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch)
        self.log_dict(losses, on_epoch=True)
        return losses["loss"] + losses["mae"]

    def validation_step(self, batch, batch_idx):
        self.log_dict(self.losses(batch))
        return {"loss": self.losses(batch)["loss"]}

    def configure_optimizers(self):
        return optax.adam(1e-2)


WIDE = np.random.default_rng(1).normal(size=(96, 37)).astype(np.float32)
TARGETS = np.random.default_rng(2).normal(size=(96, 5)).astype(np.float32)


@pytest.mark.parametrize("size", [7, 19, 32, 40, 48])
def test_training_and_evaluation_with_a_hook_at_every_batch_give_the_same_bits(size):
    results = []
    for flags in ({}, ONE_BY_ONE):
        ft.seed_everything(3)
        run, module = trainer(max_epochs=2, **flags), Deep()
        run.fit(module, Batches(size=size, x=WIDE, y=TARGETS))
        metrics = {name: float(value) for name, value in run.callback_metrics.items()}
        validated = run.validate(module, Batches(size=size, x=WIDE, y=TARGETS), verbose=False)
        results.append((everything(run), metrics, validated))
    same(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]


def test_a_number_that_does_not_fit_into_32_bits_is_an_error():
    if jax.config.jax_enable_x64:
        pytest.skip("64 bits are kept")
    ids = np.arange(8) + 2**33
    with pytest.raises(ft.ConfigurationError, match=r"batch\[1\].*8589934592 does not fit.*jax_enable_x64"):
        trainer(max_epochs=1).fit(Plain(), Endless([(X[:8], ids)]))


class Logarithm(Plain):
    """NaN in the forward pass once the parameters are below zero."""

    def training_step(self, batch, batch_idx):
        self.log("root", jnp.sqrt(self.params["b"][0]))
        return jnp.log(self.params["b"] - 0.05 * batch_idx + 0.2).mean() + 0 * super().training_step(batch, batch_idx)


def test_jax_debug_nans_names_the_operation():
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match=r"in (sqrt|log)"):
        trainer(max_epochs=1).fit(Logarithm(), Batches())
    with jax.debug_nans(True):
        run = trainer(max_epochs=1)
        run.fit(Plain(), Batches(), [])
    assert run.global_step == 12


class FiniteGradients(Plain):
    """A NaN that only the loss shows."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + jnp.sqrt(-1.0 - jax.lax.stop_gradient(loss))


class Validated(Plain):
    def validation_step(self, batch, batch_idx):
        self.log("root", jnp.sqrt(-1.0 - batch[0].sum() ** 2))


@pytest.mark.parametrize("module", [FiniteGradients, Validated])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_jax_debug_nans_finds_what_is_not_logged_and_names_no_loop(module, accumulate):
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="in sqrt"):
        trainer(max_epochs=1, accumulate_grad_batches=accumulate).fit(
            module(), Batches(), Batches() if module is Validated else None
        )


def test_disable_jit_shows_values_to_a_step():
    seen = []

    class Looks(Either):
        def training_step(self, batch, batch_idx):
            seen.append(float(batch[0][0, 0]))
            if batch[1][0] > 100:
                raise AssertionError("a Python branch on a value")
            return super().training_step(batch, batch_idx)

    modules = Looks(), Plain()
    with jax.disable_jit():
        run = trainer(max_epochs=1, accumulate_grad_batches=2)
        run.fit(modules[0], Batches(), Batches())
    trainer(max_epochs=1, accumulate_grad_batches=2).fit(modules[1], Batches())
    assert seen[-12:] == [float(x[0, 0]) for x, _ in Batches()]
    assert run.global_step == 6
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), *(bits(m.params) for m in modules))


def test_constants_of_a_step_may_be_numpy_arrays():
    class Scaled(Plain):
        def __init__(self):
            super().__init__()
            self.scale = np.full(6, 2.0, np.float32)

        def forward(self, x):
            return super().forward(x * self.scale + jnp.asarray([0.5]) + jnp.arange(6))

    run = trainer(max_epochs=1)
    run.fit(Scaled(), Batches())
    assert run.global_step == 12


def test_a_transfer_that_is_hidden_in_a_step_is_an_error(monkeypatch):
    """Without the guard around the compiled call this passes unseen: the guard makes it an error."""

    inside.smuggle_a_transfer(monkeypatch)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        trainer(max_epochs=1).fit(Plain(), Batches())


def test_everything_is_the_same_after_a_loader_that_reuses_and_one_that_does_not():
    ends = []
    for flags in ({}, ONE_BY_ONE):
        ft.seed_everything(3)
        run = trainer(max_epochs=1, **flags)
        run.fit(Plain(), Reusing())
        ends.append(everything(run))
    same(*ends)
