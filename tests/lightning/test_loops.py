"""Steps, schedules and optimization by hand, as scripts of the 2.x generation write them: pytorch_lightning's bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

import functrain_torch
from tests.lightning.bodies import BASES, Body, loader, trainer

if TYPE_CHECKING:
    Base = functrain_torch.LightningModule
else:
    Base = object

# pytorch_lightning warns of few workers, and of a torch that it does not know yet.
quiet = pytest.mark.filterwarnings(
    "ignore:.*num_workers:UserWarning",
    "ignore:`training_step` returned `None`:UserWarning",
    "ignore:.*LeafSpec:FutureWarning",
)


class Noting(Body):
    """Notes what its hooks see."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), 0.1, momentum=0.9)

    def requiring(self) -> list[bool]:
        return [p.requires_grad for p in self.parameters()]


class WarmUp(Noting):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
        optimizer.step(closure=optimizer_closure)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * min(1.0, (self.trainer.global_step + 1) / 8)


class EverySecond(Noting):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if batch_idx % 2 == 0:
            optimizer.step(closure=optimizer_closure)
        else:
            optimizer_closure()


class AllTheArguments(Noting):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)


class ByName(Noting):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
        super().optimizer_step(
            epoch=epoch, batch_idx=batch_idx, optimizer=optimizer, optimizer_closure=optimizer_closure
        )


class ByPlace(Noting):
    """Hands everything on as it comes, LBFGS' closure too."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        super().lr_scheduler_step(scheduler, metric)

    def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        super().backward(loss, *args, **kwargs)


class LbfgsByPlace(ByPlace):
    def configure_optimizers(self) -> Any:
        return LBFGS(self.parameters(), 0.1, max_iter=5)


class Clips(Noting):
    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        self.clip_gradients(optimizer, gradient_clip_val=0.1 + 0.1 * self.current_epoch, gradient_clip_algorithm="norm")


class Lbfgs(Noting):
    def configure_optimizers(self) -> Any:
        return LBFGS(self.parameters(), 0.1, max_iter=5)


class TwoSchedulers(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        by_step = {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step"}
        return [optimizer], [by_step, StepLR(optimizer, 1, 0.5)]


class Sequential(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        parts: list[Any] = [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 10)]
        scheduler = SequentialLR(optimizer, parts, [4])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class OneCycleOfTheRun(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1, momentum=0.9)
        scheduler = OneCycleLR(optimizer, 0.2, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class EveryThirdStep(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        scheduler = {"scheduler": ExponentialLR(optimizer, 0.5), "interval": "step", "frequency": 3}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


class EverySecondEpoch(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        return [{"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 1, 0.5), "frequency": 2}}]


class PlateauByStep(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        scheduler = ReduceLROnPlateau(optimizer, patience=1, threshold=10.0)
        timing = {"monitor": "loss", "interval": "step", "frequency": 2}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **timing}}


class PlateauByEpoch(Noting):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}


class OwnSchedulerStep(TwoSchedulers):
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.notes.append(metric)
        scheduler.step()


class ZeroGrad(Noting):
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        self.notes.append(batch_idx)
        optimizer.zero_grad(set_to_none=False)


class Hooks(Noting):
    def on_before_zero_grad(self, optimizer: Any) -> None:
        self.notes.append("zero")

    def on_before_backward(self, loss: Any) -> None:
        self.notes.append("before")

    def on_after_backward(self) -> None:
        self.notes.append("after")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        assert self.first.weight.grad is not None
        self.notes.append(self.first.weight.grad.norm().item())


class OwnBackward(Noting):
    def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        self.notes.append((args, kwargs))
        loss.backward(*args, **kwargs)


class Skips(Noting):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx == 2 else {"loss": self.loss(batch), "more": batch.sum()}


class OfTheBatchAlone(Noting):
    def training_step(self, batch: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.loss(batch)


# by hand


class ByHand(Noting):
    """Two optimizers, which play one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return SGD(self.first.parameters(), 0.1, momentum=0.5), Adam(self.last.parameters(), 0.01)

    def step_of(self, optimizer: Any, batch: Any) -> None:
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        self.notes.append(self.requiring())
        optimizer.step()


class Game(ByHand):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            self.step_of(optimizer, batch)
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
            self.untoggle_optimizer(optimizer)
        self.notes.append(self.requiring())


class InBlocks(ByHand):
    """A bias of one of them is frozen, and stays so."""

    def __init__(self) -> None:
        super().__init__()
        self.first.bias.requires_grad = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        one, two = self.optimizers()
        with one.toggle_model(sync_grad=True):
            self.step_of(one, batch)
        self.notes.append(self.requiring())
        with self.toggled_optimizer(two):
            self.step_of(two, batch)
        self.notes.append(self.requiring())


class LbfgsByHand(ByHand):
    def configure_optimizers(self) -> Any:
        return LBFGS(self.parameters(), 0.1, max_iter=5)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()

        def closure() -> Any:
            loss = self.loss(batch)
            optimizer.zero_grad()
            self.manual_backward(loss)
            return loss

        optimizer.step(closure=closure)


class AccumulatesByHand(ByHand):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        return {"optimizer": optimizer, "lr_scheduler": StepLR(optimizer, 1, 0.5)}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        self.manual_backward(self.loss(batch) / 2)
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()


class PlateauByHand(ByHand):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer, patience=0, threshold=10.0)}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.log("epoch_loss", self.loss(batch), on_step=False, on_epoch=True)
        self.step_of(self.optimizers(), batch)

    def on_train_epoch_end(self) -> None:
        self.lr_schedulers().step(self.trainer.callback_metrics["epoch_loss"])


class SchedulerMadeLate(ByHand):
    """Of the optimizer that it is handed."""

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), 0.1)

    def on_train_start(self) -> None:
        self.late = StepLR(self.optimizers(), 2, 0.5)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        assert isinstance(self.optimizers(), torch.optim.Optimizer)
        self.step_of(self.optimizers(), batch)
        self.late.step()
        self.notes.append(self.optimizers().param_groups[0]["lr"])


AUTOMATIC: list[Any] = [
    WarmUp, EverySecond, AllTheArguments, ByName, ByPlace, LbfgsByPlace, Clips, Lbfgs, TwoSchedulers, Sequential,
    OneCycleOfTheRun, EveryThirdStep, EverySecondEpoch, PlateauByStep, PlateauByEpoch, OwnSchedulerStep, ZeroGrad,
    Hooks, OwnBackward, Skips, OfTheBatchAlone,
]  # fmt: skip
MANUAL: list[Any] = [
    Game, InBlocks, LbfgsByHand, AccumulatesByHand, PlateauByHand, SchedulerMadeLate
]  # fmt: skip


def ran(who: str, body: Any, **flags: Any) -> Any:
    module = type(body.__name__, (body, BASES[who]), {})()
    trainer(who, **flags).fit(module, loader(), loader())
    return module


def check_same(body: Any, **flags: Any) -> None:
    theirs, ours = ran("theirs", body, **flags), ran("ours", body, **flags)
    assert ours.seen.keys() == theirs.seen.keys()
    for place, weights in theirs.seen.items():
        assert torch.equal(ours.seen[place], weights), place
    assert ours.notes == theirs.notes
    assert ours.requiring() == theirs.requiring()


@quiet
@pytest.mark.parametrize("body", [*AUTOMATIC, *MANUAL])
def test_same_bits(body: Any):
    check_same(body)


@quiet
@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("body", [Noting, Lbfgs, Game, InBlocks, LbfgsByHand, AccumulatesByHand, TwoSchedulers])
def test_same_bits_at_another_precision(body: Any, precision: str):
    check_same(body, precision=precision)


@quiet
@pytest.mark.parametrize("flags", [
    {"gradient_clip_val": 0.1}, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    {"accumulate_grad_batches": 2}, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
])  # fmt: skip
@pytest.mark.parametrize(
    "body", [Noting, WarmUp, ByPlace, TwoSchedulers, OneCycleOfTheRun, ZeroGrad, Hooks, OwnBackward]
)
def test_same_bits_with_windows_and_bounds(body: Any, flags: dict[str, Any]):
    check_same(body, **flags)


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
@pytest.mark.parametrize("who", ["theirs", "ours"])
@quiet
def test_new_tensors_are_of_the_precision(who: str, precision: str, dtype: torch.dtype):
    class Makes(Noting):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.notes += [torch.ones(1).dtype, batch.dtype]
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.notes += [torch.ones(1).dtype, batch.dtype]

    assert set(ran(who, Makes, precision=precision).notes) == {dtype}
    assert torch.get_default_dtype() == torch.float32
