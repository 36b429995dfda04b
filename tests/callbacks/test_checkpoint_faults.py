"""ModelCheckpoint where something is wrong: a metric that nobody logs, a disk that fails, files that are elsewhere."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from functrain.trainer.errors import ConfigurationError
from functrain_torch.callbacks import ModelCheckpoint
from tests import inside
from tests.callbacks.helpers import Scripted, Unvalidated, by_epoch, fit, names

ROOT = Path(__file__).resolve().parents[2]


# ---- a monitor that nobody logs


def test_an_unknown_monitor_names_the_nearest_and_loses_nothing(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_los")
    trainer = make(callback, max_epochs=3)
    with pytest.raises(ConfigurationError) as error:
        fit(trainer, Scripted(by_epoch(0.5)))
    message = str(error.value)
    assert "monitor='val_los'" in message
    assert "logged are 'train_loss', 'val_loss'" in message
    assert "Did you mean 'val_loss'" in message
    path = tmp_path / "checkpoints" / "epoch=0-step=4.ckpt"
    assert f"saved in {path}" in message
    assert inside.read(str(path))["global_step"] == 4


def test_an_unknown_monitor_without_validation(make, tmp_path):
    with pytest.raises(ConfigurationError, match=r"monitor='val_loss'.*logged are 'train_loss'"):
        fit(make(ModelCheckpoint(monitor="val_loss"), max_epochs=3), Unvalidated())


def test_a_monitor_may_come_with_the_first_validation(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", save_top_k=-1)
    fit(make(callback, max_epochs=4, check_val_every_n_epoch=3), Scripted(by_epoch(1, 2, 3, 4)))
    assert names(tmp_path / "checkpoints") == ["epoch=2-step=12.ckpt"]


def test_a_monitor_that_never_came_is_said_at_the_end(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss")
    with pytest.warns(UserWarning, match=r"nobody logs this metric.*So nothing was saved"):
        fit(make(callback, max_epochs=2, check_val_every_n_epoch=3), Scripted(by_epoch(1, 2)))


def test_by_steps_an_unknown_monitor_warns_then_fails(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_los", every_n_train_steps=1)
    with (
        pytest.warns(UserWarning, match="The first state that has it will be saved") as warned,
        pytest.raises(ConfigurationError, match="val_los"),
    ):
        fit(make(callback, max_epochs=2), Scripted(by_epoch(1, 2)))
    assert len(warned) == 1


# ---- disks


def test_an_unusable_directory_is_said_before_training(make, tmp_path):
    (tmp_path / "file").touch()
    callback = ModelCheckpoint(dirpath=tmp_path / "file" / "below")
    module = Scripted(by_epoch(1.0))
    before = module.weight.item()
    with pytest.raises(OSError, match="file"):
        fit(make(callback, max_epochs=1), module)
    assert module.weight.item() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's identity")
def test_a_directory_of_somebody_else(tmp_path):
    """As nobody, who may not write there; root may write everywhere."""
    (tmp_path / "theirs").mkdir(mode=0o555)
    os.chmod(tmp_path, 0o755)
    code = f"""
        import os
        from functrain.callbacks import ModelCheckpoint
        from functrain.trainer.world import Alone
        os.seteuid(65534)
        callback = ModelCheckpoint(dirpath={str(tmp_path / "theirs")!r})
        class Trainer:
            fast_dev_run = False
            class run:
                writes, world = None, Alone()
                class checkpoints:
                    suffix = ".ckpt"
        try:
            callback.setup(Trainer, None, "fit")
        except OSError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "theirs" in done.stdout, done.stderr
    assert "choose a directory that this user may write to" in done.stdout


@contextmanager
def small_files(limit: int = 100):
    """Every file is full after so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("arguments", [{}, {"monitor": "val_loss"}, {"filename": "model"}])
def test_a_write_that_fails_leaves_the_files_of_before(make, tmp_path, arguments):
    callback = ModelCheckpoint(**arguments)

    class Fills(Scripted):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                assert os.path.exists(callback.best_model_path), "who asks for it waits until it is there"
                self.full = small_files()
                self.full.__enter__()

    module = Fills(by_epoch(0.3, 0.2, 0.1, 0.1))
    trainer = make(callback, max_epochs=4)
    try:
        with pytest.raises((OSError, RuntimeError)):
            fit(trainer, module)
    finally:
        module.full.__exit__(None, None, None)
    name = "model.ckpt" if "filename" in arguments else "epoch=1-step=8.ckpt"
    assert names(tmp_path / "checkpoints") == [name]
    assert os.path.basename(callback.best_model_path) == name
    assert list(callback.best_k_models) == [callback.best_model_path]
    assert inside.read(callback.best_model_path)["global_step"] == 8


def test_the_old_file_goes_only_when_the_new_one_is_there(make, tmp_path):
    seen = []

    class Looks(Scripted):
        def on_save_checkpoint(self, checkpoint):
            seen.append(visible(tmp_path / "checkpoints"))

    fit(make(ModelCheckpoint(), max_epochs=3), Looks(by_epoch(1, 2, 3)))
    assert seen == [[], ["epoch=0-step=4.ckpt"], ["epoch=1-step=8.ckpt"]]


def visible(directory: Path) -> list[str]:
    """The files that are there, without what was being written."""
    return [name for name in names(directory) if not name.startswith(".")]


@pytest.mark.parametrize("delay", [0.0, 0.11, 0.23])
def test_a_kill_leaves_a_whole_checkpoint(tmp_path, delay):
    code = f"""
        import functrain_torch as pl
        from tests.callbacks.helpers import Unvalidated, batches
        save = pl.callbacks.ModelCheckpoint({str(tmp_path)!r}, every_n_train_steps=1, save_last=True)
        trainer = pl.Trainer(callbacks=[save], logger=False, progress_bar_refresh_rate=0, weights_summary=None)
        trainer.fit(Unvalidated(), batches())
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path
    )
    while not visible(tmp_path):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.wait()
    steps = [inside.read(tmp_path / name)["global_step"] for name in visible(tmp_path)]
    assert steps
    assert max(steps) - min(steps) <= 1


# ---- continuing


def run(make, epochs, *, ckpt_path=None, dirpath=None, values=(0.3, 0.2, 0.5, 0.4, 0.1), **arguments):
    callback = ModelCheckpoint(dirpath, monitor="val_loss", filename="{epoch}", **arguments)
    fit(make(callback, max_epochs=epochs), Scripted(by_epoch(*values)), ckpt_path=ckpt_path)
    return callback


def test_a_continued_run_knows_its_files(make, tmp_path):
    whole = run(make, 5, dirpath=tmp_path / "whole", save_top_k=2, save_last=True)
    first = run(make, 3, dirpath=tmp_path / "parts", save_top_k=2, save_last=True)
    second = run(make, 5, dirpath=tmp_path / "parts", ckpt_path=first.last_model_path, save_top_k=2, save_last=True)
    assert names(tmp_path / "parts") == names(tmp_path / "whole") == ["epoch=1.ckpt", "epoch=4.ckpt", "last.ckpt"]
    for name in ("best_model_score", "current_score"):
        assert getattr(second, name) == getattr(whole, name)
    assert os.path.basename(second.best_model_path) == "epoch=4.ckpt"
    assert list(second.best_k_models.values()) == list(whole.best_k_models.values())


def test_in_another_directory_the_best_stays_known_until_it_is_beaten(make, tmp_path):
    first = run(make, 3, dirpath=tmp_path / "one")
    worse = run(make, 4, dirpath=tmp_path / "two", ckpt_path=first.best_model_path)
    assert worse.best_model_path == first.best_model_path
    assert worse.best_model_score == pytest.approx(0.2)
    assert names(tmp_path / "two") == ["epoch=2.ckpt"] or names(tmp_path / "two") == ["epoch=3.ckpt"]
    better = run(make, 5, dirpath=tmp_path / "three", ckpt_path=first.best_model_path)
    assert better.best_model_path == str(tmp_path / "three" / "epoch=4.ckpt")
    assert names(tmp_path / "one") == ["epoch=1.ckpt"], "another directory's files are not touched"


def test_a_directory_that_moved_is_found_again(make, tmp_path):
    run(make, 3, dirpath=tmp_path / "one", save_top_k=2)
    shutil.move(tmp_path / "one", tmp_path / "moved")
    second = run(make, 5, dirpath=tmp_path / "moved", ckpt_path=str(tmp_path / "moved" / "epoch=1.ckpt"), save_top_k=2)
    assert names(tmp_path / "moved") == ["epoch=1.ckpt", "epoch=4.ckpt"]
    assert second.best_model_path == str(tmp_path / "moved" / "epoch=4.ckpt")


def test_a_best_that_is_gone_is_said(make, tmp_path):
    first = run(make, 3, dirpath=tmp_path / "one", save_last=True)
    os.unlink(first.best_model_path)
    with pytest.warns(UserWarning, match=r"epoch=1.ckpt, is no longer there"):
        second = run(make, 4, dirpath=tmp_path / "one", ckpt_path=first.last_model_path, save_last=True)
    assert os.path.basename(second.best_model_path) == "epoch=3.ckpt"


def test_paths_in_a_checkpoint_cannot_make_it_remove_other_files(make, tmp_path):
    precious = [tmp_path / "precious.ckpt", tmp_path / "parts" / "notes.txt"]
    first = run(make, 1, dirpath=tmp_path / "parts")
    for path in precious:
        path.write_text("mine")
    callback = ModelCheckpoint(tmp_path / "parts", monitor="val_loss")
    state = first.state_dict()
    paths = [*map(str, precious), f"{tmp_path}/parts/../precious.ckpt"]
    callback.load_state_dict(
        {**state, "best_k_models": dict.fromkeys(paths, 9.0), "last_model_path": paths[0], "best_model_path": ""}
    )
    assert callback.best_k_models == {}
    assert callback.last_model_path == ""


def test_a_second_fit_starts_afresh(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", filename="{epoch}")
    trainer = make(callback, max_epochs=2)
    fit(trainer, Scripted(by_epoch(0.2, 0.1)))
    first = callback.best_model_path
    fit(trainer, Scripted(by_epoch(0.9, 0.8)))
    assert callback.best_model_score == pytest.approx(0.8)
    assert os.path.basename(callback.best_model_path) == "epoch=1-v1.ckpt"
    assert os.path.exists(first)


# ---- a name that leaves the directory


@pytest.mark.parametrize("filename", ["../elsewhere", "a/../../b", "/tmp/{epoch}"])
def test_a_filename_outside_of_the_directory_is_refused(filename):
    with pytest.raises(ConfigurationError, match=r"outside of the checkpoints' directory.*as dirpath"):
        ModelCheckpoint(filename=filename)
