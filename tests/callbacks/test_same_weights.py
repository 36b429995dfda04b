"""The same weights fill one place among the checkpoints that are kept."""

from functrain.callbacks import ModelCheckpoint
from tests import inside
from tests.callbacks.helpers import Scripted, fit, names


def test_validations_within_an_accumulation_window_save_the_same_weights_once(make, tmp_path):
    saver = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=-1, filename="{step}")
    run = make(saver, max_epochs=2, accumulate_grad_batches=2, val_check_interval=1)
    fit(run, Scripted(lambda step: 10.0 - step))
    assert names(tmp_path) == [f"step={n}.ckpt" for n in range(5)]


def test_a_run_that_continues_within_a_window_saves_the_same_weights_once(make, tmp_path):
    flags = {"max_epochs": 1, "accumulate_grad_batches": 4, "val_check_interval": 1, "min_epochs": 0}
    saver = ModelCheckpoint(tmp_path / "a", monitor="val_loss", save_top_k=4, filename="{step}", save_last=True)
    run = make(saver, **flags)
    module = Scripted(lambda step: 10.0 - step)
    module.on_train_batch_end = lambda outputs, batch, batch_idx: setattr(run, "should_stop", batch_idx == 1)
    fit(run, module)
    assert inside.position(run)[1:] == (2, 0)
    again = ModelCheckpoint(tmp_path / "a", monitor="val_loss", save_top_k=4, filename="{step}", save_last=True)
    run = make(again, **flags)
    module = Scripted(lambda step: 10.0 - step)
    module.on_train_start = lambda: setattr(run, "should_stop", False)
    fit(run, module, ckpt_path=str(tmp_path / "a" / "last.ckpt"))
    assert [name for name in names(tmp_path / "a") if name.startswith("step")] == ["step=0.ckpt", "step=1.ckpt"]
