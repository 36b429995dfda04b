"""Checkpoints that were changed, are of another time, or hide more than they show: a sentence that names the file."""

from __future__ import annotations

import copy
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import functrain_jax as fj
from functrain.trainer.errors import CheckpointError
from functrain_torch.callbacks import EarlyStopping, ModelCheckpoint
from tests import inside
from tests.errors.torch_parts import Validated, loader, trainer


class Jaxed(fj.Module):
    def __init__(self) -> None:
        self.params = {"w": jnp.zeros((3,))}

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return (batch @ self.params["w"]).mean()

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> dict[str, Any]:
    """A checkpoint of a torch run with callbacks, as it is read."""
    folder = tmp_path_factory.mktemp("whole")
    saver = ModelCheckpoint(folder, save_last=True)
    trainer(callbacks=[saver, EarlyStopping("val_loss")], max_epochs=1).fit(Validated(), loader(), loader())
    return inside.read(saver.last_model_path)


def changed(whole: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(whole)
    *way, last = where.split("/")
    at = found
    for name in way:
        at = at[name]
    at[last] = value
    return found


def continued(path: str, *callbacks: Any) -> None:
    trainer(callbacks=list(callbacks), max_epochs=2).fit(Validated(), loader(), loader(), ckpt_path=path)


CHANGES = [
    ("functrain", {"format": 99, "version": "9"}, r"format 99.*Update functrain"),
    ("functrain", {"format": "x"}, r"its format is 'x'"),
    ("state_dict", [1], r"its 'state_dict' holds a list"),
    ("hyper_parameters", [1, 2], r"its 'hyper_parameters' holds a list"),
    ("hyper_parameters", {3: 4}, r"'hyper_parameters' holds names that are no strings"),
    ("callbacks", [1], r"its 'callbacks' holds a list"),
    ("clock", None, r"its 'clock' holds a NoneType"),
]
PLACES = [
    ("clock/batch", -5, r"its 'clock' has batch=-5 where a count is needed"),
    ("clock/epoch", "a", r"its 'clock' has epoch='a' where a count is needed"),
    ("clock/batch", 3.7, r"its 'clock' has batch=3\.7 where a count is needed"),
    ("clock", {"epoch": 1}, r"its 'clock' has no 'batch'"),
    ("loop", {}, r"its 'loop' has no 'position'"),
    ("loop/position", ["zzz", 3], r"its place is before 3 of 'zzz'|its place is number 3 of 'zzz'"),
    ("loop/position", ["epoch", "zzz"], r"its place is before 'zzz' of 'epoch', an event that this version"),
    ("loop/position", ["epoch"], r"its 'loop' holds position=\['epoch'\] where a pair of names is needed"),
    ("loop/position", [["epoch"], "done"], r"its place is before 'done' of \['epoch'\]"),
    ("loop/called", 3, r"its 'loop' holds called=3 where a list is needed"),
    ("loop/in_epoch", "yes", r"its 'loop' holds in_epoch='yes' where True or False is needed"),
    ("loop/ended", None, r"ended=None where True or False"),
    ("loop/should_stop", 2, r"should_stop=2 where True or False"),
    ("loop/before", 3.7, r"before=3\.7 where a count"),
    ("loop/seen", -2, r"seen=-2 where a count"),
    ("loop/outputs", 3, r"outputs=3 where a list, or None"),
    ("loop/published", [1], r"published=\[1\] where a dict by name"),
    ("loop/draws", 5, r"draws=5 where a dict by name"),
    ("loop/val_loaders", 7, r"val_loaders=7 where a list"),
    ("loop/source", 1, r"source=1 where a dict with the 'cursor'"),
    ("loop/source", {"cursor": {"seen": 3}, "loader_rng": None}, r"source=.* where a dict with the 'cursor'"),
    ("loop/source", {"cursor": {"seen": 3, "epoch_rng": 5}, "loader_rng": None}, r"cannot be put back"),
    (
        "loop/source",
        {"cursor": {"seen": 3, "epoch_rng": {"global": {"python": 1}, "loader": None}}, "loader_rng": None},
        r"the entry 'python' of the random state",
    ),
    ("loop/source", {"cursor": {"seen": -3, "epoch_rng": None}, "loader_rng": None}, r"'seen': -3.* where a dict"),
]


@pytest.mark.parametrize(("where", "value", "said"), [*CHANGES, *PLACES])
def test_a_run_is_not_continued_from_a_changed_checkpoint(
    whole: Any, tmp_path: Path, where: str, value: Any, said: str
):
    path = str(tmp_path / "changed.ckpt")
    torch.save(changed(whole, where, value), path)
    with pytest.raises(CheckpointError, match=rf"changed\.ckpt: .*{said}"):
        continued(path, EarlyStopping("val_loss"), ModelCheckpoint(tmp_path))


@pytest.mark.parametrize(("where", "value", "said"), CHANGES)
def test_a_module_is_not_made_of_a_changed_checkpoint(whole: Any, tmp_path: Path, where: str, value: Any, said: str):
    path = str(tmp_path / "changed.ckpt")
    torch.save(changed(whole, where, value), path)
    with pytest.raises(CheckpointError, match=rf"changed\.ckpt: .*{said}"):
        Validated.load_from_checkpoint(path)


def test_a_list_is_no_checkpoint(tmp_path: Path):
    path = str(tmp_path / "list.ckpt")
    torch.save([1, 2], path)
    for load in (Validated.load_from_checkpoint, continued):
        with pytest.raises(CheckpointError, match=r"list\.ckpt: holds a list, not a checkpoint"):
            load(path)


@pytest.mark.parametrize("state", [3, {}, {"wait_count": "x"}])
def test_a_changed_state_names_its_callback(whole: Any, tmp_path: Path, state: Any):
    path, stop = str(tmp_path / "changed.ckpt"), EarlyStopping("val_loss")
    torch.save(changed(whole, "callbacks", {stop.state_key: state}), path)
    with pytest.raises(CheckpointError, match=r"changed\.ckpt: the state of EarlyStopping.* does not fit it"):
        continued(path, stop)


VALUES = [
    *(("EarlyStopping", "wait_count", value) for value in ("x", -1, 1.5, True, None)),
    ("EarlyStopping", "best_score", [0.1]),
    ("EarlyStopping", "best_score", "0.1"),
    ("EarlyStopping", "stopped_epoch", -3),
    ("EarlyStopping", "stopping_reason", 7),
    ("EarlyStopping", "watch", None),
    ("ModelCheckpoint", "best_model_score", [0.1]),
    ("ModelCheckpoint", "best_k_models", ["a.ckpt"]),
    ("ModelCheckpoint", "best_k_models", {"a.ckpt": "x"}),
    ("ModelCheckpoint", "best_model_path", 3),
    ("ModelCheckpoint", "last_model_path", None),
    ("ModelCheckpoint", "dirpath", 3),
    ("ModelCheckpoint", "current_score", "x"),
    ("ModelCheckpoint", "replaced", "last.ckpt"),
    ("ModelCheckpoint", "due", "yes"),
]


@pytest.mark.parametrize(("kind", "name", "value"), VALUES)
def test_a_changed_value_of_a_callback_is_named(whole: Any, tmp_path: Path, kind: str, name: str, value: Any):
    path, callbacks = str(tmp_path / "changed.ckpt"), (EarlyStopping("val_loss"), ModelCheckpoint(tmp_path))
    key = next(callback.state_key for callback in callbacks if type(callback).__name__ == kind)
    torch.save(changed(whole, f"callbacks/{key}/{name}", value), path)
    said = rf"{name}\['a\.ckpt'\]='x'" if isinstance(value, dict) else re.escape(f"{name}={value!r}")
    with pytest.raises(
        CheckpointError, match=rf"changed\.ckpt: the state of {kind}.* does not fit it .*{said}: must be"
    ):
        continued(path, *callbacks)


def test_a_changed_watch_of_a_callback_is_named(whole: Any, tmp_path: Path):
    path, stop = str(tmp_path / "changed.ckpt"), EarlyStopping("val_loss")
    for name, value in (("validated", "x"), ("taken_at", -1), ("ever", 3)):
        torch.save(changed(whole, f"callbacks/{stop.state_key}/watch/{name}", value), path)
        with pytest.raises(CheckpointError, match=rf"the state of EarlyStopping.*{name}={value!r}"):
            continued(path, stop, ModelCheckpoint(tmp_path))


def test_a_changed_random_state_names_the_file(whole: Any, tmp_path: Path):
    path = str(tmp_path / "changed.ckpt")
    for name in whole["rng"]:
        torch.save(changed(whole, f"rng/{name}", "x"), path)
        with pytest.raises(CheckpointError, match=r"changed\.ckpt: cannot be put back"):
            continued(path, EarlyStopping("val_loss"), ModelCheckpoint(tmp_path / name))


@pytest.mark.parametrize(("where", "value", "said"), [each for each in CHANGES if each[0] != "callbacks"])
def test_in_jax_too(tmp_path: Path, where: str, value: Any, said: str):
    run = fj.Trainer(
        max_epochs=1, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None
    )
    run.fit(Jaxed(), [np.ones((2, 3), np.float32)])
    good, bad = str(tmp_path / "good.ckpt"), str(tmp_path / "changed.ckpt")
    run.save_checkpoint(good)
    saved = inside.read(good)
    inside.write(bad, changed(saved, where, value), like=good)
    with pytest.raises(CheckpointError, match=rf"changed\.ckpt: .*{said}"):
        Jaxed.load_from_checkpoint(bad)
    with pytest.raises(CheckpointError, match=rf"changed\.ckpt: .*{said}"):
        run.fit(Jaxed(), [np.ones((2, 3), np.float32)], ckpt_path=bad)


def rewritten(path: Path, compression: int, grow: bool = False) -> str:
    """The archive with its members compressed, or with one that holds a hundred times more than it shows."""
    out = path.with_name("hostile.ckpt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, content + bytes(10**6) if grow and "/data/" in member.filename else content)
    return str(out)


def test_a_member_that_would_grow_is_not_read(tmp_path: Path):
    path = tmp_path / "good.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(3)}}, path)
    hostile = rewritten(path, zipfile.ZIP_DEFLATED, grow=True)
    assert Path(hostile).stat().st_size < 10**5
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt: .*is compressed, and could hold any amount"):
        inside.read(hostile)
    assert torch.equal(inside.read(rewritten(path, zipfile.ZIP_STORED))["state_dict"]["w"], torch.zeros(3))


def test_members_that_share_their_bytes_are_not_read(tmp_path: Path):
    """Every entry of the directory points at one member: a megabyte of file that would be read fifty times."""
    path = tmp_path / "shared.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", bytes(10**6))
        first = archive.infolist()[0]
        archive.filelist += [copy.copy(first) for _ in range(50)]
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"shared\.ckpt: .*declare more bytes than the file has"):
        inside.read(path)


class Zeros:
    def __init__(self, count: int) -> None:
        self.count = count

    def __reduce__(self) -> Any:
        return bytearray, (self.count,)


def test_a_few_bytes_do_not_ask_for_gigabytes(tmp_path: Path):
    file = io.BytesIO()
    torch.save({"state_dict": {"w": Zeros(2**40)}}, file)
    with pytest.raises(CheckpointError, match="bytearray"):
        inside.read(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("path", [3, None, b"a.ckpt"])
def test_what_is_no_path_of_a_checkpoint_is_told(path: Any):
    with pytest.raises(CheckpointError, match="names no checkpoint"):
        Validated.load_from_checkpoint(path)


@pytest.mark.parametrize("content", [b"hello", b"PK\x03\x04" + b"x" * 40, b""])
def test_what_is_no_checkpoint_says_so_in_words(tmp_path: Path, content: bytes):
    path = tmp_path / "text.ckpt"
    path.write_bytes(content)
    for load in (Validated.load_from_checkpoint, continued):
        with pytest.raises(CheckpointError, match=r"text\.ckpt: .*[a-z]+ [a-z]+") as raised:
            load(str(path))
        assert not re.search(r"\(\d+\)|Errno", str(raised.value))
