"""A short fit within a run: inside it the Trainer is that of the short fit, afterwards the run goes on as if there had
been none."""

from __future__ import annotations

import csv
import os
import signal

import numpy as np
import pytest

from functrain import Callback, seed_everything
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.loggers import CSVLogger
from functrain.trainer.errors import ConfigurationError
from tests.stacked.worlds import BATCHES, WORLDS, Shuffled, WithPlace

MOMENTS = (
    "on_fit_start", "setup", "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start", "on_train_batch_end",
    "on_validation_start", "on_validation_batch_end", "on_validation_end", "on_train_epoch_end", "on_train_end",
)  # fmt: skip


@pytest.fixture(params=list(WORLDS))
def world(request):
    return WORLDS[request.param]()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What is seen of a run without a short fit, by the class of its loader, in each world."""
    seen = {}

    def of(world, loader=Shuffled):
        key = type(world), loader
        if key not in seen:
            seen[key] = outer(world, tmp_path_factory.mktemp("undisturbed"), loader=loader)[1]
        return seen[key]

    return of


def tuner(hook, call, number=0):
    """A callback that overrides this hook alone."""

    def at(self, trainer, pl_module, *args, **kwargs):
        self.left -= 1
        if self.left == -1:
            call(trainer, pl_module)

    return type("Tunes", (Callback,), {hook: at, "left": number})()


class Watches(Callback):
    """Keeps the position and what is logged at every batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append((trainer.current_epoch, trainer.global_step, batch_idx, float(outputs["loss"])))
        self.seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def outer(world, folder, *callbacks, loader=Shuffled, **flags):
    """A fit with all that could be disturbed, and what is seen of it."""
    seed_everything(1)
    watches = Watches()
    saves = ModelCheckpoint(folder, "{epoch}", monitor="val_loss", save_top_k=-1)
    quiet = {"progress_bar_refresh_rate": 0, "weights_summary": None, "num_sanity_val_steps": 0}
    trainer = world.package.Trainer(
        default_root_dir=folder, logger=CSVLogger(folder, name="logs"), log_every_n_steps=1, max_epochs=3,
        accumulate_grad_batches=4, gradient_clip_val=0.5,
        callbacks=[*callbacks, watches, EarlyStopping("val_loss", patience=9), saves], **{**quiet, **flags},
    )  # fmt: skip
    module = world.Module()
    trainer.fit(module, loader(world.array), Shuffled(world.array))
    with open(os.path.join(trainer.logger.log_dir, "metrics.csv"), newline="") as file:
        rows = list(csv.reader(file))
    return trainer, {
        "seen": watches.seen, "rows": rows, "weights": world.weights(module), "drawn": np.random.random(),
        "saved": [os.path.basename(path) for path in saves.best_k_models], "scores": [*saves.best_k_models.values()],
        "files": sorted(name for name in os.listdir(folder) if name.endswith(".ckpt")), "at": trainer.run.clock,
    }  # fmt: skip


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def same(disturbed, undisturbed):
    for what, value in undisturbed.items():
        assert equal(disturbed[what], value), what


@pytest.mark.parametrize("hook", MOMENTS)
def test_a_run_goes_on_as_if_there_had_been_no_short_fit_in_its_hook(world, undisturbed, tmp_path, hook):
    found = []

    def tune(trainer, module):
        run, before = trainer.run, world.weights(module)
        with trainer.stacked(max_steps=3, max_epochs=None, accumulate_grad_batches=1):
            assert (trainer.loggers, trainer.callbacks, trainer.run, trainer.global_step) == ([], [], None, 0)
            trainer.fit(module, Shuffled(world.array))
            assert (trainer.global_step, trainer.run.outer) == (3, run)
            found.append(not equal(world.weights(module), before))
            trainer.validate(module, Shuffled(world.array), verbose=False)
        assert trainer.run is run
        assert equal(world.weights(module), before)

    _, disturbed = outer(world, tmp_path, tuner(hook, tune, 2 * hook.endswith("batch_end")))
    assert found == [True]
    same(disturbed, undisturbed(world))


@pytest.mark.parametrize("loader", [Shuffled, WithPlace])
def test_a_short_fit_may_draw_from_the_loader_of_the_run(world, undisturbed, tmp_path, loader):
    def tune(trainer, module):
        source = trainer.run.source.loader
        with trainer.stacked(max_steps=BATCHES + 2):
            trainer.fit(module, source)

    same(outer(world, tmp_path, tuner("on_train_batch_end", tune, 8), loader=loader)[1], undisturbed(world, loader))


def test_a_short_fit_that_fails_leaves_the_run_as_it_was(world, undisturbed, tmp_path):
    class Fails(Callback):
        def on_train_batch_end(self, trainer, pl_module):
            raise ValueError("too high")

    def tune(trainer, module):
        with pytest.raises(ValueError, match="too high"), trainer.stacked(max_steps=3, callbacks=[Fails()]):
            trainer.fit(module, Shuffled(world.array))

    same(outer(world, tmp_path, tuner("on_train_epoch_start", tune, 1))[1], undisturbed(world))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_short_fit_ends_it_and_the_run(world, tmp_path, number, capsys):
    ends = []

    class Signals(Callback):
        def on_train_batch_end(self, trainer, pl_module):
            if trainer.global_step == 2:
                os.kill(os.getpid(), number)

    def tune(trainer, module):
        with trainer.stacked(max_steps=5, accumulate_grad_batches=1, callbacks=[Signals()]):
            trainer.fit(module, Shuffled(world.array))
            ends.append((trainer.global_step, trainer.interrupted))

    try:
        trainer, _ = outer(world, tmp_path, tuner("on_train_epoch_start", tune, 1))
        ended = None
        assert trainer.interrupted
        assert trainer.run.clock.epoch == 1
    except SystemExit as error:
        ended = error.code
    assert ends == [(2, True)]
    assert ended == (143 if number == signal.SIGTERM else None)
    assert capsys.readouterr().out.count("Stopped by") == 1


def test_a_second_ctrl_c_in_a_short_fit_ends_it_and_the_run_where_they_stand(world, tmp_path, capsys):
    after, told = [], []

    class Signals(Callback):
        def on_train_batch_end(self, trainer, pl_module):
            if trainer.global_step == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    class Tells(Callback):
        def on_keyboard_interrupt(self, trainer, pl_module):
            told.append((trainer.run.outer, trainer.current_epoch))

    def tune(trainer, module):
        with trainer.stacked(max_steps=5, accumulate_grad_batches=1, callbacks=[Signals()]):
            trainer.fit(module, Shuffled(world.array))
            after.append("a second Ctrl-C goes through")

    outer(world, tmp_path, Tells(), tuner("on_train_epoch_start", tune, 1))
    assert after == []
    assert told == [(None, 1)]


def test_the_end_of_the_runs_time_ends_a_short_fit(world, tmp_path):
    steps = []

    def tune(trainer, module):
        trainer.run.stop.deadline = 0.0
        with trainer.stacked(max_steps=50, max_epochs=None):
            trainer.fit(module, Shuffled(world.array))
            steps.append(trainer.global_step)

    outer(world, tmp_path, tuner("on_train_epoch_start", tune, 1), max_time={"hours": 1})
    assert steps
    assert steps[0] < 5


def test_a_fit_in_a_hook_is_refused_and_the_error_says_how_runs_stack(world, tmp_path):
    def tune(trainer, module):
        trainer.fit(module, Shuffled(world.array))

    with pytest.raises(ConfigurationError, match=r"was called while trainer.fit\(\).*with trainer.stacked\(\)"):
        outer(world, tmp_path, tuner("on_train_start", tune))


def test_a_hook_that_starts_itself_is_told(world, tmp_path):
    class Module(world.Module):
        def on_fit_start(self):
            with self.trainer.stacked(max_steps=1):
                self.trainer.fit(self, Shuffled(world.array))

    world.Module = Module
    with pytest.raises(ConfigurationError, match="4 runs are within each other already"):
        outer(world, tmp_path)


def test_a_run_in_the_middle_of_a_step_cannot_be_set_aside(world, tmp_path):
    def tune(trainer, module):
        with trainer.stacked():
            pass

    with pytest.raises(ConfigurationError, match="in the middle of a training step"):
        outer(world, tmp_path, tuner("on_train_batch_start", tune))


@pytest.mark.parametrize("flag", ["callbacks", "logger"])
def test_a_callback_or_logger_of_the_run_is_refused_in_a_short_fit(world, tmp_path, flag):
    def tune(trainer, module):
        given = {"callbacks": trainer.callbacks[-1:], "logger": trainer.loggers[0]}[flag]
        with trainer.stacked(**{flag: given, "checkpoint_callback": True}):
            pass

    name = {"callbacks": "ModelCheckpoint", "logger": "CSVLogger"}[flag]
    with pytest.raises(ConfigurationError, match=f"this {name} is of the run that is set aside"):
        outer(world, tmp_path, tuner("on_train_start", tune))


def test_the_modules_own_callbacks_are_not_in_a_short_fit(world, tmp_path):
    calls = []

    class Counts(Callback):
        def on_fit_start(self, trainer, pl_module):
            calls.append(trainer.run.outer)

    class Module(world.Module):
        def configure_callbacks(self):
            return [Counts()]

    def tune(trainer, module):
        with trainer.stacked(max_steps=1):
            trainer.fit(module, Shuffled(world.array))

    world.Module = Module
    outer(world, tmp_path, tuner("on_train_start", tune))
    assert calls == [None]


def test_outside_of_a_run_flags_are_others_for_a_block(world):
    trainer = world.package.Trainer(logger=False, max_epochs=7)
    module = world.Module()
    with trainer.stacked(max_steps=2):
        trainer.fit(module, Shuffled(world.array))
        assert trainer.global_step == 2
    assert (trainer.run, trainer.max_steps, trainer.max_epochs) == (None, None, 7)


def test_flags_of_short_fits_are_checked_as_a_trainers(world):
    trainer = world.package.Trainer(logger=False)
    with pytest.raises(ConfigurationError, match="max_step"), trainer.stacked(max_step=1):
        pass
    with pytest.raises(ConfigurationError, match="max_steps=-5"), trainer.stacked(max_steps=-5):
        pass
    assert trainer.max_steps is None


def test_a_short_fit_with_the_optimizer_of_the_run_is_refused(tmp_path):
    world = WORLDS["torch"]()

    class Module(world.Module):
        def configure_optimizers(self):
            self.__dict__.setdefault("own", super().configure_optimizers()[0][0])
            return self.own

    def tune(trainer, module):
        with trainer.stacked(max_steps=1):
            trainer.fit(module, Shuffled(world.array))

    world.Module = Module
    with pytest.raises(ConfigurationError, match="the very Adam of the run that this one is within"):
        outer(world, tmp_path, tuner("on_train_start", tune))
