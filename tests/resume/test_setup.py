"""A run that continues with another set-up says, in one warning, what is otherwise and whose value holds."""

import warnings
from typing import Any

import numpy as np
import optax
import pytest
import torch
from torch.utils.data import DataLoader, random_split

import functrain_jax as ft
import functrain_torch as pl
from tests import inside
from tests.adapters.jax.common import Batches
from tests.adapters.jax.common import Plain as JaxPlain
from tests.adapters.jax.common import trainer as jax_trainer
from tests.adapters.torch.small import QUIET, Net, Validated, batches, samples


class Scheduled(Net):
    def __init__(self, lr: float = 0.1, gamma: float = 0.5, frozen: bool = False) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.lr, self.gamma = lr, gamma
        self.net[0].bias.requires_grad_(not frozen)
        self.net[1].train(not frozen)

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [adam], [torch.optim.lr_scheduler.StepLR(adam, 1, self.gamma)]


def fit(model: Any, loader: Any, ckpt_path: Any = None, **flags: Any) -> tuple[Any, list[str]]:
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 3, **flags})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trainer.fit(model, loader, ckpt_path=ckpt_path)
    return trainer, [str(w.message) for w in found if "set up otherwise" in str(w.message)]


@pytest.fixture
def saved(tmp_path: Any) -> Any:
    """In the middle of the second epoch."""
    trainer, said = fit(Scheduled(), batches(6), max_steps=8, max_epochs=5)
    assert not said
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_the_same_set_up_says_nothing(saved):
    assert fit(Scheduled(), batches(6), saved, max_epochs=7)[1] == []


@pytest.mark.parametrize(
    ("model", "loader", "flags", "says"),
    [
        ({}, {"size": 8, "n": 3}, {}, r"batch size 4 -> 8, batches an epoch 6 -> 3: epoch 1 goes on at batch 2 of the "
                                      r"present loader, so some of its samples come twice or not at all"),
        ({}, {"n": 2}, {}, r"batches an epoch 6 -> 2: epoch 1 stood at batch 2, so it ends at once"),
        ({}, {"shuffle": True}, {}, r"sampler SequentialSampler -> RandomSampler: epoch 1 goes on"),
        ({}, {}, {"accumulate_grad_batches": 2}, r"accumulate_grad_batches \{0: 1\} -> \{0: 2\}: the present values"),
        ({}, {}, {"gradient_clip_val": 0.5, "precision": "bf16"},
         r"gradient_clip_val None -> 0\.5, gradient_clip_algorithm None -> norm, precision 32 -> bf16: the present"),
        ({"lr": 0.01, "gamma": 0.9}, {}, {},
         r"lr of optimizer 0 \(Adam\) 0\.1 -> 0\.01, gamma of scheduler 0 \(StepLR\) 0\.5 -> 0\.9: the checkpoint's "
         r"values are used; .* on_train_start"),
        ({"frozen": True}, {}, {}, r"freezing of net\.0\.bias no -> yes, evaluation mode of net\.1 no -> yes: the "
                                   r"checkpoint's"),
    ],
)  # fmt: skip
def test_what_changed_is_one_warning_with_whose_value_holds(model, loader, flags, says, saved):
    import re

    _, said = fit(Scheduled(**model), batches(**{"n": 6, **loader}), saved, **flags)
    assert len(said) == 1
    assert str(saved) in said[0]
    assert re.search(says, said[0]), said[0]


def test_the_checkpoint_s_learning_rate_holds_also_for_the_next_run(saved, tmp_path):
    trainer, _ = fit(Scheduled(lr=0.01), batches(6), saved)
    assert inside.rates(trainer) == [0.1 * 0.5**3]
    trainer.save_checkpoint(tmp_path / "b.ckpt")
    assert fit(Scheduled(lr=0.1), batches(6), tmp_path / "b.ckpt", max_epochs=4)[1] == []


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        (optax.adam(0.1), optax.adam(0.01), r"learning_rate of optimizer 0 0\.1 -> 0\.01: the present values are used"),
        (optax.adam(0.1), optax.adam(0.1, b1=0.8), r"scale_by_adam\.b1 of optimizer 0 0\.9 -> 0\.8: the present"),
        (optax.sgd(optax.exponential_decay(0.1, 10, 0.9)), optax.sgd(optax.exponential_decay(0.1, 20, 0.9)),
         r"exponential_decay\.transition_steps of optimizer 0 10 -> 20: the present"),
        (optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
         optax.inject_hyperparams(optax.adam)(learning_rate=1.0),
         r"learning_rate of optimizer 0 0\.1 -> 1: the checkpoint's values are used"),
    ],
)  # fmt: skip
def test_another_optax_transformation_of_the_same_kind_is_told(then, now, says, tmp_path):
    path = str(tmp_path / "a.ckpt")
    run = jax_trainer(max_epochs=1)
    run.fit(JaxPlain(then), Batches())
    run.save_checkpoint(path)
    with pytest.warns(UserWarning, match=says):
        jax_trainer(max_epochs=2).fit(JaxPlain(now), Batches(), ckpt_path=path)


def test_jax_says_what_changed_of_the_loader(tmp_path):
    path = str(tmp_path / "a.ckpt")
    run = jax_trainer(max_epochs=1)
    run.fit(JaxPlain(), Batches(8).batches)
    run.save_checkpoint(path)
    with pytest.warns(UserWarning, match=r"batch size 8 -> 4, batches an epoch 12 -> 24: they hold from epoch 1 on\."):
        jax_trainer(max_epochs=2).fit(JaxPlain(), Batches(4).batches, ckpt_path=path)


class Timed(Scheduled):
    """Its scheduler steps when the test says."""

    def __init__(self, **timing: Any) -> None:
        super().__init__()
        self.timing = timing

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log_dict({"one": loss.detach(), "two": loss.detach()}, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=self.lr)
        schedulers = torch.optim.lr_scheduler
        plateau = "monitor" in self.timing
        scheduler = schedulers.ReduceLROnPlateau(adam) if plateau else schedulers.StepLR(adam, 100)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": scheduler, **self.timing}}


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        ({}, {"interval": "step"}, r"interval of scheduler 0 \(StepLR\) epoch -> step: the present values are used"),
        ({"frequency": 2}, {"frequency": 3}, r"frequency of scheduler 0 \(StepLR\) 2 -> 3: the present values"),
        (
            {"monitor": "one"},
            {"monitor": "two"},
            r"monitor of scheduler 0 \(ReduceLROnPlateau\) one -> two: the present",
        ),
    ],
)
def test_a_scheduler_that_steps_at_other_times_is_told(then, now, says, tmp_path):
    import re

    trainer, _ = fit(Timed(**then), batches(4), max_steps=6)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert fit(Timed(**then), batches(4), tmp_path / "a.ckpt")[1] == []
    _, said = fit(Timed(**now), batches(4), tmp_path / "a.ckpt")
    assert len(said) == 1
    assert re.search(says, said[0]), said[0]


def test_a_checkpoint_of_before_the_times_of_schedulers_were_kept_says_nothing_of_them(tmp_path):
    trainer, _ = fit(Timed(), batches(4), max_steps=6)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    del saved["setup"]["timing"]
    torch.save(saved, tmp_path / "a.ckpt")
    assert fit(Timed(interval="step"), batches(4), tmp_path / "a.ckpt")[1] == []


class AtBatch(pl.Callback):
    """Saves at one batch of an epoch, and notes the updates at every epoch's end."""

    def __init__(self, path: Any = None, batch: int = -1) -> None:
        self.path, self.batch, self.updates = path, batch, []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.updates.append(trainer.global_step)


@pytest.mark.parametrize("world", ["torch", "jax"])
@pytest.mark.parametrize(("n", "updates"), [(4, [2, 4]), (3, [2, 3])])
def test_no_window_crosses_the_end_of_an_epoch_whose_loader_became_shorter(world, n, updates, tmp_path):
    """Saved after 5 of 6 batches, in windows of 3: the two that are open make an update where the epoch ends."""

    def run(n: int, callback: Any, ckpt_path: Any = None) -> Any:
        flags = {"max_epochs": 2, "accumulate_grad_batches": 3, "callbacks": [callback]}
        if world == "torch":
            return pl.Trainer(**{**QUIET, **flags}).fit(Net(), batches(n), ckpt_path=ckpt_path)
        return jax_trainer(**flags).fit(JaxPlain(), Batches(8, 8 * n).batches, ckpt_path=ckpt_path)

    path, noted = str(tmp_path / "a.ckpt"), AtBatch()
    run(6, AtBatch(path, 4))
    with pytest.warns(UserWarning, match="epoch 0 stood at batch 5, so it ends at once"):
        run(n, noted, path)
    assert noted.updates == updates


@pytest.mark.parametrize("n", [1, 2])
def test_fast_dev_run_tries_a_checkpoint_out(n, saved, capsys):
    """It trains, instead of finding that there is nothing left."""

    class Counting(Scheduled):
        rates: list[Any]
        weights: Any

        def on_train_start(self) -> None:
            self.rates, self.weights = [], self.net[0].weight.clone()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.rates.append(self.optimizers().param_groups[0]["lr"])
            return super().training_step(batch, batch_idx)

    model = Counting()
    fit(model, batches(6), saved, fast_dev_run=n)
    assert model.rates == [0.05] * n
    weights = torch.load(saved, weights_only=True)["state_dict"]["net.0.weight"]
    assert torch.equal(model.weights, weights)
    assert not torch.equal(model.net[0].weight, weights)
    assert "tried out" in capsys.readouterr().out


def test_fast_dev_run_tries_a_checkpoint_out_in_jax(tmp_path):
    path = str(tmp_path / "a.ckpt")
    run = jax_trainer(max_epochs=1, accumulate_grad_batches=2, max_steps=2)
    run.fit(JaxPlain(), Batches())
    run.save_checkpoint(path)
    model = JaxPlain()
    dev = ft.Trainer(fast_dev_run=3, progress_bar_refresh_rate=0, accumulate_grad_batches=2)
    dev.fit(model, Batches(), ckpt_path=path)
    assert inside.position(dev) == (1, 0, 2)
    assert not np.array_equal(model.params["w"], run.module.params["w"])


class Splitting(Validated):
    """Its loaders split the data at random."""

    def split(self) -> Any:
        return random_split(samples(40), [32, 8])

    def train_dataloader(self) -> Any:
        return DataLoader(self.split()[0], batch_size=4, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.split()[1], batch_size=4)


@pytest.mark.parametrize("every", [0, 1])
def test_a_loader_that_draws_random_numbers_is_made_again_as_it_was(every, tmp_path):
    class Saver(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}-{batch_idx}.ckpt")

    def run(seed: int, ckpt_path: Any = None, **flags: Any) -> Any:
        torch.manual_seed(0)
        model = Splitting()
        torch.manual_seed(seed)
        trainer = pl.Trainer(**QUIET, max_epochs=3, reload_dataloaders_every_n_epochs=every, **flags)
        trainer.fit(model, ckpt_path=ckpt_path)
        return [p.tolist() for p in model.parameters()], dict(trainer.callback_metrics)

    whole = run(1, callbacks=[Saver()])
    for name in ("0-3", "1-0", "1-7", "2-5"):
        assert run(77, tmp_path / f"{name}.ckpt") == whole, name
