"""Through the Trainer: what a user of any adapter sees is the same."""

import signal
from collections.abc import Sequence

import numpy as np
import pytest

from functrain import Callback
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.loggers import Logger
from functrain.trainer.errors import CheckpointError
from tests.conformance.kits import KITS, Wish, batches, by_hand, close, data, on_every_adapter
from tests.oracle import bits

GAN = Wish(frequencies=(2, 1))


def fitted(kit, train, wish=Wish(), val=None, ckpt_path=None, **flags):  # noqa: B008
    trainer, module = kit.trainer(**flags), kit.module(wish)
    trainer.fit(module, train, val, ckpt_path=ckpt_path)
    return trainer, module


class Rows(Logger):
    """Keeps what it is given."""

    may_lag = True
    name, version = "rows", 0

    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args):
        pass


class Act(Callback):
    """Does something at one batch of the fit, counted from its start."""

    def __init__(self, at, act):
        self.at, self.act, self.seen = at, act, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen += 1
        if self.seen == self.at:
            self.act(trainer)


FLAGS = {
    "plain": ({}, {}),
    "accumulated": ({"accumulate_grad_batches": 3}, {"window": 3}),
    "clipped by norm": ({"gradient_clip_val": 0.5}, {"clip": (0.5, "norm")}),
    "clipped by value, accumulated": (
        {"gradient_clip_val": 0.2, "gradient_clip_algorithm": "value", "accumulate_grad_batches": 2},
        {"window": 2, "clip": (0.2, "value")},
    ),
    "two optimizers in turns": ({}, {"wish": GAN}),
    "two optimizers in turns, clipped": ({"gradient_clip_val": 0.5}, {"wish": GAN, "clip": (0.5, "norm")}),
}


@on_every_adapter
@pytest.mark.parametrize(("flags", "options"), FLAGS.values(), ids=FLAGS.keys())
@pytest.mark.parametrize("looked_at", [False, True], ids=["many at once", "one by one"])
def test_a_fit_is_the_loop_that_one_would_write_by_hand(kit, flags, options, looked_at):
    callbacks = [Act(-1, print)] if looked_at else []
    trainer, module = fitted(
        kit, batches(kit, 7), options.get("wish", Wish()), max_epochs=2, callbacks=callbacks, **flags
    )
    close(kit.weights(module), by_hand(data(7), 2, **options))
    assert (trainer.current_epoch, trainer.global_step) == (2, 2 * -(-7 // options.get("window", 1)))


@on_every_adapter
@pytest.mark.parametrize("wish", [Wish(), GAN], ids=["one optimizer", "two optimizers"])
def test_the_way_of_dispatching_shows_in_no_bit(kit, wish):
    flags = {"max_epochs": 2, "accumulate_grad_batches": 1 if wish.frequencies else 3}
    _, many = fitted(kit, batches(kit, 7), wish, **flags)
    _, single = fitted(kit, batches(kit, 7), wish, callbacks=[Act(-1, print)], **flags)
    assert bits(kit.weights(many)) == bits(kit.weights(single))


@on_every_adapter
@pytest.mark.parametrize("at", [1, 2, 4, 5, 6, 9])
@pytest.mark.parametrize("wish", [Wish(), GAN], ids=["one optimizer", "two optimizers"])
def test_a_run_that_continues_from_any_batch_ends_as_the_undisturbed_one(kit, wish, at, tmp_path):
    """In bits: weights, epoch metrics, rows. Within windows too."""
    flags = {"max_epochs": 2, "accumulate_grad_batches": 1 if wish.frequencies else 3, "log_every_n_steps": 1}
    path, loggers = str(tmp_path / "saved.ckpt"), [Rows(), Rows()]
    save = Act(at, lambda trainer: trainer.save_checkpoint(path))
    through, want = fitted(kit, batches(kit, 5), wish, batches(kit, 2), callbacks=[save], logger=loggers[0], **flags)
    resumed, got = fitted(kit, batches(kit, 5), wish, batches(kit, 2), path, logger=loggers[1], **flags)
    assert bits(kit.weights(got)) == bits(kit.weights(want))
    assert numbers(resumed.callback_metrics) == numbers(through.callback_metrics)
    assert (resumed.current_epoch, resumed.global_step) == (through.current_epoch, through.global_step)
    again = loggers[1].rows
    assert again == loggers[0].rows[len(loggers[0].rows) - len(again) :]
    assert again


def numbers(metrics):
    return {name: float(value) for name, value in metrics.items()}


def test_rows_and_callback_metrics_are_alike_in_all():
    """Names, steps and order are the same; values as close as float32 is."""
    seen = {}
    for kit in KITS:
        rows = Rows()
        flags = {"max_epochs": 2, "logger": rows, "log_every_n_steps": 2, "val_check_interval": 3}
        trainer, _ = fitted(kit, batches(kit, 6), val=batches(kit, 2, seed=1), **flags)
        seen[kit.name] = rows.rows, numbers(trainer.callback_metrics)
    rows, metrics = seen.pop(KITS[0].name)
    assert {"loss", "val_loss"} <= metrics.keys()
    assert len(rows) > 6
    for other, (theirs, published) in seen.items():
        assert [(step, list(row)) for step, row in theirs] == [(step, list(row)) for step, row in rows], other
        assert list(published) == list(metrics), other
        for (step, row), (_, mine) in zip(theirs, rows, strict=True):
            np.testing.assert_allclose(list(row.values()), list(mine.values()), rtol=1e-4, atol=1e-6, err_msg=str(step))
        np.testing.assert_allclose(list(published.values()), list(metrics.values()), rtol=1e-4, atol=1e-6)


@on_every_adapter
def test_validate_test_and_predict_use_the_weights_that_were_trained(kit):
    trainer, module = fitted(kit, batches(kit, 4), max_epochs=1)
    weights, val = kit.weights(module), data(3, seed=1)
    predicted = [x @ weights["w"] + weights["b"] for x, _ in val]
    want = np.mean([((p - y) ** 2).mean() for p, (_, y) in zip(predicted, val, strict=True)])
    for evaluate in (trainer.validate, trainer.test):
        (result,) = evaluate(module, batches(kit, 3, seed=1), verbose=False)
        np.testing.assert_allclose(result["val_loss"], want, rtol=1e-5)
    got = trainer.predict(module, batches(kit, 3, seed=1))
    np.testing.assert_allclose([np.asarray(p) for p in got], predicted, rtol=1e-5, atol=1e-6)
    assert bits(kit.weights(module)) == bits(weights)


@on_every_adapter
def test_the_best_checkpoints_are_kept_and_found(kit, tmp_path):
    """Three epochs are saved, the two best stay, `test(ckpt_path='best')` takes the best one's weights."""
    saver = ModelCheckpoint(str(tmp_path / "kept"), monitor="val_loss", save_top_k=2)
    flags = {"max_epochs": 3, "callbacks": [saver], "enable_checkpointing": True}
    trainer, module = fitted(kit, batches(kit, 4), val=batches(kit, 2, seed=1), **flags)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    (result,) = trainer.test(dataloaders=batches(kit, 2, seed=1), ckpt_path="best", verbose=False)
    np.testing.assert_allclose(result["val_loss"], float(saver.best_model_score), rtol=1e-6)
    (last,) = trainer.test(module, batches(kit, 2, seed=1), ckpt_path=None, verbose=False)
    assert last["val_loss"] >= result["val_loss"]


@on_every_adapter
def test_early_stopping_ends_the_run_at_the_epoch_that_is_no_better(kit):
    stopper = EarlyStopping("val_loss", patience=0, min_delta=1e6)
    trainer, _ = fitted(kit, batches(kit, 3), val=batches(kit, 2, seed=1), max_epochs=9, callbacks=[stopper])
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)


@on_every_adapter
def test_ctrl_c_ends_the_run_after_the_batch_under_way(kit, tmp_path):
    """Whole: its weights are those of the batches that were trained, and a run continues from there."""
    press = Act(4, lambda trainer: signal.raise_signal(signal.SIGINT))
    trainer, module = fitted(kit, batches(kit, 5), max_epochs=2, callbacks=[press])
    assert (trainer.interrupted, trainer.global_step) == (True, 4)
    close(kit.weights(module), by_hand(data(4), 1))
    trainer.save_checkpoint(tmp_path / "left.ckpt")
    _, got = fitted(kit, batches(kit, 5), ckpt_path=str(tmp_path / "left.ckpt"), max_epochs=2)
    _, want = fitted(kit, batches(kit, 5), max_epochs=2)
    assert bits(kit.weights(got)) == bits(kit.weights(want))


@on_every_adapter
def test_max_steps_and_should_stop_end_within_an_epoch(kit):
    trainer, module = fitted(kit, batches(kit, 5), max_steps=3)
    assert trainer.global_step == 3
    close(kit.weights(module), by_hand(data(3), 1))

    def stop(trainer):
        trainer.should_stop = True

    trainer, module = fitted(kit, batches(kit, 5), max_epochs=9, min_epochs=0, callbacks=[Act(2, stop)])
    assert trainer.global_step == 2
    close(kit.weights(module), by_hand(data(2), 1))


@on_every_adapter
def test_a_loader_without_length_ends_where_it_ends(kit):
    class Endless:
        def __iter__(self):
            return iter(batches(kit, 5))

    trainer, module = fitted(kit, Endless(), max_epochs=2, accumulate_grad_batches=3)
    close(kit.weights(module), by_hand(data(5), 2, window=3))
    assert trainer.global_step == 4


class Lazy(Sequence):
    """Makes a batch when it is asked for it, and remembers."""

    def __init__(self, kit, n):
        self.made, self.items = [], batches(kit, n)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if i >= len(self.items):
            raise IndexError(i)
        self.made.append(i)
        return self.items[i]


@on_every_adapter
def test_a_run_that_continues_makes_no_batch_that_it_has_seen(kit, tmp_path):
    path, train = str(tmp_path / "saved.ckpt"), Lazy(kit, 6)
    _, want = fitted(
        kit, train, max_epochs=1, callbacks=[Act(4, lambda trainer: trainer.save_checkpoint(path))], log_every_n_steps=1
    )
    assert train.made == [0, 1, 2, 3, 4, 5]
    again = Lazy(kit, 6)
    _, got = fitted(kit, again, ckpt_path=path, max_epochs=1)
    assert again.made == [4, 5]
    assert bits(kit.weights(got)) == bits(kit.weights(want))


@on_every_adapter
def test_a_sequence_that_goes_through_itself_in_its_own_order_is_asked_for_it(kit, tmp_path):
    """In the first epoch, and where a run continues."""

    class Backwards(list):
        def __iter__(self):
            return reversed(self)

    save = Act(2, lambda trainer: trainer.save_checkpoint(tmp_path / "saved.ckpt"))
    _, module = fitted(kit, Backwards(batches(kit, 4)), max_epochs=1, callbacks=[save])
    close(kit.weights(module), by_hand(data(4)[::-1], 1))
    _, again = fitted(kit, Backwards(batches(kit, 4)), ckpt_path=str(tmp_path / "saved.ckpt"), max_epochs=1)
    assert bits(kit.weights(again)) == bits(kit.weights(module))


@on_every_adapter
def test_hooks_get_every_batch_with_what_its_step_gave(kit):
    losses, numbers_ = [], []

    class Look(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append(float(outputs["loss"]))
            numbers_.append((batch_idx, trainer.current_epoch, trainer.global_step))

    fitted(kit, batches(kit, 3), max_epochs=2, callbacks=[Look()])
    assert numbers_ == [(0, 0, 1), (1, 0, 2), (2, 0, 3), (0, 1, 4), (1, 1, 5), (2, 1, 6)]
    first = data(1)[0]
    start = Wish().start()
    np.testing.assert_allclose(losses[0], ((first[0] @ start["w"] + start["b"] - first[1]) ** 2).mean(), rtol=1e-5)
    assert len(losses) == 6


@on_every_adapter
def test_a_checkpoint_of_another_module_is_refused_by_name(kit, tmp_path):
    path = str(tmp_path / "wide.ckpt")
    trainer, _ = fitted(kit, batches(kit, 2, wide=True), Wish(wide=True), max_epochs=1)
    trainer.save_checkpoint(path)
    other, module = kit.trainer(max_epochs=1), kit.module()
    with pytest.raises(CheckpointError, match=r"wide\.ckpt.*is of another module than Model.*w(\.value)? \(3,\)"):
        other.fit(module, batches(kit, 2), ckpt_path=path)
    assert bits(kit.weights(module)) == bits(Wish().start())


@on_every_adapter
def test_an_error_says_where_it_happened(kit):
    def fail(trainer):
        raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned") as caught:
        fitted(kit, batches(kit, 4), max_epochs=1, callbacks=[Act(3, fail)])
    assert "in the training loop, epoch 0, batch 2" in " ".join(caught.value.__notes__)
