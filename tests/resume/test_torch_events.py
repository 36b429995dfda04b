"""torch: saved at every event of a run, from a callback between two others: each event happens exactly once."""

from __future__ import annotations

import pytest
import torch
import torchmetrics

import functrain_torch as pl
from functrain_torch.callbacks import EarlyStopping
from tests.resume import torch_cases as cases
from tests.resume.common import Counting, Saver, differences, final

CASE = cases.CASES["everything"]

IN_A_VALIDATION = (
    "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end",
    "on_validation_epoch_end",
)  # fmt: skip
BETWEEN_STEPS = (
    "on_train_start", "on_epoch_start", "on_train_epoch_start", "on_train_batch_end", "on_batch_end",
    "on_validation_end", "on_train_epoch_end", "on_epoch_end", "log_step", "checkpoint", "should_stop",
    "on_train_end", "on_fit_end",
)  # fmt: skip
IN_A_STEP = (
    "on_batch_start", "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("events")
    return cases.whole(CASE, directory, (*IN_A_VALIDATION, *BETWEEN_STEPS), counted=True)


@pytest.mark.parametrize("event", [*IN_A_VALIDATION, *BETWEEN_STEPS])
def test_every_event(event, run):
    expected, saved = run
    places = [place for place in saved if place[0] == event]
    places = [*places[::3], places[-1]]
    for place in places:
        path, rows = saved[place]
        found = cases.continued(CASE, (path, rows), counted=True)
        wanted = {**expected, "rows": expected["rows"][rows:]}
        uncounted = []
        if event == "on_train_batch_end":
            # The hook's batch is gone: who comes after the one that saved has missed it, and nothing else.
            after = found["callbacks"]["after"]["counts"]
            after["on_train_batch_end"] += 1
        if event in IN_A_VALIDATION or event == "on_epoch_end":
            # The validation is done over, so its own hooks are called again.
            uncounted = [name for name in found["callbacks"]["before"]["counts"] if "validation" in name]
            uncounted.append("on_epoch_end")
        for state in (found, wanted):
            for key in ("before", "after"):
                counts = state["callbacks"][key]["counts"]
                state["callbacks"] = {
                    **state["callbacks"],
                    key: {"counts": {name: n for name, n in counts.items() if name not in uncounted}},
                }
        assert not differences(found, wanted, f"saved at {place}: "), place


@pytest.mark.parametrize("hook", IN_A_STEP)
def test_in_the_middle_of_a_step_the_state_is_not_whole(hook, tmp_path):
    trainer, module, train, val = cases.parts(CASE, 1, [Saver(tmp_path, (hook,))])
    with pytest.raises(
        pl.ConfigurationError, match=r"called in the middle of a training step.*from on_train_batch_end"
    ):
        trainer.fit(module, train, val)
    assert not list(tmp_path.iterdir())


def test_before_training_there_is_nothing_to_save(tmp_path):
    trainer, module, train, val = cases.parts(CASE, 1, [Saver(tmp_path, ("on_pretrain_routine_end",))])
    with pytest.raises(pl.ConfigurationError, match="nothing was trained; use weights_only=True"):
        trainer.fit(module, train, val)


def test_a_checkpoint_of_a_continued_run_is_as_good(tmp_path):
    """Saved again at once, from on_train_start of the run that continues, before its first batch."""
    case = cases.CASES["own_generator"]
    expected, saved = cases.whole(case, tmp_path, ("on_train_batch_end",), every=3)
    (tmp_path / "again").mkdir()
    for place, (path, rows) in saved.items():
        saver = Saver(tmp_path / "again", ("on_train_start",))
        trainer, module, train, val = cases.parts(
            case, 98, [saver, EarlyStopping("loss_epoch", patience=9)], max_steps=0
        )
        trainer.fit(module, train, val, ckpt_path=path)
        assert trainer.global_step > 0, "a limit that lies behind ends the run"
        found = cases.continued(case, saver.saved["on_train_start", 1])
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, f"{place}: "), place


def test_after_the_run_it_can_be_trained_on(tmp_path):
    """save_checkpoint after fit; more epochs then equal those of one longer run."""
    case = cases.CASES["own_generator"]
    expected, _ = cases.whole(case, tmp_path, (), max_epochs=4)
    trainer, module, train, val = cases.parts(case, 1, cases.watchers(case))
    trainer.fit(module, train, val)
    rows = len(trainer.logger.rows)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    found = cases.continued(case, (str(tmp_path / "end.ckpt"), rows), max_epochs=4)
    assert not differences(found, {**expected, "rows": expected["rows"][rows:]})


def test_more_steps_than_the_run_that_was_cut_short(tmp_path):
    """max_steps ended a run within an epoch and a window; with more of them it goes on there."""
    case = cases.CASES["clipped"]
    expected, _ = cases.whole(case, tmp_path, ())
    for steps in range(1, 6):
        trainer, module, train, val = cases.parts(case, 1, cases.watchers(case), max_steps=steps)
        trainer.fit(module, train, val)
        path = str(tmp_path / f"{steps}.ckpt")
        trainer.save_checkpoint(path)
        trainer, module, train, val = cases.parts(case, 97, cases.watchers(case))
        trainer.fit(module, train, val, ckpt_path=path)
        found = final(trainer, [])
        for key in ("engine", "rng", "clock", "metrics"):
            assert not differences(found[key], expected[key], f"{steps} {key}")


def test_a_stop_that_waits_for_the_minima_is_not_forgotten(tmp_path):
    """EarlyStopping has asked; min_epochs is not met yet."""

    class Worse(cases.Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("worse", float(self.global_step), on_step=False, on_epoch=True)
            return loss

    def stop():
        return EarlyStopping("worse", patience=1)

    case = (Worse, cases.shuffled, {})
    flags = {"min_epochs": 3, "max_epochs": 9}
    saver = Saver(tmp_path, ("on_train_batch_end", "on_train_epoch_end"), every=2)
    trainer, module, train, val = cases.parts(case, 1, [saver, stop()], **flags)
    trainer.fit(module, train, val)
    assert trainer.current_epoch == 3
    assert trainer.should_stop
    expected = final(trainer, [])
    for path, _ in saver.saved.values():
        trainer, module, train, val = cases.parts(case, 96, [stop()], **flags)
        trainer.fit(module, train, val, ckpt_path=path)
        assert not differences(final(trainer, []), expected, path)


def test_a_callback_of_the_same_class_twice_keeps_two_states(tmp_path):
    trainer, module, train, val = cases.parts(cases.CASES["own_generator"], 1, [Twin(1), Twin(2)])
    trainer.fit(module, train, val)
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    twins = [Twin(0), Twin(0)]
    trainer, module, train, val = cases.parts(cases.CASES["own_generator"], 1, twins)
    trainer.fit(module, train, val, ckpt_path=str(tmp_path / "c.ckpt"))
    assert [twin.n for twin in twins] == [1, 2]


class Twin(pl.Callback):
    def __init__(self, n: int) -> None:
        self.n = n

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state_dict):
        self.n = state_dict["n"]


def test_older_hooks_of_a_callback(tmp_path):
    """on_save_checkpoint gives the state, on_load_checkpoint takes it; or both work on the checkpoint itself."""

    class Older(pl.Callback):
        got = None

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            return {"mine": 3}

        def on_load_checkpoint(self, callback_state):
            self.got = callback_state

    class Newer(pl.Callback):
        got = None

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            checkpoint["extra"] = torch.ones(2)

        def on_load_checkpoint(self, trainer, pl_module, checkpoint):
            self.got = checkpoint["extra"]

    case, path = cases.CASES["own_generator"], str(tmp_path / "c.ckpt")
    trainer, module, train, val = cases.parts(case, 1, [Older(), Newer()])
    trainer.fit(module, train, val)
    trainer.save_checkpoint(path)
    older, newer = Older(), Newer()
    trainer, module, train, val = cases.parts(case, 1, [older, newer])
    trainer.fit(module, train, val, ckpt_path=path)
    assert older.got == {"mine": 3}
    assert torch.equal(newer.got, torch.ones(2))


def test_loaders_are_asked_for_again(tmp_path):
    """reload_dataloaders_every_n_epochs: new loaders by epoch, of other lengths, found again at every batch."""

    class Reloading(cases.Plain):
        def train_dataloader(self):
            n = (3 + self.current_epoch % 2) * cases.SIZE
            return torch.utils.data.DataLoader(
                torch.utils.data.TensorDataset(*cases.samples(n)), batch_size=cases.SIZE, shuffle=True
            )

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.net(batch[0]).mean())

    case = (Reloading, lambda: None, {"reload_dataloaders_every_n_epochs": 1, "accumulate_grad_batches": 2})
    saver = Saver(tmp_path, ("on_train_batch_end",))
    trainer, module, train, val = cases.parts(case, 1, [saver], max_epochs=3)
    trainer.fit(module, train, val)
    assert len(saver.saved) == 3 + 4 + 3
    assert trainer.global_step == 2 + 2 + 2
    assert sum("val_loss" in row for _, row in trainer.logger.rows) == 3
    expected = final(trainer, trainer.logger.rows)
    for path, rows in saver.saved.values():
        trainer, module, train, val = cases.parts(case, 95, [], max_epochs=3)
        trainer.fit(module, train, val, ckpt_path=path)
        found = final(trainer, trainer.logger.rows)
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, path)


@pytest.mark.filterwarnings("ignore:val_dataloader. its sampler has shuffling enabled:UserWarning")
def test_validation_data_is_drawn_as_in_the_whole_run(tmp_path):
    """A validation loader that shuffles with a generator of its own."""
    flags = {"limit_val_batches": 1}
    saver = Saver(tmp_path, ("on_train_batch_end", "on_validation_batch_end"), every=3)
    trainer, module, train, val = cases.parts(CASE, 1, [saver], cases.shuffled_validation, **flags)
    trainer.fit(module, train, val)
    expected = final(trainer, trainer.logger.rows)
    for path, rows in saver.saved.values():
        trainer, module, train, val = cases.parts(CASE, 94, [], cases.shuffled_validation, **flags)
        trainer.fit(module, train, val, ckpt_path=path)
        found = final(trainer, trainer.logger.rows)
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, path)


def test_counting_counts():
    counting = Counting()
    trainer, module, train, val = cases.parts(CASE, 1, [counting])
    trainer.fit(module, train, val)
    assert counting.counts["on_train_batch_end"] == cases.EPOCHS * cases.BATCHES
    assert counting.counts["on_validation_end"] == 4
    assert counting.counts["on_epoch_end"] == 4 + cases.EPOCHS


def test_a_metric_that_checkpoints_do_not_see(tmp_path):
    """Kept in a list it is no submodule: that is said when a checkpoint is taken."""

    class Loose(cases.Plain):
        def __init__(self):
            super().__init__()
            self.metrics = [torchmetrics.MeanMetric()]

        def training_step(self, batch, batch_idx):
            self.metrics[0].update(batch[0].mean())
            self.log("mean", self.metrics[0], on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    trainer, module, train, val = cases.parts((Loose, cases.shuffled, {}), 1, [], max_steps=2)
    trainer.fit(module, train, val)
    with pytest.warns(UserWarning, match=r"self\.log\('mean', \.\.\.\): the metric object is no part of Loose"):
        trainer.save_checkpoint(tmp_path / "c.ckpt")
