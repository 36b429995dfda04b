"""The loss scale where optimizers are stepped by hand: as torch.amp.GradScaler's users know it, an optimizer each and
`update()` before the next backward."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import functrain_torch as pl
from tests import inside
from tests.adapters.torch.small import Net, batches, trainer


class Line(pl.LightningModule):
    """Parts of one weight each, and losses of any slope."""

    automatic_optimization = False

    def __init__(self, parts: int = 1) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(parts))
        for part in self.parts:
            nn.init.zeros_(part.weight)
        self.seen: list[list[float]] = []

    def weights(self) -> list[float]:
        return [part.weight.item() for part in self.parts]

    def loss(self, part: int, slope: float) -> Any:
        # Its gradient passes through float16, where 2**16 is one too much.
        return self.parts[part].weight.sum().half().float() * slope

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.SGD(part.parameters(), lr=1.0) for part in self.parts]
        return optimizers if len(optimizers) > 1 else optimizers[0]


def fitted(model: pl.LightningModule, n: int = 1, **flags: Any) -> pl.Trainer:
    run = trainer(**{"max_epochs": 1, "precision": 16, **flags})
    run.fit(model, batches(n))
    return run


def test_an_overflow_in_the_first_of_three_steps_skips_that_step_alone():
    class ThreeSteps(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            opt = self.optimizers()
            for _ in range(3):
                opt.zero_grad()
                # 2**16 is one too much for float16, half of it is not.
                self.manual_backward(self.loss(0, 1.0))
                opt.step()
                self.seen.append(self.weights())

    model = ThreeSteps()
    run = fitted(model)
    assert model.seen == [[0.0], [-1.0], [-2.0]]
    assert inside.loss_scales(run) == [2.0**15]
    assert inside.clock(run).skipped == 1


def test_gradients_that_wait_for_their_step_are_unscaled_by_the_scale_that_they_have():
    """The second part gathers gradients over three batches, while the first one's overflows move the scale."""

    class Waiting(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            first.zero_grad()
            self.manual_backward(self.loss(0, 1.0 if batch_idx else 4.0))
            self.manual_backward(self.loss(1, 0.125))
            first.step()
            if batch_idx == 2:
                second.step()
            self.seen.append(self.weights())

    model = Waiting(2)
    run = fitted(model, 3)
    assert [first for first, _ in model.seen] == [0.0, -1.0, -2.0]
    assert model.seen[-1][1] == -0.375
    assert inside.loss_scales(run) == [2.0**15] * 2


def test_gradients_that_are_kept_after_a_step_count_on_in_the_next():
    class Keeping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(0, 0.125))
            self.optimizers().step()

    model, plain = Keeping(), Keeping()
    fitted(model, 4)
    fitted(plain, 4, precision=32)
    assert model.weights() == plain.weights() == [-1.25]


def test_gradients_are_clipped_by_hand_as_they_are_unscaled():
    class Clipping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            opt = self.optimizers()
            opt.zero_grad()
            self.manual_backward(self.loss(0, 0.5))
            self.clip_gradients(opt, gradient_clip_val=0.25, gradient_clip_algorithm="value")
            opt.step()

    model = Clipping()
    fitted(model)
    assert model.weights() == [-0.25]


def test_an_overflow_that_was_clipped_is_an_overflow():
    class Clipping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            opt = self.optimizers()
            opt.zero_grad()
            self.manual_backward(self.loss(0, 1.0))
            self.clip_gradients(opt, gradient_clip_val=0.25, gradient_clip_algorithm="value")
            opt.step()
            self.seen.append(self.weights())

    model = Clipping()
    fitted(model, 2)
    assert model.seen == [[0.0], [-0.25]]


def test_a_weight_of_two_optimizers_is_unscaled_once():
    class Shared(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(0, 0.125))
            for opt in self.optimizers():
                opt.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=1.0) for _ in range(2)]

    model = Shared()
    fitted(model)
    assert model.weights() == [-0.25]


def test_torchs_own_step_with_scaled_gradients_is_told_once():
    class Own(Net):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            opt = self.optimizers(use_pl_optimizer=False)
            opt.zero_grad()
            self.manual_backward(self.loss(batch) * 1e-6)
            opt.step()

    with pytest.warns(
        UserWarning, match=r"Own: SGD\.step\(\) is torch's own, and takes gradients .* scaled by 65536"
    ) as told:
        fitted(Own(), 3)
    assert len(told) == 1

    class Plain(Own):
        def manual_backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
            loss.backward()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(Plain(), 3)


def test_a_run_continues_with_the_gradients_of_a_step_that_keeps_them(tmp_path):
    class Keeping(Line):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(0, 0.125))
            if batch_idx % 2:
                self.optimizers().step()

    whole, half = Keeping(), Keeping()
    fitted(whole, 8)
    run = trainer(max_epochs=1, precision=16, limit_train_batches=8, max_steps=2)
    run.fit(half, batches(8))
    run.save_checkpoint(tmp_path / "half.ckpt")
    rest = copy.deepcopy(half)
    fitted(rest, 8, resume_from_checkpoint=tmp_path / "half.ckpt")
    assert rest.weights() == whole.weights()
