"""The end of an epoch is one event, however it was found, in dispatches of many batches too."""

from typing import Any

import numpy as np
import pytest

from functrain.seed import seed_everything
from functrain.trainer.callback import Callback
from tests import inside
from tests.adapters.jax.common import Batches, Endless, Plain, everything, same, trainer


class Model(Plain):
    def validation_step(self, batch: Any, batch_idx: Any) -> None:
        self.log("val_loss", self(batch[0]).mean())


class Events(Callback):
    """Tells when the Trainer's own events come; asks to stop after a validation."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.told: list[Any] = []
        self.stop_at = stop_at

    def every_n_updates(self) -> int:
        return 2

    def tell(self, what: str, trainer: Any) -> None:
        self.told.append((what, trainer.current_epoch, trainer.global_step))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.tell("validated", trainer)

    def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.tell(f"checkpoint {moment}", trainer)

    def should_stop(self, trainer: Any, pl_module: Any, moment: str) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.stop_at


ENDS = {
    "by itself": {"max_epochs": 2},
    "with max_steps": {"max_steps": 8},
    "within max_steps": {"max_steps": 6},
    "an open window": {"max_epochs": 2, "accumulate_grad_batches": 3},
    "an open window and max_steps": {"max_steps": 4, "accumulate_grad_batches": 3},
    "a limit above its length": {"max_epochs": 2, "limit_train_batches": 9},
}


@pytest.mark.parametrize("flags", ENDS.values(), ids=ENDS)
def test_a_loader_without_a_length_ends_an_epoch_as_a_list_does(flags: dict[str, Any]):
    results = []
    for kind in (list, Endless):
        seed_everything(1)
        events = Events()
        run = trainer(callbacks=events, num_sanity_val_steps=0, **flags)
        run.fit(Model(), kind(list(Batches(n=32))), Batches(n=8))
        results.append((inside.position(run), sorted(events.told), everything(run)))
    known, found = results
    assert found[:2] == known[:2]
    same(found[2], known[2])


def test_a_checkpoint_at_an_epochs_end_names_the_epoch_that_ends(tmp_path: Any):
    class Saves(Callback):
        def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    class Tells(Model):
        epochs: tuple[Any, ...] = ()

        def on_save_checkpoint(self, checkpoint: Any) -> None:
            Tells.epochs += (checkpoint["epoch"],)

    run = trainer(callbacks=Saves(), max_epochs=3)
    run.fit(Tells(), Batches(n=32), Batches(n=8))
    assert Tells.epochs == (0, 1, 2)
    again = trainer(callbacks=Saves(), max_epochs=3)
    again.fit(Model(), Batches(n=32), Batches(n=8), ckpt_path=str(tmp_path / "1.ckpt"))
    assert inside.position(again) == inside.position(run) == (3, 0, 12)
    assert np.isfinite(float(again.callback_metrics["val_loss"]))
    same(everything(again), everything(run))
