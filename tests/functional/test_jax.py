"""The step of a module as a function computes the bits of the Trainer, and can be transformed as any function."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from tests import inside
from tests.adapters.jax.common import Batches, Classifier, Plain, bits, cross_entropy, same, trainer


class Logs(Classifier):
    """BatchNorm and dropout; metrics of steps and of epochs."""

    def __init__(self, tx=None):
        super().__init__()
        self.tx = tx or optax.adam(1e-2)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = cross_entropy(self.net(x), y)
        self.log("loss", loss, on_epoch=True)
        self.log("most", self.net(x).max(), on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val", cross_entropy(self.net(x), y))

    def configure_optimizers(self):
        return self.tx


class Turns(ft.Module):
    """Two optimizers that take turns."""

    def __init__(self):
        self.g, self.d = (nnx.Linear(6, 3, rngs=nnx.Rngs(seed)) for seed in (0, 1))

    def training_step(self, batch, batch_idx, optimizer_idx):
        x, y = batch
        loss = cross_entropy(self.g(x) + self.d(x), y)
        self.log(f"loss{optimizer_idx}", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return [
            {"optimizer": optax.adam(1e-2), "params": "g", "frequency": 2},
            {"optimizer": optax.sgd(1e-2), "params": "d", "frequency": 1},
        ]


class Recurrent(ft.Module):
    """A state that goes from piece to piece of a sequence."""

    def __init__(self):
        self.cell, self.out = nnx.SimpleCell(6, 4, rngs=nnx.Rngs(0)), nnx.Linear(4, 1, rngs=nnx.Rngs(1))

    def training_step(self, batch, batch_idx, hiddens):
        hidden = jnp.zeros((len(batch), 4)) if hiddens is None else hiddens
        total = 0.0
        for t in range(batch.shape[1]):
            hidden, out = self.cell(hidden, batch[:, t])
            total += ((self.out(out) - batch[:, t].sum(-1, keepdims=True)) ** 2).mean()
        self.log("loss", total, on_epoch=True)
        return {"loss": total, "hiddens": hidden}

    def configure_optimizers(self):
        return optax.adam(1e-2)


SEQUENCES = np.random.default_rng(1).normal(size=(5, 8, 12, 6)).astype(np.float32)
SCHEDULED = optax.adam(optax.cosine_decay_schedule(1e-2, 24))
CASES = {
    "plain": (Logs, {}),
    "a schedule": (lambda: Logs(SCHEDULED), {}),
    "clipping": (Logs, {"gradient_clip_val": 0.1}),
    "a shorter last window": (Logs, {"accumulate_grad_batches": 5, "gradient_clip_val": 0.1}),
    "windows by epoch": (Logs, {"accumulate_grad_batches": {1: 5}}),
    "bf16": (Logs, {"precision": "bf16"}),
    "16": (Logs, {"precision": 16}),
    "turns": (Turns, {}),
    "sequences": (Recurrent, {"truncated_bptt_steps": 5}),
}


def batches_of(name):
    return list(SEQUENCES) if name == "sequences" else Batches().batches


def weights(module):
    """What the user's module holds."""
    return bits([jax.tree.leaves(nnx.state(part)) for part in vars(module).values() if isinstance(part, nnx.Module)])


def values(state):
    return state.params, state.vars, [(player.opt, player.scale, player.updates) for player in state.players]


@pytest.mark.parametrize("name", CASES)
def test_folding_the_step_over_the_batches_gives_the_bits_of_fit(name):
    make, flags = CASES[name]
    batches = batches_of(name)
    ft.seed_everything(4)
    run = trainer(max_epochs=2, num_sanity_val_steps=0, **flags)
    run.fit(make(), batches)
    fitted = bits(values(inside.train_state(run)))
    module = make()
    step = ft.functional(module, **flags)
    before = weights(module)

    state = step.init(4)
    for _ in range(2):
        for i, batch in enumerate(batches):
            state, _ = step.step(state, batch, last=i == len(batches) - 1)
    same(bits(values(state)), fitted)

    state = step.init(4)
    for _ in range(2):
        state, report = step.epoch(state, batches)
    same(bits(values(state)), fitted)
    assert int(state.clock.epoch) == 2
    assert report.metrics
    for metric, value in report.metrics.items():
        assert float(value) == float(run.callback_metrics[metric]), metric
    same(weights(module), before)


def test_evaluating_by_hand_gives_what_validate_returns_and_moves_nothing():
    ft.seed_everything(4)
    module, batches = Logs(), Batches().batches
    run = trainer(max_epochs=1, num_sanity_val_steps=0)
    run.fit(module, batches)
    said = run.validate(module, batches, verbose=False)[0]
    fresh = Logs()
    step = ft.functional(fresh)
    state, _ = step.epoch(step.init(4), batches)
    before = bits(values(state))
    assert step.evaluate(state, batches) == said
    same(bits(values(state)), before)


def test_the_step_is_traced_under_jit_scan_vmap_and_grad():
    step = ft.functional(Plain(optax.inject_hyperparams(optax.adam)(learning_rate=1e-2)), donate=False)
    batches = Batches().batches
    state, stacked = step.init(0), jax.tree.map(lambda *xs: np.stack(xs), *batches)
    _, report = jax.jit(step.step)(state, batches[0])
    assert float(report.loss) == float(report.logged["loss"])
    assert float(report.rates["lr"]) == np.float32(1e-2)
    _, reports = jax.lax.scan(step.step, state, stacked)
    assert reports.loss.shape == (12,)
    states = jax.vmap(step.init)(jax.random.split(jax.random.key(0), 3))
    assert jax.vmap(step.step, (0, None))(states, batches[0])[1].loss.shape == (3,)

    def loss_after(rate):
        opt = state.players[0].opt
        opt = opt._replace(hyperparams={**opt.hyperparams, "learning_rate": rate})
        moved, _ = step.step(state.with_player(0, state.players[0]._replace(opt=opt)), batches[0])
        return step.step(moved, batches[1])[1].loss

    losses = jax.vmap(loss_after)(jnp.array([1e-3, 1e-2, 1e-1]))
    assert losses[0] > losses[1] > losses[2]
    slope = (loss_after(1.1e-2) - loss_after(0.9e-2)) / 0.2e-2
    np.testing.assert_allclose(jax.grad(loss_after)(jnp.float32(1e-2)), slope, rtol=1e-3)


def test_an_undonated_state_stays_and_gives_the_same_bits_again_and_nothing_global_moves():
    step = ft.functional(Logs(), donate=False)
    state, batch = step.init(), Batches().batches[0]
    before = bits(values(state))
    first, _ = step.step(state, batch)
    second, _ = step.step(state, batch)
    same(bits(values(first)), bits(values(second)))
    same(bits(values(state)), before)
    same(bits(jax.random.key_data(step.init().rng)), bits(jax.random.key_data(state.rng)))


def test_a_fit_goes_on_from_a_state_made_by_hand_to_the_same_bits():
    ft.seed_everything(4)
    whole = trainer(max_epochs=2, num_sanity_val_steps=0)
    whole.fit(Logs(), Batches())
    step = ft.functional(Logs(), donate=False)
    state, _ = step.epoch(step.init(4), Batches())
    rest = trainer(max_epochs=2, num_sanity_val_steps=0)
    rest.fit(Logs(), Batches(), state=state)
    assert rest.global_step == whole.global_step == 24
    same(bits(values(inside.train_state(rest))), bits(values(inside.train_state(whole))))
    within = step.init(4)
    for batch in Batches().batches[:5]:
        within, _ = step.step(within, batch)
    rest = trainer(max_epochs=2, num_sanity_val_steps=0)
    with pytest.warns(UserWarning, match="stands at batch 5 of epoch 0"):
        rest.fit(Logs(), Batches(), state=within)
    same(bits(values(inside.train_state(rest))), bits(values(inside.train_state(whole))))


def test_the_state_of_a_checkpoint_goes_on_by_hand_to_the_same_bits(tmp_path):
    class Saves(ft.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 4 and trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "five.ckpt")

    ft.seed_everything(4)
    run = trainer(max_epochs=2, num_sanity_val_steps=0, callbacks=[Saves()], accumulate_grad_batches=3)
    run.fit(Logs(), Batches())
    step = ft.functional(Logs(), accumulate_grad_batches=3)
    state = ft.load_state(tmp_path / "five.ckpt", step)
    assert [int(n) for n in state.clock[:3]] == [1, 5, 5]
    state, report = step.epoch(state, Batches().batches[5:])
    same(bits(values(state)), bits(values(inside.train_state(run))))
    assert float(report.metrics["loss_epoch"]) == float(run.callback_metrics["loss_epoch"])


def test_a_flag_that_says_nothing_of_a_step_is_named():
    with pytest.raises(ft.ConfigurationError, match="log_every_n_steps"):
        ft.functional(Plain(), log_every_n_steps=3)
    with pytest.raises(ft.ConfigurationError, match="gradient_clip_val"):
        ft.functional(Plain(), gradient_clip_vla=3)
