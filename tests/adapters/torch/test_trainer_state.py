"""What a Trainer tells of itself is right in every hook: as in pytorch-lightning, where that has the same names."""

import importlib.util
import math
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import functrain_torch as pl
from functrain.trainer.states import RunningStage, TrainerFn, TrainerStatus

TOLD = (
    "training", "validating", "testing", "predicting", "sanity_checking", "evaluating", "num_training_batches",
    "num_val_batches", "num_sanity_val_batches", "num_test_batches", "num_predict_batches", "current_epoch",
    "global_step",
)  # fmt: skip
HOOKS = (
    "setup", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end",
    "on_train_epoch_end", "on_validation_start", "on_validation_batch_end", "on_validation_epoch_end",
    "on_validation_end", "on_train_end", "on_fit_end", "on_test_start", "on_test_batch_start", "on_test_end",
    "on_predict_start", "on_predict_batch_end", "on_predict_end", "teardown",
)  # fmt: skip
QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


def loader(samples: int) -> Any:
    return DataLoader(torch.ones(samples, 2))


def told(trainer: Any, where: str) -> tuple[Any, ...]:
    state = trainer.state
    words = [None if each is None else each.value for each in (state.fn, state.stage, state.status)]
    of_batch = trainer.is_last_batch if "train_batch" in where or where == "training_step" else None
    configured = len(trainer.optimizers), len(trainer.lr_scheduler_configs)
    return (where, *words, *(getattr(trainer, name) for name in TOLD), of_batch, *configured)


def watched(package: Any) -> list[tuple[Any, ...]]:
    """Run all stages, and return what was told in each of their hooks."""
    rows: list[tuple[Any, ...]] = []

    def row(where: str) -> Any:
        return lambda self, trainer, *args, **named: rows.append(told(trainer, where))

    class Watch(package.Callback):
        pass

    for hook in HOOKS:
        setattr(Watch, hook, row(hook))

    class Net(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            rows.append(told(self.trainer, "training_step"))
            return self.layer(batch).sum()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            rows.append(told(self.trainer, "validation_step"))

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return batch

        def configure_optimizers(self) -> Any:
            rows.append(("configure_optimizers", self.trainer.estimated_stepping_batches))
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    trainer = package.Trainer(max_epochs=2, callbacks=[Watch()], accumulate_grad_batches=2, **QUIET)
    net = Net()
    rows.append(told(trainer, "before"))
    for stage, given in (
        ("fit", (loader(3), loader(2))),
        ("validate", (loader(1),)),
        ("test", ([loader(2), loader(3)],)),
    ):
        getattr(trainer, stage)(net, *given)
        rows.append(told(trainer, f"after {stage}"))
    trainer.predict(net, loader(2))
    rows.append(told(trainer, "after predict"))
    return rows


@pytest.mark.skipif(importlib.util.find_spec("pytorch_lightning") is None, reason="needs the extra 'bench'")
@pytest.mark.filterwarnings("ignore")
def test_every_hook_is_told_what_pytorch_lightning_tells():
    ours, theirs = watched(pl), watched(importlib.import_module("pytorch_lightning"))
    # There the sanity check alone knows its loaders, of which ours are known before.
    theirs = [row for row in theirs if "sanity_check" not in row]
    ours = [row for row in ours if "sanity_check" not in row]
    assert len(ours) == len(theirs) > 60
    for one, other in zip(ours, theirs, strict=True):
        assert one == other


class Net(pl.LightningModule):
    """One weight; `seen` has what its step sees of the Trainer."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2))
        self.seen: list[Any] = []
        self.updates: Any = None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append((batch_idx, self.trainer.is_last_batch))
        return (self.w * batch).sum()

    def configure_optimizers(self) -> Any:
        self.updates = self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), 0.1)


class Endless(IterableDataset[Any]):
    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter(torch.ones(self.samples, 2))


@pytest.mark.parametrize(
    ("flags", "given", "updates"),
    [
        ({"max_epochs": 3}, loader(5), 15),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, loader(5), 9),
        ({"max_epochs": 4, "accumulate_grad_batches": {1: 2, 3: 5}}, loader(5), 5 + 3 + 3 + 1),
        ({"max_epochs": 3, "max_steps": 4}, loader(5), 4),
        ({"max_epochs": 3, "limit_train_batches": 2}, loader(5), 6),
        ({"max_epochs": -1, "max_steps": 6}, loader(5), 6),
        ({"fast_dev_run": 2}, loader(5), 2),
        ({"max_epochs": 1}, DataLoader(Endless(3)), math.inf),
        ({"max_epochs": 1, "max_steps": 2}, DataLoader(Endless(3)), 2),
    ],
)
def test_the_updates_of_a_fit_are_known_before_its_optimizers_are(flags: Any, given: Any, updates: Any):
    net, trainer = Net(), pl.Trainer(**flags, **QUIET)
    trainer.fit(net, given)
    assert net.updates == trainer.estimated_stepping_batches == updates
    if updates != math.inf:
        assert trainer.global_step == updates


def test_the_training_loader_is_asked_for_once_for_that():
    class Own(Net):
        asked = 0

        def train_dataloader(self) -> Any:
            self.asked += 1
            return loader(2)

    net = Own()
    pl.Trainer(max_epochs=2, **QUIET).fit(net)
    assert (net.updates, net.asked) == (4, 1)


def test_a_run_that_continues_draws_its_loader_as_the_first_did(tmp_path: Any):
    """Its `train_dataloader` splits the data at random, and is asked for before the checkpoint is read."""

    class Split(Net):
        def train_dataloader(self) -> Any:
            return DataLoader(torch.randn(6, 2)[torch.randperm(6)[:4]])

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen.append(batch.tolist())
            return (self.w * batch).sum()

    path = str(tmp_path / "a.ckpt")

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 5:
                trainer.save_checkpoint(path)

    pl.seed_everything(1)
    first, second = Split(), Split()
    pl.Trainer(max_epochs=3, callbacks=[Save()], **QUIET).fit(first)
    pl.seed_everything(2)
    pl.Trainer(max_epochs=3, **QUIET).fit(second, ckpt_path=path)
    assert second.seen == first.seen[5:]


@pytest.mark.parametrize("hooks", [False, True])
def test_the_last_batch_knows_that_it_is(hooks: bool):
    class Hooks(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            assert trainer.is_last_batch == (batch_idx == 2)

    net = Net()
    pl.Trainer(max_epochs=2, callbacks=[Hooks()] if hooks else [], **QUIET).fit(net, loader(3))
    assert net.seen == [(0, False), (1, False), (2, True)] * 2


def test_a_loader_without_length_ends_when_it_has_ended():
    ends: list[bool] = []

    class Hooks(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            ends.append(trainer.is_last_batch)

    net, trainer = Net(), pl.Trainer(max_epochs=1, callbacks=[Hooks()], **QUIET)
    trainer.fit(net, DataLoader(Endless(3)))
    assert not any(last for _, last in net.seen)
    assert ends == [True]
    assert trainer.num_training_batches == math.inf


def test_loaders_and_the_module_by_their_names():
    train, val, test = loader(2), loader(1), loader(1)

    class Evaluating(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            assert self.trainer.val_dataloaders == [val]

        def test_step(self, batch: Any, batch_idx: int) -> None:
            assert self.trainer.test_dataloaders == [test]
            assert self.trainer.train_dataloader is train

    net, trainer = Evaluating(), pl.Trainer(max_epochs=1, **QUIET)
    assert (trainer.train_dataloader, trainer.val_dataloaders, trainer.model) == (None, None, None)
    assert not trainer.enable_validation
    trainer.fit(net, train, val)
    trainer.test(net, test)
    assert trainer.train_dataloader is train
    assert trainer.val_dataloaders == [val]
    assert trainer.test_dataloaders == [test]
    assert trainer.model is trainer.lightning_module is net
    assert trainer.enable_validation
    assert (trainer.num_devices, trainer.device_ids, trainer.world_size) == (1, [0], 1)


def test_how_a_run_has_ended():
    class Failing(Net):
        error: BaseException = ValueError("no")

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                if isinstance(self.error, ValueError):
                    raise self.error
                signal.raise_signal(signal.SIGINT)
            return super().training_step(batch, batch_idx)

    seen: list[Any] = []

    class Watch(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.state)

    trainer = pl.Trainer(max_epochs=1, callbacks=[Watch()], **QUIET)
    assert trainer.state.status is TrainerStatus.INITIALIZING
    net = Failing()
    with pytest.raises(ValueError, match="no"):
        trainer.fit(net, loader(3))
    assert trainer.state.status is TrainerStatus.INTERRUPTED
    net.error = KeyboardInterrupt()
    trainer.fit(net, loader(3))
    assert (trainer.state.status, trainer.interrupted) == (TrainerStatus.INTERRUPTED, True)
    assert seen[-1].status is TrainerStatus.INTERRUPTED
    assert not trainer.received_sigterm
    trainer.fit(Net(), loader(3))
    assert (trainer.state.fn, trainer.state.stage, trainer.state.finished) == (TrainerFn.FITTING, None, True)


def test_the_checkpoint_that_a_run_continues_from(tmp_path: Any):
    paths: list[Any] = []

    class Watch(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            paths.append(trainer.ckpt_path)

    trainer = pl.Trainer(max_epochs=1, callbacks=[Watch()], **QUIET)
    trainer.fit(Net(), loader(2))
    path = str(tmp_path / "a.ckpt")
    trainer.save_checkpoint(path)
    pl.Trainer(max_epochs=2, callbacks=[Watch()], **QUIET).fit(Net(), loader(2), ckpt_path=path)
    assert paths == [None, path]


def test_words_can_be_compared_with_strings():
    assert RunningStage.SANITY_CHECKING == "sanity_check"
    assert RunningStage.VALIDATING.evaluating
    assert RunningStage.VALIDATING.dataloader_prefix == "val"
    assert TrainerFn("fit") is TrainerFn.FITTING
