"""What scripts do that means little, and that the run goes on with: no optimizer, keys that nobody knows, a class in a
callback's state, the Trainer's own counts as what is monitored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch as pl
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from tests import inside
from tests.adapters.torch.small import Net, batches, same, trainer


class Frozen(Net):
    """Trains nothing."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> None:
        return None


@pytest.mark.parametrize(
    "flags", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}, {"precision": "bf16"}]
)
def test_no_optimizer(flags: dict[str, Any], tmp_path: Path):
    model, before = Frozen(), Frozen()
    before.load_state_dict(model.state_dict())
    run = trainer(max_epochs=2, **flags)
    with pytest.warns(UserWarning, match="Frozen.configure_optimizers returned None: the run goes on") as told:
        run.fit(model, batches(4), batches(2))
    assert len(told) == 1
    assert same(model, before)
    assert run.current_epoch == 2
    run.save_checkpoint(tmp_path / "a.ckpt")
    again = trainer(max_epochs=3, **flags)
    with pytest.warns(UserWarning, match="returned None"):
        again.fit(Frozen(), batches(4), ckpt_path=tmp_path / "a.ckpt")
    assert again.current_epoch == 3


def test_an_own_step_without_an_optimizer_evaluates():
    losses: list[float] = []

    class Own(Frozen):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
            losses.append(float(optimizer.step(optimizer_closure)))

    with pytest.warns(UserWarning, match="returned None"):
        trainer(max_epochs=1).fit(Own(), batches(3))
    assert len(losses) == 3


@pytest.mark.parametrize("of", ["", " of lr_scheduler"])
def test_keys_that_nobody_knows(of: str):
    class Keyed(Net):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            scheduler: dict[str, Any] = {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}
            given: dict[str, Any] = {"optimizer": optimizer, "lr_scheduler": scheduler}
            (scheduler if of else given).update({"zzz": 1, "purpose": 2})
            return given

    run = trainer(max_epochs=2)
    with pytest.warns(RuntimeWarning, match=f"unknown keys 'zzz', 'purpose'{of}, left aside; the keys are") as told:
        run.fit(Keyed(), batches(2))
    assert len(told) == 1
    assert inside.rates(run) == [pytest.approx(0.001)]


class Holds(pl.Callback):
    """Has a class in its state."""

    taken: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"kind": torch.nn.ReLU, "n": 3}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.taken = state_dict


def test_a_class_in_a_callbacks_state(tmp_path: Path):
    run = trainer(max_epochs=1, callbacks=[Holds()])
    run.fit(Net(), batches(2))
    with pytest.warns(UserWarning, match=r"callbacks\.Holds\.kind\] holds the class torch.*ReLU.*as its name") as told:
        run.save_checkpoint(tmp_path / "a.ckpt")
    assert len(told) == 1
    run.save_checkpoint(tmp_path / "a.ckpt")  # and does not say it again
    again = Holds()
    trainer(max_epochs=2, callbacks=[again]).fit(Net(), batches(2), ckpt_path=tmp_path / "a.ckpt")
    assert again.taken == {"kind": "torch.nn.modules.activation.ReLU", "n": 3}


class Validated(Net):
    """Validates too."""

    validation_step = Frozen.validation_step


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize(("monitor", "score"), [("epoch", 2), ("step", 9)])
def test_counts_are_monitored(monitor: str, score: int, validates: bool, tmp_path: Path):
    newest = ModelCheckpoint(tmp_path, monitor=monitor, mode="max", filename="{epoch}")
    stop = EarlyStopping(monitor, mode="max", stopping_threshold=score - 0.5, patience=9)
    run = trainer(max_epochs=9, callbacks=[newest, stop], checkpoint_callback=True)
    run.fit(Validated() if validates else Net(), batches(3), batches(1) if validates else None)
    assert run.current_epoch == 3
    assert newest.best_model_score == score
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=2.ckpt"]


def test_a_count_that_is_logged_is_the_logged_one(tmp_path: Path):
    class Logs(Net):
        def on_train_epoch_end(self) -> None:
            self.log("step", 100.0 - self.current_epoch)

    lowest = ModelCheckpoint(tmp_path, monitor="step", filename="{epoch}")
    trainer(max_epochs=3, callbacks=[lowest], checkpoint_callback=True).fit(Logs(), batches(3))
    assert lowest.best_model_score == 98.0
