"""`<stage>_step_end` and an own `tbptt_split_batch` work as in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import LambdaCallback
from tests.one_weight import JaxWeight, TorchWeight

X = np.random.default_rng(0).normal(size=(6, 4, 5)).astype(np.float32)
QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Steps:
    """The steps of both worlds, over `self.weight()`."""

    def training_step(self, batch, batch_idx):
        return {"parts": ((batch.mean(-1) - self.weight()) ** 2).mean(-1)}

    def training_step_end(self, outputs):
        self.log("train", outputs["parts"].mean())
        return outputs["parts"].sum()

    def validation_step(self, batch, batch_idx):
        return batch.mean()

    def validation_step_end(self, outputs):
        self.log("val", 2 * outputs)

    def test_step(self, batch, batch_idx):
        return batch.mean()

    def test_step_end(self, outputs):
        self.log("test", 3 * outputs)


class Torch(Steps, TorchWeight):
    rate = 0.05


class Jax(Steps, JaxWeight):
    rate = 0.05


def detached(x):
    return float(x.detach() if isinstance(x, torch.Tensor) else x)


def results(world, module, batches, **flags):
    run = world.Trainer(max_epochs=2, num_sanity_val_steps=0, **QUIET, **flags)
    run.fit(module, batches, batches)
    metrics = {name: float(value) for name, value in run.callback_metrics.items()}
    tested = run.test(module, batches, ckpt_path=None, verbose=False)
    return {**metrics, **tested[0], "w": detached(module.weight()), "steps": run.global_step}


def both(torch_class, jax_class, **flags):
    a = results(pl, torch_class(), [torch.tensor(x) for x in X], **flags)
    b = results(ft, jax_class(), list(X), **flags)
    assert b == pytest.approx(a, rel=1e-5)
    return b


def test_step_ends_are_part_of_the_steps_as_in_torch():
    assert {"train", "val", "test"} <= set(both(Torch, Jax))


class Pieces:
    def training_step(self, batch, batch_idx, hiddens):
        loss = ((batch.mean() - self.weight()) ** 2) * (1.0 if hiddens is None else hiddens)
        return {"loss": loss, "hiddens": 0.5 * batch.mean() ** 0}

    def tbptt_split_batch(self, batch, split_size):
        return [batch[:, :1], batch[:, 1:]]


def without_end(base):
    attributes = {k: v for k, v in vars(Pieces).items() if k in ("training_step", "tbptt_split_batch")}
    return type("Cut", (base,), {**attributes, "training_step_end": lambda self, outputs: outputs})


def test_an_own_way_to_cut_along_time_is_used_as_in_torch():
    cut = both(without_end(Torch), without_end(Jax), truncated_bptt_steps=3)
    assert cut["steps"] == 2 * 6 * 2


def test_the_whole_batch_is_moved_before_it_is_cut_along_time_as_in_torch():
    """A hook that looks along time sees all of it, and what it leaves is what is cut."""

    class Moved:
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch[:, 1:] - batch[:, :1]

        def training_step(self, batch, batch_idx, hiddens):
            self.log("size", float(batch.shape[1]), on_step=False, on_epoch=True, reduce_fx="max")
            loss = (batch.mean() - self.weight()) ** 2
            return {"loss": loss, "hiddens": 0.5 * batch.mean() ** 0}

        def training_step_end(self, outputs):
            return outputs

    classes = [type("Cut", (Moved, base), {}) for base in (Torch, Jax)]
    cut = both(*classes, truncated_bptt_steps=2)
    assert cut["steps"] == 2 * 6 * 2
    assert cut["size"] == 2


def test_what_moves_a_batch_that_is_cut_may_draw_random_numbers_and_not_log():
    class Noisy(Jax):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            self.vars = {"seen": jax.random.uniform(self.next_key())}
            return batch

        def training_step(self, batch, batch_idx, hiddens):
            return {"loss": (batch.mean() - self.weight()) ** 2 + self.vars["seen"], "hiddens": None}

        def training_step_end(self, outputs):
            self.log("seen", outputs["loss"], on_step=True)
            return outputs

    module = Noisy()
    module.vars = {"seen": jnp.zeros(())}
    drawn = []
    ends = LambdaCallback(on_train_batch_end=lambda *args: drawn.append(float(module.vars["seen"])))
    ft.Trainer(max_epochs=1, truncated_bptt_steps=2, callbacks=[ends], **QUIET).fit(module, list(X))
    assert len(set(drawn)) == len(X)

    class Logging(Noisy):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            self.log("mean", batch.mean())
            return batch

    logging = Logging()
    logging.vars = {"seen": jnp.zeros(())}
    with pytest.raises(
        ft.ConfigurationError, match=r"Logging: self.log\('mean', ...\) was called while a batch was moved"
    ):
        ft.Trainer(max_epochs=1, truncated_bptt_steps=2, **QUIET).fit(logging, list(X))


def test_an_epoch_mean_is_weighted_by_the_batch_as_the_hook_leaves_it_as_in_torch():
    class Unpacking:
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch[0]

        def training_step(self, batch, batch_idx):
            self.log("mean", batch.mean(), on_step=False, on_epoch=True)
            return (batch.mean() - self.weight()) ** 2

        def training_step_end(self, outputs):
            return outputs

        def validation_step(self, batch, batch_idx):
            self.log("val", batch.mean())

        def validation_step_end(self, outputs):
            return outputs

    ragged = [X[:1, :1], X[1:2, :4]]
    torchs, jaxs = (type("Means", (Unpacking, base), {}) for base in (Torch, Jax))
    found = results(pl, torchs(), [torch.tensor(x) for x in ragged])
    assert results(ft, jaxs(), ragged) == pytest.approx(found, rel=1e-5)
    assert found["mean"] == found["val"] == pytest.approx(np.concatenate([x[0] for x in ragged]).mean(), rel=1e-5)
