"""A run goes on while a thread writes its checkpoint: what is in the file, what hooks see, and what waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

import numpy as np
import pytest

from functrain.callbacks import ModelCheckpoint
from functrain.trainer.callback import Callback
from tests import inside
from tests.callbacks import test_jax as jax_parts
from tests.callbacks.helpers import Scripted, by_epoch, fit, names

held: list[threading.Event] = []


def _hold(event, args):
    """Holds a thread that is about to give a checkpoint its name, while there is a gate."""
    if event == "os.rename" and held and threading.current_thread().name == "functrain-saving":
        assert held[0].wait(60), "nobody opened the gate: the run waits for the file"


sys.addaudithook(_hold)


@pytest.fixture
def gate():
    """Closed: no checkpoint gets its name before it is opened."""
    held.append(threading.Event())
    yield held[0]
    held.pop().set()


@pytest.fixture(params=["torch", "jax"])
def run(request, make, tmp_path):
    """Runs three epochs with these callbacks; gives the module."""

    def run(*callbacks, **flags):
        if request.param == "jax":
            quiet = {"weights_summary": None, "progress_bar_refresh_rate": 0, **flags}
            return jax_parts.run(tmp_path, 3, *callbacks, **quiet)[1]
        module = Scripted(by_epoch(0.5, 0.4, 0.3))
        fit(make(*callbacks, max_epochs=3, **flags), module)
        return module

    return run


def weight(module):
    if hasattr(module, "params"):
        return np.array(module.params["w"])
    return module.weight.detach().numpy().copy()


def shown(directory):
    return [name for name in names(directory) if not name.startswith(".")]


class AtEpochs(Callback):
    """Calls `act(epoch)` at the end of every epoch, before its checkpoint is begun."""

    def __init__(self, act):
        self.act = act

    def on_train_epoch_end(self, trainer, pl_module):
        self.act(trainer.current_epoch, pl_module)


def test_a_checkpoint_holds_its_state_though_the_run_trains_on(run, tmp_path, gate):
    then, seen = {}, []

    def act(epoch, module):
        then[epoch] = weight(module)
        if epoch == 1:
            seen.append(shown(tmp_path / "kept"))
            gate.set()

    save = ModelCheckpoint(tmp_path / "kept", "{epoch}", save_top_k=-1)
    run(AtEpochs(act), save)
    assert seen == [[]], "a whole epoch was trained before it had its name"
    assert shown(tmp_path / "kept") == ["epoch=0.ckpt", "epoch=1.ckpt", "epoch=2.ckpt"]
    for path, epoch in zip(save.best_k_models, range(3), strict=True):
        (value,) = inside.read(path)["state_dict"].values()
        assert np.asarray(value).tobytes() == then[epoch].tobytes()


def test_a_hook_that_asks_for_a_path_gets_one_that_is_there(run, tmp_path):
    found = []

    def act(epoch, module):
        if epoch:
            found.append([os.path.exists(path) for path in (save.best_model_path, save.last_model_path)])

    save = ModelCheckpoint(tmp_path / "kept", "{epoch}", save_last=True)
    run(AtEpochs(act), save)
    assert found == [[True, True]] * 2


def test_a_hook_that_asks_who_saves_does_not_wait_for_what_is_being_written(run, tmp_path, gate):
    asked: list[object] = []

    class Asks(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                asked.extend([trainer.checkpoint_callback, *trainer.checkpoint_callbacks])
                trainer.print("still writing")
                asked.append(shown(tmp_path / "kept"))
                gate.set()

    save = ModelCheckpoint(tmp_path / "kept", "{epoch}")
    run(Asks(), save)
    assert asked == [save, save, []], "who waits for the file finds it"


def test_a_load_waits_for_the_file(run, tmp_path, gate):
    """By its name alone, as a hook that has noted it before."""
    steps = []

    def act(epoch, module):
        if epoch == 1:
            gate.set()
            world = "jax" if hasattr(module, "params") else "torch"
            steps.append(inside.read(str(tmp_path / "kept" / "epoch=0.ckpt"), world)["epoch"])

    run(AtEpochs(act), ModelCheckpoint(tmp_path / "kept", "{epoch}"))
    assert steps == [0]


def test_save_checkpoint_returns_when_the_file_is_there(run, tmp_path):
    found = []

    class Copies(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")
            found.append((tmp_path / f"{trainer.current_epoch}.ckpt").exists())

    run(Copies(), checkpoint_callback=False)
    assert found == [True] * 3


def test_what_fit_leaves_behind_is_there_when_it_returns(run, tmp_path):
    """Also after an exception, and after Ctrl-C."""

    def fails(epoch, module):
        if epoch == 1:
            raise ValueError("mine")

    def presses(epoch, module):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    for name, act in (("error", fails), ("ctrl-c", presses)):
        save = ModelCheckpoint(tmp_path / name, "{epoch}", save_top_k=-1)
        with pytest.raises(ValueError, match="mine") if name == "error" else contextlib.nullcontext():
            run(AtEpochs(act), save)
        assert names(tmp_path / name)[0] == "epoch=0.ckpt"
        assert not [file for file in names(tmp_path / name) if file.endswith((".tmp", ".claim"))]


def test_a_logger_is_told_of_a_checkpoint_when_it_is_there(make, tmp_path):
    from functrain.loggers import CSVLogger

    found = []

    class Told(CSVLogger):
        def after_save_checkpoint(self, path):
            found.append((os.path.exists(path), threading.current_thread() is threading.main_thread()))

    trainer = make(ModelCheckpoint(tmp_path / "kept"), max_epochs=3, logger=Told(tmp_path))
    fit(trainer, Scripted(by_epoch(0.5, 0.4, 0.3)))
    assert found == [(True, True)] * 3


@pytest.mark.parametrize("shared", [True, False])
def test_tensors_that_share_memory_are_copied_once(tmp_path, shared):
    import torch

    from functrain_torch.io import TorchCheckpointIO

    one = torch.arange(1000.0)
    other = one.view(10, 100)[2] if shared else one[200:300].clone()
    value = {"state_dict": {"one": one, "other": other}, "list": [{"n": 1}]}
    io = TorchCheckpointIO()
    saved = io.save(str(tmp_path / "a.ckpt"), value)
    one.zero_()
    other.zero_()
    value["list"][0]["n"] = 2
    saved.wait()
    read = io.load(str(tmp_path / "a.ckpt"))
    assert read["state_dict"]["one"].tolist() == list(range(1000))
    assert read["state_dict"]["other"].tolist() == list(range(200, 300))
    assert read["list"] == [{"n": 1}]
    storages = {tensor.untyped_storage().data_ptr() for tensor in read["state_dict"].values()}
    assert len(storages) == (1 if shared else 2)
