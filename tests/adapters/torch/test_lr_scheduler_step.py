"""The module's own `lr_scheduler_step`, in the forms of both generations, for schedulers of both intervals."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from tests import inside
from tests.adapters.torch.small import Net, Validated, batches, trainer


class Model(Net):
    """Two optimizers, each with a scheduler."""

    def __init__(self, interval: str) -> None:
        super().__init__()
        self.interval = interval
        self.told: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.SGD(self.net[i].parameters(), 0.1) for i in (0, 3)]
        schedulers = [{"scheduler": ExponentialLR(o, 0.5), "interval": self.interval} for o in optimizers]
        return optimizers, schedulers


class First(Model):
    def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
        self.told.append((self.global_step, optimizer_idx, metric))
        scheduler.step()


class Second(Model):
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.told.append((self.global_step, metric))
        super().lr_scheduler_step(scheduler, metric)


def rates(run: Any) -> list[float]:
    return inside.rates(run)


@pytest.mark.parametrize(("interval", "at"), [("step", [1, 2, 3, 4]), ("epoch", [2, 4])])
def test_ones_own_lr_scheduler_step_is_called_with_the_optimizers_index(interval: str, at: list[int]):
    model = First(interval)
    run = trainer(max_epochs=2)
    run.fit(model, batches(2))
    assert model.told == [(step, player, None) for step in at for player in (0, 1)]
    assert rates(run) == pytest.approx([0.1 * 0.5 ** len(at)] * 2)


@pytest.mark.parametrize(("interval", "at"), [("step", [1, 2, 3, 4]), ("epoch", [2, 4])])
def test_ones_own_lr_scheduler_step_of_the_second_generation_is_called(interval: str, at: list[int]):
    model = Second(interval)
    run = trainer(max_epochs=2)
    run.fit(model, batches(2))
    assert model.told == [(step, None) for step in at for _ in (0, 1)]
    assert rates(run) == pytest.approx([0.1 * 0.5 ** len(at)] * 2)


def test_ones_own_lr_scheduler_step_gets_the_metric_that_a_plateau_monitors():
    class Plateau(Validated):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[Any] = []

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            plateau = ReduceLROnPlateau(optimizer, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}

        def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
            self.told.append((float(metric), float(self.trainer.callback_metrics["val_loss"])))
            super().lr_scheduler_step(scheduler, optimizer_idx, metric)

    model = Plateau()
    trainer(max_epochs=3).fit(model, batches(2), batches(1))
    assert len(model.told) == 3
    assert all(metric == logged for metric, logged in model.told)
    assert model.lr_schedulers().last_epoch == 3


@pytest.mark.parametrize(
    ("args", "named", "given"),
    [
        ((None,), {}, ()),
        ((0, None), {}, ()),
        ((0.5,), {}, (0.5,)),
        ((0, 0.5), {}, (0.5,)),
        ((0,), {"metric": None}, ()),
        ((), {"optimizer_idx": 0, "metric": 0.5}, (0.5,)),
        ((), {}, ()),
    ],
)
def test_the_default_steps_the_scheduler_however_it_is_called(args: Any, named: Any, given: Any):
    class Scheduler:
        def step(self, *args: Any) -> None:
            self.given = args

    scheduler = Scheduler()
    Net().lr_scheduler_step(scheduler, *args, **named)
    assert scheduler.given == given
