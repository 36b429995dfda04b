"""torch: what may have happened to a checkpoint on the disk, and what it must not be able to do."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path

import pytest
import torch

import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from tests import inside
from tests.resume import torch_cases as cases

CASE = cases.CASES["clipped"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint from within an epoch and a window."""
    directory = tmp_path_factory.mktemp("saved")
    cases.whole(CASE, directory, ("on_train_batch_end",), max_epochs=1, every=5, watched=False)
    return (directory / "on_train_batch_end-5.ckpt").rename(directory / "run.ckpt")


def resume(path, case=CASE, unchanged=True, **flags) -> pl.Trainer:
    trainer, module, train, val = cases.parts(case, 2, [], **flags)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    try:
        trainer.fit(module, train, val, ckpt_path=str(path))
    except pl.CheckpointError:
        assert not unchanged or all(torch.equal(before[name], value) for name, value in module.state_dict().items())
        raise
    return trainer


def changed(saved: Path, path: Path, change) -> Path:
    """The checkpoint with something else in it."""
    content = inside.read(saved)
    change(content)
    torch.save(content, path)
    return path


# damage


def test_missing(tmp_path):
    with pytest.raises(pl.CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        resume(tmp_path / "none.ckpt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04", b"\x80\x02.", bytes(1000)])
def test_something_else(content, tmp_path):
    path = tmp_path / "else.ckpt"
    path.write_bytes(content)
    with pytest.raises(pl.CheckpointError, match=r"else\.ckpt"):
        resume(path)


def test_cut_short_anywhere(saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "cut.ckpt"
    for length in {*range(0, len(content), len(content) // 50), *range(len(content) - 30, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(pl.CheckpointError, match=r"cut\.ckpt"):
            inside.read(path)


def test_a_bit_flipped_anywhere_is_found_or_harmless(saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "flipped.ckpt"
    whole = pickle.dumps(plain(inside.read(saved)))
    found = 0
    for place in range(0, len(content), 41):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            same = pickle.dumps(plain(inside.read(path))) == whole
        except pl.CheckpointError as error:
            found += "flipped.ckpt" in str(error)
        else:
            assert same, f"a flipped bit at {place} of {len(content)} went unnoticed"
    assert found > len(content) // 41 // 3


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    "key", ["clock", "loop", "rng", "players", "metrics", "optimizer_states", "lr_schedulers", "modes", "state_dict"]
)
@pytest.mark.parametrize("instead", [None, 3, {}])
def test_a_part_is_missing_or_something_else(key, instead, saved, tmp_path):
    def change(content):
        content.pop(key) if instead is None else content.update({key: instead})

    path = changed(saved, tmp_path / "part.ckpt", change)
    if instead == {} and key in ("modes", "rng", "metrics", "lr_schedulers"):
        resume(path)  # nothing of the kind was there to keep
        return
    with pytest.raises(pl.CheckpointError, match=r"part\.ckpt"):
        resume(path, unchanged=False)


def test_of_a_later_format(saved, tmp_path):
    path = changed(saved, tmp_path / "later.ckpt", lambda c: c.update(functrain={"format": 99, "version": "9.9"}))
    with pytest.raises(
        pl.CheckpointError, match=r"later\.ckpt: written by functrain 9\.9 in format 99.*Update functrain"
    ):
        resume(path)


def test_of_another_program(saved, tmp_path):
    def change(content):
        del content["functrain"], content["pytorch-lightning_version"]

    path = changed(saved, tmp_path / "other.ckpt", change)
    with pytest.raises(pl.CheckpointError, match=r"other\.ckpt: was not written by functrain.*load_from_checkpoint"):
        resume(path)


# another run's


def test_of_another_module(saved):
    with pytest.raises(pl.CheckpointError, match=r"run\.ckpt: is of another module than Net: missing net\.0\.weight"):
        resume(saved, cases.CASES["everything"])


def test_of_another_shape(saved):
    class Wider(cases.Plain):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(4, 5)

    expected = r"run\.ckpt: is of another module than Wider: of another shape: net\.weight \(3, 4\) instead of \(5, 4\)"
    with pytest.raises(pl.CheckpointError, match=expected):
        resume(saved, (Wider, *CASE[1:]))


class Adam(cases.Plain):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Two(cases.Plain):
    def training_step(self, batch, batch_idx, optimizer_idx):
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD([self.net.weight], 0.1), torch.optim.SGD([self.net.bias], 0.1)


class Scheduled(cases.Plain):
    def configure_optimizers(self):
        sgd = super().configure_optimizers()
        return [sgd], [torch.optim.lr_scheduler.StepLR(sgd, 1)]


class Groups(cases.Plain):
    def configure_optimizers(self):
        return torch.optim.SGD([{"params": [self.net.weight]}, {"params": [self.net.bias]}], lr=0.1)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Adam, "its optimizer 0 is of class SGD, and Adam configures Adam"),
        (Two, "has 1 optimizer_states, and Two configures 2"),
        (Scheduled, "has 0 lr_schedulers, and Scheduled configures 1"),
        (Groups, r"its optimizer 0 has parameter groups of \[2\] tensors, and Groups's has \[1, 1\]"),
    ],
)
def test_of_other_optimizers(module, says, saved):
    with pytest.raises(pl.CheckpointError, match=rf"run\.ckpt: {says}"):
        resume(saved, (module, *CASE[1:]))


def test_weights_only(tmp_path):
    trainer, module, train, val = cases.parts(CASE, 1, [], max_steps=2)
    trainer.fit(module, train, val)
    path = tmp_path / "weights.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    with pytest.raises(pl.CheckpointError, match=r"weights\.ckpt: holds weights only.*save_weights_only=False"):
        resume(path)
    assert torch.equal(cases.Plain.load_from_checkpoint(path).net.weight, module.net.weight)


def test_another_precision_within_a_window(saved):
    with pytest.raises(pl.CheckpointError, match=r"run\.ckpt: was taken within an accumulation window.*same precision"):
        resume(saved, precision=16, accumulate_grad_batches=3)


def test_another_generator_of_the_loader(saved):
    trainer, module, train, val = cases.parts(cases.CASES["own_generator"], 1, [], max_steps=2)
    trainer.fit(module, train, val)
    path = saved.parent / "gen.ckpt"
    trainer.save_checkpoint(path)
    with pytest.raises(pl.CheckpointError, match=r"gen\.ckpt: the loader had 1 random generators"):
        resume(path, (cases.Plain, cases.shuffled, {}), unchanged=False)


# what it must not do


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("place", ["hyper_parameters", "callbacks", "state_dict", "rng"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_a_payload_does_not_run(place, zipped, saved, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    content = inside.read(saved)
    content[place] = {"x": Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for read in (resume, cases.Plain.load_from_checkpoint):
        with pytest.raises(pl.CheckpointError, match=r"evil\.ckpt: holds objects that could run code"):
            read(path)
    assert not marker.exists()


def test_a_bare_pickle_with_a_payload_does_not_run(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Payload(marker)}))
    with pytest.raises(pl.CheckpointError, match=r"evil\.ckpt"):
        resume(path)
    assert not marker.exists()


def test_hyperparameters_in_yaml_with_a_payload_do_not_run(saved, tmp_path):
    marker, yaml = tmp_path / "ran", tmp_path / "hparams.yaml"
    yaml.write_text(f"lr: !!python/object/apply:os.system ['touch {marker}']\n")
    with pytest.raises(ValueError, match=r"hparams\.yaml', line 1: the tag !!python/object/apply:os\.system"):
        cases.Plain.load_from_checkpoint(saved, hparams_file=yaml)
    assert not marker.exists()


def test_a_class_that_is_named_is_not_imported(tmp_path):
    """A stored name of a class is a string, and stays one."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")

    class Named(cases.Plain):
        def __init__(self, model="", **more):
            super().__init__()
            self.save_hyperparameters()

    names = {"_class_path": "evil_module.Evil", "_target_": "evil_module.Evil", "__class__": "evil_module.Evil"}
    trainer, _, train, val = cases.parts((Named, *CASE[1:]), 1, [], max_steps=1)
    trainer.fit(Named(model="evil_module.Evil", **names), train, val)
    path = tmp_path / "named.ckpt"
    trainer.save_checkpoint(path)
    sys.path.insert(0, str(tmp_path))
    try:
        module = Named.load_from_checkpoint(path)
        resume(path, (Named, *CASE[1:]))
    finally:
        sys.path.remove(str(tmp_path))
    assert "evil_module" not in sys.modules
    assert dict(module.hparams) == {"model": "evil_module.Evil", **names}


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    class Odd(pl.Callback):
        def state_dict(self):
            return {"x": [Payload(tmp_path / "ran")]}

    trainer, module, train, val = cases.parts(CASE, 1, [Odd()], max_steps=1)
    trainer.fit(module, train, val)
    path = tmp_path / "odd.ckpt"
    path.write_bytes(b"before")
    with pytest.raises(pl.ConfigurationError, match=r"checkpoint\[callbacks\..*Odd\.x\[0\]\] holds a .*Payload"):
        trainer.save_checkpoint(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["odd.ckpt"]


# the disk


def test_a_directory_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    trainer, module, train, val = cases.parts(CASE, 1, [], max_steps=1)
    trainer.fit(module, train, val)
    with pytest.raises(OSError, match=r"cannot .*/file'.*What to do: something else stands there"):
        trainer.save_checkpoint(tmp_path / "file" / "x.ckpt")
    trainer, module, train, val = cases.parts(CASE, 1, [])
    save = ModelCheckpoint(tmp_path / "file" / "checkpoints")
    trainer = pl.Trainer(max_epochs=1, callbacks=[save], logger=False, progress_bar_refresh_rate=0)
    with pytest.raises(OSError, match="a file stands where a directory is needed"):
        trainer.fit(module, train, val)
    assert trainer.global_step == 0, "it is said before anything is trained"


def test_states_of_callbacks_that_are_gone_are_said(tmp_path):
    trainer, module, train, val = cases.parts(CASE, 1, cases.watchers(CASE), max_steps=1)
    trainer.fit(module, train, val)
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    with pytest.warns(UserWarning, match="has states of callbacks that this Trainer does not have: EarlyStopping"):
        resume(tmp_path / "c.ckpt")


def test_where_nothing_is_left_it_is_said(saved, capsys):
    trainer = resume(saved, max_steps=1)
    assert trainer.global_step == 2
    assert (
        "Nothing is left to train there: the limits are reached: max_epochs=2, max_steps=1" in capsys.readouterr().out
    )


def test_random_state_of_a_framework_that_is_not_loaded(saved, tmp_path):
    path = changed(saved, tmp_path / "more.ckpt", lambda c: c["rng"].update(another=[1, 2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume(path)
