"""Trainer.fit of JAX modules: against loops by hand, dispatches, compiles, transfers, metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import functrain_jax as ft
from functrain.callbacks import LambdaCallback
from tests import inside
from tests.adapters.jax.common import (
    Batches,
    Classifier,
    Endless,
    Net,
    Plain,
    X,
    Y,
    bits,
    close,
    cross_entropy,
    everything,
    same,
    trainer,
)


def by_hand(module, batches, epochs=1, window=1, clip=None):
    """The loop that a user would write: sums, and one division."""
    params, tx = bits(module.params), module.tx
    opt = tx.init(params)

    def loss(params, batch):
        return cross_entropy(batch[0] @ params["w"] + params["b"], batch[1])

    grad = jax.jit(jax.value_and_grad(loss))
    losses = []
    for _ in range(epochs):
        for start in range(0, len(batches), window):
            group = batches[start : start + window]
            pairs = [grad(params, batch) for batch in group]
            losses.extend(float(value) for value, _ in pairs)
            grads = jax.tree.map(lambda *g: sum(g) / len(g), *[g for _, g in pairs])
            if clip:
                grads, _ = optax.clip_by_global_norm(clip).update(grads, optax.EmptyState())
            updates, opt = tx.update(grads, opt, params)
            params = optax.apply_updates(params, updates)
    return bits(params), losses


@pytest.mark.parametrize(
    ("flags", "hand"),
    [
        ({}, {}),
        ({"gradient_clip_val": 0.05}, {"clip": 0.05}),
        ({"accumulate_grad_batches": 3}, {"window": 3}),
        ({"accumulate_grad_batches": 5, "gradient_clip_val": 0.05}, {"window": 5, "clip": 0.05}),
    ],
)
def test_equals_the_loop_by_hand(flags, hand):
    module, loader = Plain(), Batches()
    params, losses = by_hand(module, loader.batches, epochs=2, **hand)
    seen = []
    callback = LambdaCallback(on_train_batch_end=lambda t, m, *a: seen.append(float(t.callback_metrics["loss"])))
    run = trainer(max_epochs=2, callbacks=callback, **flags)
    run.fit(module, loader)
    close(bits(module.params), params, 1e-5)
    np.testing.assert_allclose(seen, losses, rtol=1e-5)
    assert run.global_step == 2 * -(-12 // hand.get("window", 1))


def test_dispatches_of_any_length_give_the_same_bits():
    """Logging at every update, never, or a hook at every batch: only what is handed over at once differs."""
    states = []
    hook = LambdaCallback(on_train_batch_end=lambda *a: None)
    for flags in ({}, {"log_every_n_steps": 1}, {"log_every_n_steps": 5}, {"callbacks": hook}):
        for window in (1, 3):
            run = trainer(max_epochs=2, accumulate_grad_batches=window, **flags)
            ft.seed_everything(3)
            run.fit(Classifier(), Batches())
            states.append((window, everything(run)))
    for window, state in states:
        same(state, next(s for w, s in states if w == window))


def test_one_compile_for_each_shape(compiles):
    def fit():
        marks = [compiles()]
        mark = LambdaCallback(on_validation_end=lambda *a: marks.append(compiles()))
        run = trainer(max_epochs=3, log_every_n_steps=5, callbacks=mark, num_sanity_val_steps=0)
        run.fit(Classifier(), Batches(size=10), [Batches(size=10)])  # nine batches of 10 and one of 6
        return np.diff(marks).tolist()

    fit()  # the operations of setting up, which belong to no module
    assert fit() == [4, 0, 0], "two shapes in training, two in validation"


def test_epoch_means_are_weighted_by_batch_size():
    class Logs(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("first", batch[0][0, 0], on_step=False, on_epoch=True)
            self.log("most", batch[0].max(), on_step=False, on_epoch=True, reduce_fx="max")
            self.log("least", batch[0].min(), on_step=False, on_epoch=True, reduce_fx="min")
            self.log("count", len(batch[0]), on_step=False, on_epoch=True, reduce_fx="sum")
            self.log("index", batch_idx, prog_bar=True)
            self.log("halved", 1.0, on_step=False, on_epoch=True, batch_size=1)
            return loss

    loader = Batches(size=10)
    run = trainer(max_epochs=1, log_every_n_steps=4)
    run.fit(Logs(), loader)
    metrics = run.callback_metrics
    mean = sum(b[0][0, 0] * len(b[0]) for b in loader.batches) / 96
    np.testing.assert_allclose(float(metrics["first"]), mean, rtol=1e-5)
    np.testing.assert_allclose([float(metrics["most"]), float(metrics["least"])], [X.max(), X.min()])
    assert float(metrics["count"]) == 96
    assert int(metrics["index"]) == 9
    assert float(metrics["halved"]) == 1.0
    assert isinstance(metrics["first"], jax.Array)
    assert set(run.progress_bar_metrics) == {"index"}


def test_validation_test_and_prediction():
    module = Classifier()
    run = trainer(max_epochs=4)
    run.fit(module, Batches(), [Batches(size=10)])
    net = module.net
    net.eval()
    accuracy = float((net(X).argmax(-1) == Y).mean())
    np.testing.assert_allclose(float(run.callback_metrics["val_acc"]), accuracy, rtol=1e-6)
    assert run.validate(module, [Batches(size=10)], verbose=False)[0]["val_acc"] == pytest.approx(accuracy)
    assert run.test(module, Batches(size=16), verbose=False)[0]["test_acc"] == pytest.approx(accuracy)
    outputs = run.predict(module, Batches(size=10))
    assert all(type(x) is np.ndarray for x in outputs)
    np.testing.assert_allclose(np.concatenate(outputs), net(X), rtol=1e-5, atol=1e-5)


def test_several_loaders_have_their_own_names():
    class Named(Plain):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.log("acc", (self(batch[0]).argmax(-1) == batch[1]).mean())
            self.log(f"only_{dataloader_idx}", 1.0, add_dataloader_idx=False)

    run = trainer(max_epochs=1)
    run.fit(Named(), Batches(), [Batches(n=48), Batches(size=16)])
    names = {"acc/dataloader_idx_0", "acc/dataloader_idx_1", "only_0", "only_1"}
    assert names <= set(run.callback_metrics)


def test_running_statistics_and_dropout_are_state():
    module = Classifier()
    before = bits((module.net.norm.mean[...], module.net.drop.rngs.count[...]))
    run = trainer(max_epochs=1)
    run.fit(module, Batches())
    mean, count = bits((module.net.norm.mean[...], module.net.drop.rngs.count[...]))
    assert not np.allclose(mean, before[0])
    assert count == before[1] + 12
    same(bits(inside.train_state(run).params["net"]["first"]["kernel"]), bits(module.net.first.kernel[...]))


def test_an_evaluation_moves_no_state():
    module = Classifier()
    run = trainer(max_epochs=1)
    run.fit(module, Batches())
    before = everything(run)
    run.validate(module, Batches(), verbose=False)
    same(everything(run), before)


def test_shared_modules_stay_shared():
    class Tied(ft.Module):
        def __init__(self):
            shared = nnx.Linear(6, 6, rngs=nnx.Rngs(0))
            self.zeta = nnx.Sequential(shared, jax.nn.relu)
            self.alpha = nnx.Sequential(shared, nnx.Linear(6, 3, rngs=nnx.Rngs(1)))
            self.parts = [shared]

        def training_step(self, batch, batch_idx):
            return cross_entropy(self.alpha(self.zeta(batch[0])), batch[1])

        def configure_optimizers(self):
            return optax.adam(1e-2)

    module = Tied()
    start = np.array(module.parts[0].kernel[...])
    run = trainer(max_epochs=1)
    run.fit(module, Batches())
    assert module.parts[0] is module.zeta.layers[0] is module.alpha.layers[0]
    assert not np.allclose(module.parts[0].kernel[...], start)
    assert set(inside.train_state(run).params["zeta"]) == {"layers"}
    assert list(inside.train_state(run).params["alpha"]["layers"]) == [1]


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(3)(linen.Dropout(0.2, deterministic=not train)(linen.relu(x)))


def test_linen_modules():
    class Bridged(ft.Module):
        def __init__(self):
            self.net = ft.from_linen(LinenNet(), X[:2], train=False, rng=0)

        def forward(self, x):
            return self.net(x, train=self.training)

        def training_step(self, batch, batch_idx):
            return cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("acc", (self(batch[0]).argmax(-1) == batch[1]).mean())

        def configure_optimizers(self):
            return optax.adam(3e-2)

    module = Bridged()
    start = bits((module.net.BatchNorm_0["mean"][...], module.net.Dense_0["kernel"][...]))
    run = trainer(max_epochs=8)
    run.fit(module, Batches(), [Batches()])
    end = bits((module.net.BatchNorm_0["mean"][...], module.net.Dense_0["kernel"][...]))
    assert not np.allclose(start[0], end[0])
    assert not np.allclose(start[1], end[1])
    assert float(run.callback_metrics["acc"]) > 0.7
    before = bits(module.net.BatchNorm_0["mean"][...])
    module.net.eval()
    module(X)
    same(before, bits(module.net.BatchNorm_0["mean"][...]))


def test_plain_functions_with_vars_and_keys():
    class Noisy(Plain):
        def __init__(self):
            super().__init__()
            self.vars = {"steps": jnp.int32(0), "mean": jnp.zeros(6)}

        def training_step(self, batch, batch_idx):
            x, y = batch
            self.vars = {
                "steps": self.vars["steps"] + 1,
                "mean": 0.9 * self.vars["mean"] + 0.1 * x.mean(0),
            }
            noise = jax.random.normal(self.next_key(), x.shape) + jax.random.normal(self.next_key(), x.shape)
            self.log("noise", noise[0, 0], on_epoch=True, reduce_fx="max")
            return cross_entropy(self(x + 0.01 * noise), y)

    ft.seed_everything(5)
    module = Noisy()
    run = trainer(max_epochs=2, accumulate_grad_batches=2)
    run.fit(module, Batches())
    assert int(module.vars["steps"]) == 24
    assert np.abs(np.array(module.vars["mean"])).sum() > 0
    first = bits(module.params)
    ft.seed_everything(5)
    again = Noisy()
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(again, Batches())
    same(bits(again.params), first)


def test_position_is_traced_not_baked_in():
    class Warm(Plain):
        def training_step(self, batch, batch_idx):
            self.log("epoch_seen", self.current_epoch)
            self.log("step_seen", self.global_step)
            return jnp.where(self.current_epoch < 1, 0.0, 1.0) * super().training_step(batch, batch_idx)

    run = trainer(max_epochs=1)
    module = Warm(optax.sgd(0.1))
    start = bits(module.params)
    run.fit(module, Batches())
    same(bits(module.params), start)
    run = trainer(max_epochs=3)
    run.fit(module, Batches())
    assert int(run.callback_metrics["epoch_seen"]) == 2
    assert int(run.callback_metrics["step_seen"]) == 35
    assert not np.allclose(module.params["w"], start["w"])


def test_weights_of_the_loss_decide_in_a_window():
    class Weighted(Plain):
        def training_step(self, batch, batch_idx):
            x, y = batch
            return {"loss": cross_entropy(self(x), y), "weight": x.shape[0]}

    a, b = Weighted(optax.sgd(0.1)), Plain(optax.sgd(0.1))
    trainer(max_epochs=1, accumulate_grad_batches=10).fit(a, Batches(size=10))
    trainer(max_epochs=1).fit(b, Batches(size=96))
    close(bits(a.params), bits(b.params), 1e-5)


def test_a_weight_of_zero_skips_a_batch():
    class Skips(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return {"loss": loss, "weight": jnp.where(batch_idx % 2 == 0, 1.0, 0.0)}

    a, b = Skips(optax.sgd(0.1)), Plain(optax.sgd(0.1))
    trainer(max_epochs=1, accumulate_grad_batches=2).fit(a, Batches())
    half = Batches()
    half.batches = half.batches[::2]
    trainer(max_epochs=1).fit(b, half)
    close(bits(a.params), bits(b.params), 1e-6)


def test_a_loader_without_a_length_closes_its_last_window():
    a, b = Plain(optax.sgd(0.1)), Plain(optax.sgd(0.1))
    loader = Batches(n=88)
    sized = trainer(max_epochs=2, accumulate_grad_batches=3)
    sized.fit(a, loader)
    unsized = trainer(max_epochs=2, accumulate_grad_batches=3)
    unsized.fit(b, Endless(loader.batches))
    same(bits(a.params), bits(b.params))
    assert sized.global_step == unsized.global_step == 8


def test_precision_flags():
    for precision, low in (("bf16", jnp.bfloat16), (16, jnp.float16)):
        seen = []

        class Spy(Plain):
            def training_step(self, batch, batch_idx, seen=seen):
                seen.append((self.params["w"].dtype, batch[0].dtype, batch[1].dtype))
                return super().training_step(batch, batch_idx)

        module = Spy()
        run = trainer(max_epochs=20, precision=precision, accumulate_grad_batches=2)
        run.fit(module, Batches())
        assert seen[0] == (low, low, jnp.int32)
        assert module.params["w"].dtype == jnp.float32
        assert float((module(X).argmax(-1) == Y).mean()) > 0.8


def test_64_bits_throughout():
    with jax.enable_x64(True):
        module = Plain()
        run = trainer(max_epochs=1, precision=64, accumulate_grad_batches=2)
        run.fit(module, Batches(x=X.astype(np.float64)), [])
        assert module.params["w"].dtype == jnp.float64
        assert run.callback_metrics["loss"].dtype == jnp.float64


def test_outputs_for_hooks_that_want_them():
    class Outputs(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return {"loss": loss, "index": batch_idx}

        def training_epoch_end(self, outputs):
            self.seen = [int(o["index"]) for o in outputs]

        def validation_step(self, batch, batch_idx):
            return {"n": jnp.sum(batch[1] >= 0)}

        def validation_epoch_end(self, outputs):
            self.log("total", sum(int(o["n"]) for o in outputs))

    module = Outputs()
    run = trainer(max_epochs=1)
    run.fit(module, Batches(), [Batches(size=10)])
    assert module.seen == list(range(12))
    assert float(run.callback_metrics["total"]) == 96


def test_torch_loaders_without_importing_torch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    module = Plain()
    ft.seed_everything(1)
    trainer(max_epochs=2).fit(module, loader)
    first = bits(module.params)
    ft.seed_everything(1)
    again = Plain()
    trainer(max_epochs=2).fit(again, loader)
    same(bits(again.params), first)


def test_batch_hooks_change_batches():
    class Hooked(Plain):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            assert isinstance(batch[0], np.ndarray)
            return {"x": batch[0], "y": batch[1]}

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch["x"] * 2, batch["y"]

        def training_step(self, batch, batch_idx):
            self.log("most", batch[0].max(), on_step=False, on_epoch=True, reduce_fx="max")
            return super().training_step(batch, batch_idx)

    run = trainer(max_epochs=1)
    run.fit(Hooked(), Batches())
    assert float(run.callback_metrics["most"]) == 2 * X.max()


def test_network_in_a_hook_has_the_present_values():
    class Looks(Classifier):
        seen = ()

        def on_train_epoch_end(self):
            self.net.eval()
            self.seen = (*self.seen, float(cross_entropy(self.net(X), Y)))
            self.net.train()

    module = Looks()
    trainer(max_epochs=3).fit(module, Batches())
    assert module.seen[0] > module.seen[1] > module.seen[2]
    module = Looks()
    trainer(max_epochs=2, log_every_n_steps=1, callbacks=LambdaCallback(on_train_batch_end=lambda *a: None)).fit(
        module, Batches()
    )
    assert module.seen[0] > module.seen[1]


def test_what_a_hook_puts_into_the_module_counts():
    class Resets(Classifier):
        def on_train_epoch_end(self):
            if self.current_epoch == 0:
                self.net.first.kernel[...] = jnp.zeros((6, 8))
                self.net.norm.mean[...] = jnp.ones(8)

    class PlainResets(Plain):
        def on_train_epoch_start(self):
            self.params = jax.tree.map(jnp.zeros_like, self.params)

    module = Resets()
    frozen = {"net": optax.set_to_zero()}
    module.configure_optimizers = lambda: frozen
    trainer(max_epochs=2).fit(module, Batches())
    np.testing.assert_array_equal(module.net.first.kernel[...], np.zeros((6, 8)))
    assert float(module.net.norm.mean[...][0]) == pytest.approx(0.99**12, rel=1e-2)
    plain = PlainResets(optax.set_to_zero())
    trainer(max_epochs=1).fit(plain, Batches())
    np.testing.assert_array_equal(plain.params["w"], np.zeros((6, 3)))


def test_learning_rates_are_told():
    schedule = optax.linear_schedule(1e-2, 0.0, 24)

    class Injected(Plain):
        def configure_optimizers(self):
            return optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)

    class Told(Plain):
        def configure_optimizers(self):
            return {"optimizer": optax.sgd(schedule), "learning_rate": schedule}

    for module, after in ((Injected(), 12), (Told(), 12)):
        run = trainer(max_epochs=1)
        run.fit(module, Batches())
        assert inside.told_rates(run) == {"lr": pytest.approx(float(schedule(after)), abs=1e-9)}


def test_net_is_found_in_lists_and_dicts():
    class Many(ft.Module):
        def __init__(self):
            self.heads = {"a": nnx.Linear(6, 3, rngs=nnx.Rngs(0)), "b": [Net(nnx.Rngs(1))]}

        def training_step(self, batch, batch_idx):
            return cross_entropy(self.heads["a"](batch[0]) + self.heads["b"][0](batch[0]), batch[1])

        def configure_optimizers(self):
            return optax.adam(1e-2)

    module = Many()
    start = np.array(module.heads["b"][0].first.kernel[...])
    trainer(max_epochs=1).fit(module, Batches())
    assert not np.allclose(module.heads["b"][0].first.kernel[...], start)


@pytest.mark.parametrize("per_batch", [True, False])
def test_validations_counted_on_from_epoch_to_epoch(per_batch):
    steps = []

    class Validated(Plain):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    class Noting(ft.Callback):
        def on_validation_end(self, trainer, pl_module):
            steps.append(trainer.global_step)

    class PerBatch(Noting):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            pass

    run = trainer(
        max_epochs=3, val_check_interval=5, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        callbacks=[PerBatch() if per_batch else Noting()],
    )  # fmt: skip
    run.fit(Validated(), Batches(24), Batches(24))
    assert steps == [5, 10]
