"""A first epoch that has trained nothing says so."""

from typing import Any

import pytest
import torch

from tests import inside
from tests.adapters.torch.small import Net, batches, stream, trainer

GAVE_NONE = r"without a single update: \w+\.training_step gave None for its batches; was `return loss` forgotten"


class Forgotten(Net):
    """Loses its loss."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.loss(batch)


@pytest.mark.parametrize("loader", [batches(3), stream(3)])
@pytest.mark.parametrize(
    "flags", [{}, {"accumulate_grad_batches": 2}, {"accumulate_grad_batches": 9}, {"max_steps": 2}]
)
def test_a_forgotten_return_loss_is_told_once(loader: Any, flags: dict[str, Any]):
    with pytest.warns(UserWarning, match=GAVE_NONE) as told:
        trainer(max_epochs=3, **flags).fit(Forgotten(), loader)
    assert len([w for w in told if "without a single update" in str(w.message)]) == 1


def test_gradients_that_were_never_finite_are_told():
    class Infinite(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) * float("inf")

    with pytest.warns(UserWarning, match=r"no update's gradients were finite.*Infinite.training_step"):
        trainer(max_epochs=2, precision=16).fit(Infinite(), batches(3))


def test_one_batch_with_a_loss_is_enough():
    class Sometimes(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) if batch_idx == 1 else None

    trainer(max_epochs=2).fit(Sometimes(), batches(3))


def test_a_first_epoch_that_a_limit_cuts_within_its_first_window_is_no_mistake():
    class Stops(Net):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = True

    trainer(max_epochs=2, min_epochs=0, accumulate_grad_batches=3).fit(Stops(), batches(6))


def test_a_module_that_optimizes_by_hand_may_train_nothing():
    class ByHand(Forgotten):
        automatic_optimization = False

    trainer(max_epochs=2).fit(ByHand(), batches(3))


def test_an_update_whose_batches_were_all_skipped_counts_as_skipped():
    class Sometimes(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch) if batch_idx == 1 else None

    run = trainer(max_epochs=1)
    run.fit(Sometimes(), batches(3))
    assert (run.global_step, int(inside.clock(run).skipped)) == (3, 2)
    assert inside.train_state(run).moved
    assert torch.isfinite(next(run.module.parameters())).all()


def test_a_hook_that_skips_every_batch_is_told():
    class Skips(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int:
            return -1

    with pytest.warns(UserWarning, match=r"without a single update: on_train_batch_start returned -1 for its first"):
        trainer(max_epochs=2).fit(Skips(), batches(3))
