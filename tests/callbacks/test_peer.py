"""Callbacks of the same name do the same in pytorch_lightning: what they write, what they train."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import get_swa_avg_fn

pytest.importorskip("pytorch_lightning", reason="the peer is an extra: pip install 'functrain[bench]'")

import pytorch_lightning as peer

import functrain_torch as pl
from functrain_torch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    ModelPruning,
    StochasticWeightAveraging,
)
from tests.callbacks import test_finetuning as tuning
from tests.callbacks import test_prediction_writer as writing
from tests.resume.common import differences

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def its_warnings_are_its_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def theirs(tmp_path):
    """Makes a quiet Trainer of the peer."""

    def make(*callbacks: Any, **flags: Any) -> peer.Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        quiet |= {"enable_checkpointing": False, "num_sanity_val_steps": 0, "default_root_dir": str(tmp_path / "peer")}
        return peer.Trainer(**{**quiet, "callbacks": list(callbacks), **flags})

    return make


# ---- BasePredictionWriter


class Writer(writing.Writes, BasePredictionWriter):
    pass


class TheirWriter(writing.Writes, peer.callbacks.BasePredictionWriter):
    pass


class TheirDoubles(peer.LightningModule):
    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return 2 * batch[0]


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else [plain(item) for item in value]


@pytest.mark.parametrize("interval", ["batch", "epoch", "batch_and_epoch"])
@pytest.mark.parametrize("several", [False, True])
def test_predictions_are_written_alike(make, theirs, interval, several):
    def loaders() -> Any:
        return [writing.loader(1), writing.loader(2)] if several else writing.loader(1)

    own, other = Writer(interval), TheirWriter(interval)
    returned = make(own).predict(writing.Doubles(), loaders())
    wanted = theirs(other).predict(TheirDoubles(), loaders())
    assert plain(returned) == plain(wanted)
    assert own.batches == other.batches
    assert len(own.batches) == (0 if interval == "epoch" else 3 * (1 + several))
    assert [(plain(p), i) for p, i in own.epochs] == [(plain(p), i) for p, i in other.epochs]
    assert len(own.epochs) == (interval != "batch")


# ---- finetuning


class Body:
    """A module of either, with a backbone and a head."""

    def __init__(self, scheduler: Any = None, normalizes: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        norm = nn.BatchNorm1d(5) if normalizes else nn.Identity()
        self.backbone = nn.Sequential(nn.Linear(4, 5, bias=False), norm, nn.Tanh(), nn.Linear(5, 5))
        self.head = nn.Linear(5, 1)
        self.scheduler = scheduler

    def forward(self, x):
        return self.head(self.backbone(x))

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


class Own(Body, pl.LightningModule):
    pass


class Theirs(Body, peer.LightningModule):
    pass


def fitted(make: Any, theirs: Any, own: Any, other: Any, *of_body: Any, **flags: Any) -> tuple[Own, Theirs]:
    """A module of each, trained with a callback of each."""
    modules = Own(*of_body), Theirs(*of_body)
    for module, maker, callback in zip(modules, (make, theirs), (own, other), strict=True):
        maker(callback, **flags).fit(module, tuning.loader())
    return modules


@pytest.mark.parametrize("scheduler", [None, tuning.exponential])
@pytest.mark.parametrize("align", [False, True])
def test_a_backbone_is_tuned_alike(make, theirs, scheduler, align):
    arguments = {"unfreeze_backbone_at_epoch": 1, "lambda_func": lambda epoch: 2.5, "should_align": align}
    own, other = BackboneFinetuning(**arguments), peer.callbacks.BackboneFinetuning(**arguments)
    modules = fitted(make, theirs, own, other, scheduler, max_epochs=5)
    assert not differences(*(tuning.weights(module) for module in modules))
    assert own.previous_backbone_lr == other.previous_backbone_lr > 0


def tuner(base: type) -> Any:
    class Tunes(base):
        def freeze_before_training(self, pl_module):
            self.freeze(pl_module.backbone)

        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 2:
                self.unfreeze_and_add_param_group(pl_module.backbone[3], optimizer)
            if epoch == 3:
                self.unfreeze_and_add_param_group(pl_module.backbone[0], optimizer, lr=0.03)

    return Tunes()


def test_layers_are_unfrozen_alike(make, theirs):
    own, other = tuner(BaseFinetuning), tuner(peer.callbacks.BaseFinetuning)
    modules = fitted(make, theirs, own, other, tuning.exponential, max_epochs=5)
    assert not differences(*(tuning.weights(module) for module in modules))


@pytest.mark.parametrize("train_bn", [False, True])
def test_modules_are_flattened_and_frozen_alike(train_bn):
    for freezer in (BaseFinetuning, peer.callbacks.BaseFinetuning):
        block = tuning.Block()
        freezer.freeze(block, train_bn)
        found = [name for name, p in block.named_parameters() if p.requires_grad]
        assert found == (["layers.b.0.weight", "layers.b.0.bias"] if train_bn else [])
    theirs = peer.callbacks.BaseFinetuning.flatten_modules(block)
    assert BaseFinetuning.flatten_modules(block) == theirs


# ---- StochasticWeightAveraging


@pytest.mark.parametrize("scheduler", [None, tuning.exponential])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("start", [1, 3, 0.5])
@pytest.mark.parametrize("normalizes", [False, True])
def test_weights_are_averaged_alike(make, theirs, scheduler, strategy, start, normalizes):
    """Statistics of batch normalization too. The peer's mean of weights is written otherwise than torch's; given as
    `avg_fn` it has the same bits."""
    arguments = {
        "swa_epoch_start": start, "swa_lrs": 0.02, "annealing_epochs": 2, "annealing_strategy": strategy,
        "avg_fn": get_swa_avg_fn(),
    }  # fmt: skip
    own, plain, other = Own(scheduler, normalizes), Own(scheduler, normalizes), Theirs(scheduler, normalizes)
    make(StochasticWeightAveraging(**arguments), max_epochs=6).fit(own, tuning.loader())
    averages = peer.callbacks.StochasticWeightAveraging(**arguments)
    theirs(averages, Still(), max_epochs=6).fit(other, tuning.loader())
    assert not differences(tuning.weights(own), tuning.weights(other))
    make(StochasticWeightAveraging(**{**arguments, "avg_fn": None}), max_epochs=6).fit(plain, tuning.loader())
    torch.testing.assert_close(tuning.weights(plain), tuning.weights(other))


class Still(peer.Callback):
    """The peer computes statistics in a further epoch, whose last batch steps with gradients of before: that moves
    nothing here."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 6:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.0


# ---- ModelPruning


class Validates:
    """A validation refreshes what torch prunes by; the peer's own is from before the epoch's last step."""

    def validation_step(self, batch, batch_idx):
        self(batch[0])


class OwnValidated(Validates, Own):
    pass


class TheirsValidated(Validates, Theirs):
    pass


@pytest.mark.parametrize(
    "arguments",
    [
        {"pruning_fn": "l1_unstructured", "amount": 0.2},
        {"pruning_fn": "l1_unstructured", "amount": lambda epoch: 3 * epoch, "parameter_names": ["weight"]},
        {"pruning_fn": "random_unstructured", "amount": 4, "apply_pruning": lambda epoch: epoch != 1},
        {"pruning_fn": "l1_unstructured", "use_global_unstructured": False, "amount": 0.3},
        {
            "pruning_fn": "ln_structured", "use_global_unstructured": False, "amount": 0.3, "pruning_dim": 0,
            "pruning_norm": 1, "parameter_names": ["weight"],
        },
        {
            "pruning_fn": "l1_unstructured", "amount": 0.2,
            "use_lottery_ticket_hypothesis": lambda epoch: epoch == 2,
        },
    ],
)  # fmt: skip
def test_weights_are_pruned_alike(make, theirs, arguments):
    arguments = {"use_lottery_ticket_hypothesis": False, **arguments}
    if "ln_structured" in arguments.values():
        own, other = OwnValidated(None, False), TheirsValidated(None, False)
    else:
        own, other = OwnValidated(), TheirsValidated()
    for module, maker, kind in ((own, make, ModelPruning), (other, theirs, peer.callbacks.ModelPruning)):
        torch.manual_seed(3)
        maker(kind(**arguments), max_epochs=4).fit(module, tuning.loader(), tuning.loader())
    ours, wanted = tuning.weights(own), tuning.weights(other)
    assert not differences(ours, {name: value + 0 for name, value in wanted.items()}), "no zero of ours has a sign"
    assert any(bool((value == 0).any()) for value in ours.values())
