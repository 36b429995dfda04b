"""StochasticWeightAveraging: the weights are those of a loop by hand with torch.optim.swa_utils, also in a run that
continues."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

import functrain
import functrain_torch as pl
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain_torch.callbacks import Callback, EarlyStopping, StochasticWeightAveraging
from tests.callbacks.test_finetuning import Net, exponential, loader, per_group, weights
from tests.resume.common import MemoryLogger, Saver, differences, disturb, final


class Plain(Net):
    """Without batch normalization."""

    def __init__(self, scheduler: Any = None) -> None:
        super().__init__(scheduler)
        self.backbone[1] = nn.Identity()


class Logs(Net):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss


def by_hand(net: Any, epochs: int, start: int, rate: float | None, anneal: int, strategy: str = "cos") -> nn.Module:
    """The loop of torch's documentation; the weights are taken when an epoch begins."""
    configured = net.configure_optimizers()
    (optimizer,), (scheduler,) = configured if isinstance(configured, tuple) else ([configured], [None])
    averaged = None
    for epoch in range(epochs):
        if epoch == start:
            averaged = AveragedModel(net)
            rate = optimizer.param_groups[0]["lr"] if rate is None else rate
            scheduler = SWALR(optimizer, rate, anneal, strategy)
        if averaged is not None:
            averaged.update_parameters(net)
        for x, y in loader():
            optimizer.zero_grad()
            nn.functional.mse_loss(net.head(net.backbone(x)), y).backward()
            optimizer.step()
        if scheduler is not None:
            scheduler.step()
    averaged.module.forward = lambda x: averaged.module.head(averaged.module.backbone(x))
    update_bn(loader(), averaged)
    return averaged.module


@pytest.mark.parametrize("scheduler", [None, exponential, per_group])
@pytest.mark.parametrize("net", [Net, Plain])
@pytest.mark.parametrize(
    ("given", "start", "rate", "anneal"),
    [
        ({"swa_epoch_start": 3, "swa_lrs": 0.02, "annealing_epochs": 2}, 2, 0.02, 2),
        ({"swa_epoch_start": 0.5, "swa_lrs": [0.01], "annealing_epochs": 0}, 2, 0.01, 0),
        ({}, 3, None, 10),
    ],
)
def test_the_weights_are_those_of_the_loop_by_hand(make, scheduler, net, given, start, rate, anneal):
    module = net(scheduler)
    make(StochasticWeightAveraging(**given), max_epochs=6).fit(module, loader())
    assert not differences(weights(module), weights(by_hand(net(scheduler), 6, start, rate, anneal)))


def mostly_old(mean: torch.Tensor, new: torch.Tensor, count: int) -> torch.Tensor:
    return 0.75 * mean + 0.25 * new


def test_the_other_strategy_and_an_average_of_ones_own(make):
    module, taken = Net(), Net()
    swa = StochasticWeightAveraging(1, 0.02, 3, "linear", mostly_old, device=None)
    make(swa, max_epochs=4).fit(module, loader())
    averaged = AveragedModel(taken, avg_fn=mostly_old)
    optimizer = taken.configure_optimizers()
    scheduler = SWALR(optimizer, 0.02, 3, "linear")
    for _ in range(4):
        averaged.update_parameters(taken)
        for x, y in loader():
            optimizer.zero_grad()
            nn.functional.mse_loss(taken.head(taken.backbone(x)), y).backward()
            optimizer.step()
        scheduler.step()
    for mine, wanted in zip(module.parameters(), averaged.module.parameters(), strict=True):
        assert torch.equal(mine, wanted)
    assert swa.average.n_averaged == 4


def test_the_last_pass_logs_nothing_and_moves_nothing(make):
    logger, steps = MemoryLogger(), []

    class Counts(Logs):
        def training_step(self, batch, batch_idx):
            steps.append((batch_idx, torch.is_grad_enabled()))
            return super().training_step(batch, batch_idx)

    trainer = make(StochasticWeightAveraging(1), logger=logger, max_epochs=2, log_every_n_steps=1)
    trainer.fit(Counts(), loader())
    assert steps == [(i, True) for i in range(3)] * 2 + [(i, False) for i in range(3)]
    assert [step for step, row in logger.rows if "loss_step" in row] == [1, 2, 3, 4, 5, 6]
    assert (trainer.global_step, trainer.current_epoch) == (6, 2)


def test_layers_that_evaluate_or_do_not_count_are_left_alone(make):
    module = Net()
    module.backbone[2] = nn.BatchNorm1d(5, track_running_stats=False)
    module.backbone[1].eval()
    before = module.backbone[1].running_mean.clone()
    make(StochasticWeightAveraging(1), max_epochs=2).fit(module, loader())
    assert torch.equal(module.backbone[1].running_mean, before)
    assert not module.backbone[1].training
    assert module.backbone[1].momentum == 0.1


def test_the_flag(tmp_path):
    quiet = {"logger": False, "default_root_dir": str(tmp_path), "weights_summary": None}
    trainer = pl.Trainer(stochastic_weight_avg=True, max_epochs=6, **quiet)
    assert trainer.stochastic_weight_avg is True
    module = Net()
    trainer.fit(module, loader())
    assert not differences(weights(module), weights(by_hand(Net(), 6, 3, None, 10)))
    own = StochasticWeightAveraging(2)
    trainer = pl.Trainer(stochastic_weight_avg=True, callbacks=own, **quiet)
    assert [c for c in trainer.callbacks if isinstance(c, StochasticWeightAveraging)] == [own]
    with pytest.raises(ConfigurationError, match=r"stochastic_weight_avg=True\): only functrain_torch's Trainer"):
        functrain.Trainer(stochastic_weight_avg=True, **quiet)
    with pytest.raises(ConfigurationError, match=r"stochastic_weight_avg=3\): must be True or False"):
        pl.Trainer(stochastic_weight_avg=3, **quiet)


def test_runs_within_a_run_average_nothing(tmp_path):
    class Tries(Callback):
        def on_fit_start(self, trainer, pl_module):
            if trainer.run.outer is None:
                with trainer.stacked(max_epochs=1):
                    trainer.fit(pl_module, loader())
                    self.inner = [type(callback) for callback in trainer.callbacks]

    tries = Tries()
    quiet = {"logger": False, "default_root_dir": str(tmp_path), "weights_summary": None, "checkpoint_callback": False}
    module = Net()
    pl.Trainer(stochastic_weight_avg=True, max_epochs=6, callbacks=tries, **quiet).fit(module, loader())
    assert tries.inner == []
    assert not differences(weights(module), weights(by_hand(Net(), 6, 3, None, 10)))


# ---- continuing and stopping

PLACES = ("on_train_start", "on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end", "on_epoch_end")


@pytest.mark.parametrize("first", [False, True], ids=["saved after it", "saved before it"])
@pytest.mark.parametrize("scheduler", [None, exponential])
def test_a_run_that_continues_from_anywhere_ends_with_the_same_bits(make, tmp_path, scheduler, first):
    def run(saver: Callback, ckpt_path: str | None = None) -> Any:
        swa = StochasticWeightAveraging(2, 0.01, annealing_epochs=2)
        logger = MemoryLogger()
        trainer = make(*([saver, swa] if first else [swa, saver]), logger=logger, max_epochs=4, log_every_n_steps=1)
        disturb()
        torch.manual_seed(3)
        trainer.fit(Logs(scheduler), loader(), ckpt_path=ckpt_path)
        return final(trainer, [])

    saver = Saver(tmp_path, PLACES)
    whole = run(saver)
    assert len(saver.saved) == 1 + 4 * (1 + 3 + 1 + 1)
    for (hook, count), (path, _) in saver.saved.items():
        again = run(Saver(tmp_path, ()), path)
        assert not differences(whole, again), f"{hook} {count}"


def test_a_run_that_is_stopped_early_ends_with_what_was_averaged(make):
    class Stops(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 3

    module = Plain()
    make(StochasticWeightAveraging(2), Stops(), max_epochs=100).fit(module, loader())
    assert not differences(weights(module), weights(by_hand(Plain(), 4, 1, None, 10)))


def test_a_run_that_ends_too_early_says_so_and_keeps_its_weights(make):
    class Stops(EarlyStopping):
        def should_stop(self, trainer, pl_module, moment):
            trainer.should_stop = True

    module, plain = Net(), Net()
    with pytest.warns(UserWarning, match="training ended before epoch 9, so nothing was averaged"):
        make(StochasticWeightAveraging(9), Stops("x"), max_epochs=10).fit(module, loader())
    make(max_epochs=1).fit(plain, loader())
    assert not differences(weights(module), weights(plain))


def test_after_an_interruption_nothing_is_put_in_and_the_run_goes_on(make, tmp_path):
    class Interrupts(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 8:
                raise KeyboardInterrupt

    module = Plain()
    trainer = make(StochasticWeightAveraging(2), Interrupts(), max_epochs=4)
    trainer.fit(module, loader())
    assert trainer.interrupted
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Plain()
    make(StochasticWeightAveraging(2), max_epochs=4).fit(again, loader(), ckpt_path=tmp_path / "a.ckpt")
    assert not differences(weights(again), weights(by_hand(Plain(), 4, 1, None, 10)))


def test_a_checkpoint_that_knows_nothing_of_it_is_told_of(make, tmp_path):
    trainer = make(max_epochs=3)
    trainer.fit(Plain(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    swa = StochasticWeightAveraging(2)
    with pytest.warns(UserWarning, match="it begins in epoch 3, counted from 0, and not in 1: the checkpoint"):
        make(swa, max_epochs=5).fit(Plain(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert swa.average.n_averaged == 2


def test_averaged_weights_of_another_module_are_an_error(make, tmp_path):
    trainer = make(StochasticWeightAveraging(1), max_epochs=2)
    trainer.fit(Plain(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=False)
    del saved["callbacks"]["StochasticWeightAveraging"]["average"]["module.0"]
    torch.save(saved, tmp_path / "b.ckpt")
    with pytest.raises(CheckpointError, match="averaged weights of the checkpoint do not fit Plain"):
        make(StochasticWeightAveraging(1), max_epochs=3).fit(Plain(), loader(), ckpt_path=tmp_path / "b.ckpt")


def test_two_fits_of_one_callback_are_two_runs(make):
    trainer = make(StochasticWeightAveraging(2, 0.02), max_epochs=4)
    for _ in range(2):
        module = Net()
        trainer.fit(module, loader())
        assert not differences(weights(module), weights(by_hand(Net(), 4, 1, 0.02, 10)))


def test_a_dev_run_goes_through_all_of_it(make):
    swa = StochasticWeightAveraging(7)
    make(swa, fast_dev_run=True).fit(Net(), loader())
    assert swa.average.n_averaged == 1


# ---- what cannot be


class ByHand(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


def test_statistics_that_cannot_be_computed_anew_are_told_of(make):
    with pytest.warns(UserWarning, match="ByHand steps its optimizers itself, so its training step cannot be run"):
        make(StochasticWeightAveraging(1), max_epochs=1).fit(ByHand(), loader())
    with pytest.warns(UserWarning, match="the training loader gave no batch once more"):
        make(StochasticWeightAveraging(1), max_epochs=1).fit(Net(), iter(list(loader())))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"swa_epoch_start": 0}, "swa_epoch_start=0.: must be an int >= 1 or a float"),
        ({"swa_epoch_start": 1.5}, "swa_epoch_start=1.5.: must be"),
        ({"swa_epoch_start": True}, "swa_epoch_start=True.: must be"),
        ({"swa_lrs": 0.0}, "swa_lrs=0.0.: must be a number > 0, a list of them, or None"),
        ({"swa_lrs": [0.1, "x"]}, r"swa_lrs=\[0.1, 'x'\].: must be"),
        ({"annealing_epochs": -1}, "annealing_epochs=-1.: must be an int >= 0"),
        ({"annealing_strategy": "exp"}, "annealing_strategy='exp'.: must be 'cos' or 'linear'"),
        ({"avg_fn": 3}, "avg_fn=3.: must be a function"),
    ],
)
def test_wrong_arguments(given, words):
    with pytest.raises(ConfigurationError, match=words):
        StochasticWeightAveraging(**given)


def test_runs_that_it_cannot_serve(make):
    class Two(Net):
        def configure_optimizers(self):
            return [torch.optim.SGD(self.head.parameters(), 0.1), torch.optim.SGD(self.backbone.parameters(), 0.1)]

    with pytest.raises(ConfigurationError, match="Two has 2 optimizers; it works with one"):
        make(StochasticWeightAveraging(), max_epochs=1).fit(Two(), loader())
    with pytest.raises(ConfigurationError, match=r"swa_epoch_start=0.8\): a part of epochs whose number is not known"):
        make(StochasticWeightAveraging(), max_epochs=-1, max_steps=3).fit(Net(), loader())
    with pytest.raises(ConfigurationError, match=r"swa_epoch_start=5\): the last epoch is number 2, so nothing"):
        make(StochasticWeightAveraging(5), max_epochs=2).fit(Net(), loader())
    with pytest.raises(ConfigurationError, match="SGD has 1 parameter groups; give as many rates, or one"):
        make(StochasticWeightAveraging(1, [0.1, 0.2]), max_epochs=1).fit(Net(), loader())
