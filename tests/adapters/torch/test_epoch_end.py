"""The end of an epoch is one event, however it was found: by a length, by the loader's end, or by looking for it
where a limit falls due."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR

import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from functrain.trainer.callback import Callback
from tests import inside
from tests.adapters.torch.small import Net, batches, same, trainer


class Unsized:
    """The batches of a list, whose number is not told. Counts how many were asked for."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.drawn = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.drawn += 1
            yield item


class Model(Net):
    """Schedulers of both intervals, a validation; tells what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def tell(self, what: str) -> None:
        self.told.append((what, self.current_epoch, self.global_step))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def on_validation_end(self) -> None:
        self.tell("validated")

    def on_train_epoch_end(self) -> None:
        self.tell("epoch ends")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        by_step = {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step"}
        return [optimizer], [by_step, {"scheduler": ExponentialLR(optimizer, 0.5), "interval": "epoch"}]


class Events(Callback):
    """Tells when the Trainer's own events come."""

    def __init__(self, model: Model, stop_at: int | None = None) -> None:
        self.model, self.stop_at = model, stop_at

    def every_n_updates(self) -> int:
        return 2

    def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.model.tell(f"checkpoint {moment}")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.stop_at


def items(n: int) -> list[Any]:
    return list(batches(n))


def ran(loader: Any, stop_at: int | None = None, **flags: Any) -> tuple[pl.Trainer, Model]:
    torch.manual_seed(0)
    model = Model()
    run = trainer(callbacks=Events(model, stop_at), num_sanity_val_steps=0, **flags)
    run.fit(model, loader, batches(1))
    return run, model


def rate(run: pl.Trainer) -> float:
    return inside.rates(run)[0]


ENDS = {
    "by itself": ({"max_epochs": 2}, None),
    "with max_steps": ({"max_steps": 8}, None),
    "with max_steps, in its first epoch": ({"max_steps": 4}, None),
    "within max_steps": ({"max_steps": 6}, None),
    "with a stop": ({"max_epochs": 5}, 4),
    "an open window": ({"max_epochs": 2, "accumulate_grad_batches": 3}, None),
    "an open window and max_steps": ({"max_steps": 4, "accumulate_grad_batches": 3}, None),
    "a limit above its length": ({"max_epochs": 2, "limit_train_batches": 9}, None),
    "a limit above its length, and max_steps": ({"max_steps": 4, "limit_train_batches": 9}, None),
}


@pytest.mark.parametrize(("flags", "stop_at"), ENDS.values(), ids=ENDS)
def test_a_loader_without_a_length_ends_an_epoch_as_a_list_does(flags: dict[str, Any], stop_at: int | None):
    listed, known = ran(items(4), stop_at, **flags)
    found, unknown = ran(Unsized(items(4)), stop_at, **flags)
    assert inside.position(found) == inside.position(listed)
    assert rate(found) == rate(listed)
    assert sorted(unknown.told) == sorted(known.told)
    assert same(unknown, known)


def test_after_the_last_window_of_a_loader_without_a_length_it_is_log_validate_checkpoint():
    told = ran(Unsized(items(4)), max_epochs=1, accumulate_grad_batches=3)[1].told
    assert told == [
        ("validated", 0, 2), ("checkpoint steps", 0, 2), ("epoch ends", 0, 2), ("checkpoint epoch", 0, 2),
    ]  # fmt: skip


def test_a_loader_without_a_length_that_goes_on_past_max_steps_is_asked_for_one_batch_more_and_cut_short():
    loader = Unsized(items(9))
    run, model = ran(loader, max_steps=4)
    assert loader.drawn == 5
    assert inside.position(run) == (0, 4, 4)
    assert "validated" not in [what for what, *_ in model.told]


def test_the_batch_that_was_looked_at_past_max_steps_is_trained_by_the_run_that_continues(tmp_path: Any):
    whole = ran(Unsized(items(9)), max_epochs=1)[1]
    run, _ = ran(Unsized(items(9)), max_steps=4)
    run.save_checkpoint(tmp_path / "a.ckpt")
    model = Model()
    trainer(max_epochs=1).fit(model, Unsized(items(9)), batches(1), ckpt_path=str(tmp_path / "a.ckpt"))
    assert same(model, whole)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_batch_end", "on_validation_end", "on_train_epoch_end"])
def test_a_run_that_continues_from_any_hook_of_the_last_batch_ends_as_the_whole(tmp_path: Any, hook: str):
    """The end that was found by looking is found again, or known."""
    path = tmp_path / "a.ckpt"

    class Saves(Callback):
        def save(self, trainer: Any) -> None:
            if trainer.global_step == 4 and not trainer.sanity_checking and not path.exists():
                trainer.save_checkpoint(path)

    setattr(Saves, hook, lambda self, trainer, pl_module: self.save(trainer))
    torch.manual_seed(0)
    whole = trainer(callbacks=Saves(), max_steps=4, num_sanity_val_steps=0)
    whole.fit(Model(), Unsized(items(4)), batches(1))
    run = trainer(max_steps=4)
    run.fit(Model(), Unsized(items(4)), batches(1), ckpt_path=str(path))
    assert inside.clock(run) == inside.clock(whole)
    assert run.current_epoch == 1
    assert rate(run) == rate(whole)
    assert run.callback_metrics == whole.callback_metrics


def test_an_epoch_that_is_shorter_than_its_loaders_length_is_validated():
    class Lying(Unsized):
        def __len__(self) -> int:
            return 9

    assert ("validated", 0, 4) in ran(Lying(items(4)), max_epochs=1)[1].told


def test_a_checkpoint_at_an_epochs_end_names_the_epoch_that_ends(tmp_path: Any):
    """In its file, in the hook, and for the run that continues from it."""

    class Tells(Model):
        def on_save_checkpoint(self, checkpoint: Any) -> None:
            self.told.append((checkpoint["epoch"], self.current_epoch, self.trainer.current_epoch))

    model = Tells()
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    trainer(callbacks=saver, checkpoint_callback=True, max_epochs=3).fit(model, items(2), batches(1))
    assert [told for told in model.told if told[0] != "validated" and told[0] != "epoch ends"] == [
        (0, 0, 0), (1, 1, 1), (2, 2, 2),
    ]  # fmt: skip
    saved = torch.load(tmp_path / "epoch=1.ckpt", weights_only=True)
    assert saved["epoch"] == 1
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    run, again = trainer(callbacks=saver, checkpoint_callback=True, max_epochs=3), Model()
    run.fit(again, items(2), batches(1), ckpt_path=str(tmp_path / "epoch=1.ckpt"))
    assert run.current_epoch == 3
    assert same(again, model)
    assert again.told == [("validated", 2, 6), ("epoch ends", 2, 6)]


def test_continuing_from_the_last_epochs_end_says_that_nothing_is_left(tmp_path: Any, capsys: Any):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}")
    trainer(callbacks=saver, checkpoint_callback=True, max_epochs=2).fit(Model(), items(2), batches(1))
    saver = ModelCheckpoint(tmp_path, filename="{epoch}")
    run = trainer(callbacks=saver, checkpoint_callback=True, max_epochs=2)
    run.fit(Model(), items(2), batches(1), ckpt_path=str(tmp_path / "epoch=1.ckpt"))
    assert "Nothing is left to train there" in capsys.readouterr().out
