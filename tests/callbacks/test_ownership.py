"""Whose files are whose: what a ModelCheckpoint removes, replaces, and opens in a directory that is not its alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from functrain import claims
from functrain.callbacks import ModelCheckpoint
from functrain.trainer.ckpt_path import best, written
from tests import inside
from tests.callbacks import test_jax as jax_parts
from tests.callbacks.helpers import Scripted, by_epoch, fit, names

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = r"not written by this run"


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """One script for all that needs processes: importing torch is what takes the time."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.callbacks.owned_in_processes", str(tmp_path_factory.mktemp("p"))],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["torch", "jax"])
def run(request, make, tmp_path):
    """Runs for so many epochs with a ModelCheckpoint of these arguments; gives the callback and its Trainer."""

    def run(epochs, dirpath, ckpt_path=None, values=(0.5, 0.4, 0.3, 0.2), **arguments):
        callback = ModelCheckpoint(dirpath, "{epoch}", monitor="val_loss", **arguments)
        if request.param == "jax":
            quiet = {"weights_summary": None, "progress_bar_refresh_rate": 0}
            return callback, jax_parts.run(tmp_path, epochs, callback, ckpt_path=ckpt_path, **quiet)[0]
        return callback, fit(make(callback, max_epochs=epochs), Scripted(by_epoch(*values)), ckpt_path=ckpt_path)

    return run


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def tampered(path, callback, **state):
    """The checkpoint with other records of the callback in it, written under another name."""
    content = inside.read(str(path))
    content["callbacks"][callback.state_key].update(state)
    new = f"{os.path.dirname(path)}/tampered.ckpt"
    inside.write(new, content, like=path)
    return new


def test_a_run_continued_in_the_directory_of_another_leaves_its_files(run, tmp_path):
    first, _ = run(2, tmp_path / "a", save_top_k=2, save_last=True)
    run(2, tmp_path / "b", save_top_k=2, save_last=True)
    before = contents(tmp_path / "b")
    with pytest.warns(UserWarning, match=NOT_OURS) as told:
        second, _ = run(4, tmp_path / "b", first.last_model_path, save_top_k=2, save_last=True)
    assert len(told) == 1
    assert all(name in str(told[0].message) for name in ("epoch=0.ckpt", "epoch=1.ckpt", "last.ckpt"))
    after = contents(tmp_path / "b")
    assert {name: after.get(name) for name in before} == before
    assert os.path.basename(second.last_model_path) == "last-v1.ckpt"
    assert names(tmp_path / "b") == sorted(
        ["epoch=0.ckpt", "epoch=1.ckpt", "epoch=2.ckpt", "epoch=3.ckpt", "last-v1.ckpt", "last.ckpt"]
    )


def test_a_run_continued_in_its_own_directory_goes_on_with_its_files(run, tmp_path):
    first, _ = run(2, tmp_path / "a", save_last=True)
    run(4, tmp_path / "a", first.last_model_path, save_last=True)
    assert names(tmp_path / "a") == ["epoch=3.ckpt", "last.ckpt"]


def test_going_back_to_an_older_state_keeps_what_came_after_it(run, tmp_path):
    first, _ = run(3, tmp_path / "a", save_top_k=-1, save_last=True)
    before = contents(tmp_path / "a")
    with pytest.warns(UserWarning, match=NOT_OURS):
        run(3, tmp_path / "a", str(tmp_path / "a" / "epoch=1.ckpt"), save_top_k=-1, save_last=True)
    after = contents(tmp_path / "a")
    assert {name: after.get(name) for name in before} == before
    assert "last-v1.ckpt" in names(tmp_path / "a")
    assert first.last_model_path.endswith("last.ckpt")


def test_a_file_saved_by_hand_is_not_replaced(make, tmp_path):
    class ByHand(Scripted):
        def on_train_start(self):
            self.trainer.save_checkpoint(tmp_path / "epoch=0-step=4.ckpt")

    callback = ModelCheckpoint(tmp_path)
    fit(make(callback, max_epochs=1), ByHand(by_epoch(0.5)))
    assert names(tmp_path) == ["epoch=0-step=4-v1.ckpt", "epoch=0-step=4.ckpt"]


def test_files_of_a_version_without_ids_are_left(run, tmp_path):
    first, _ = run(2, tmp_path / "a", save_last=True)
    content = inside.read(first.last_model_path)
    content["functrain"] = {"format": 1, "version": "1.0", "weights_only": False}
    inside.write(first.last_model_path, content)
    with pytest.warns(UserWarning, match=NOT_OURS) as told:
        second, _ = run(3, tmp_path / "a", first.last_model_path, save_last=True)
    assert len(told) == 1
    assert f"{first.last_model_path}, which it continues from, was written by an older version" in str(told[0].message)
    assert os.path.basename(second.last_model_path) == "last-v1.ckpt"


@pytest.mark.parametrize("save_last", [False, True])
def test_a_last_file_of_another_run_is_told_before_anything_is_trained(run, tmp_path, save_last):
    """Also where its name is in nobody's way: `ckpt_path="last"` would find it."""
    run(1, tmp_path / "a", save_last=True)
    with pytest.warns(UserWarning, match=r"'last\.ckpt' in .*/a: another run's.*Another dirpath") as told:
        run(1, tmp_path / "a", save_last=save_last)
    assert len(told) == 1
    first, _ = run(1, tmp_path / "b", save_last=save_last)
    (tmp_path / "a" / "last.ckpt").rename(tmp_path / "b" / "last-of-a.ckpt")
    with pytest.warns(UserWarning, match=r"'last-of-a\.ckpt'.*another run's") as told:
        run(2, tmp_path / "b", first.best_model_path, save_last=save_last)
    assert len(told) == 1


@pytest.mark.parametrize("by", ["name", "link", "folder"])
def test_records_that_were_tampered_with_remove_nothing(run, tmp_path, by):
    victim, _ = run(2, tmp_path / "a" if by == "name" else tmp_path / "elsewhere", save_top_k=2)
    first, _trainer = run(1, tmp_path / "a", save_top_k=2)
    paths = list(victim.best_k_models)
    if by == "link":
        os.symlink(paths[0], tmp_path / "a" / "link.ckpt")
        paths = [str(tmp_path / "a" / "link.ckpt")]
    if by == "folder":
        os.symlink(tmp_path / "elsewhere", tmp_path / "a" / "folder")
        paths = [str(tmp_path / "a" / "folder" / os.path.basename(path)) for path in paths]
    before = contents(Path(victim.dirpath))
    path = tampered(
        first.best_model_path, first, best_k_models=dict.fromkeys(paths, 9.0), replaced=paths,
        last_model_path=paths[0], dirpath=str(tmp_path / "a"),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".*{NOT_OURS}")
        second, _ = run(4, tmp_path / "a", path, save_top_k=2, save_last=True)
    after = contents(Path(victim.dirpath))
    assert {name: after.get(name) for name in before} == before
    assert not set(paths) & {*second.best_k_models, second.last_model_path}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_url_in_a_checkpoint_is_not_contacted(run, tmp_path, elsewhere):
    first, trainer = run(1, tmp_path / "a")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/best.ckpt"
        path = tampered(
            first.best_model_path, first, best_model_path=url, best_model_score=0.0, last_model_path=url,
            best_k_models={url: 0.0}, replaced=[url],
        )  # fmt: skip
        second, trainer = run(2, tmp_path / "b" if elsewhere else tmp_path / "a", path, save_last=True)
        with pytest.warns(UserWarning, match="it is not opened"):
            assert best(trainer.checkpoint_callbacks) is None
        assert url not in written([second])
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert second.best_model_path == url, "it stays known as the best, until it is beaten"


def test_paths_of_other_places_in_a_checkpoint_are_not_looked_at(run, tmp_path):
    """A FIFO would block who opens it; a look at any name of that folder is noticed by an audit hook."""
    first, trainer = run(1, tmp_path / "a")
    (tmp_path / "secret").mkdir()
    fifo = str(tmp_path / "secret" / "fifo.ckpt")
    os.mkfifo(fifo)
    path = tampered(
        first.best_model_path, first, best_model_path=fifo, best_model_score=0.0, last_model_path=fifo,
        best_k_models={fifo: 0.0, f"memory://{fifo}": 0.0}, replaced=[fifo],
    )  # fmt: skip
    seen = []
    sys.addaudithook(lambda event, args: seen.append((event, args)) if "secret" in repr(args) else None)
    _, trainer = run(2, tmp_path / "b", path)
    with pytest.warns(UserWarning, match="it is not opened"):
        assert best(trainer.checkpoint_callbacks) is None
    opened = [event for event, args in seen if event != "import"]
    assert opened == []


def test_the_best_beside_the_checkpoint_that_was_given_may_be_opened(run, tmp_path):
    first, _ = run(2, tmp_path / "a", save_last=True, values=(0.1, 0.2))
    _, trainer = run(2, tmp_path / "b", first.last_model_path, save_last=True)
    assert best(trainer.checkpoint_callbacks) == first.best_model_path


def test_in_a_url_only_files_of_this_run_are_replaced(make):
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        for name in ("one", "two"):
            callback = ModelCheckpoint(f"memory://owned/{name}", save_last=True)
            fit(make(callback, max_epochs=1), Scripted(by_epoch(0.5)))
        before = {path: fs.cat_file(path) for path in fs.find("/owned/two")}
        again = ModelCheckpoint("memory://owned/two", save_last=True)
        with pytest.warns(UserWarning, match=NOT_OURS):
            fit(make(again, max_epochs=2), Scripted(by_epoch(0.5, 0.4)), ckpt_path="memory://owned/one/last.ckpt")
        after = {path: fs.cat_file(path) for path in fs.find("/owned/two")}
        assert {name: after.get(name) for name in before} == before
        own = ModelCheckpoint("memory://owned/one", save_last=True)
        fit(make(own, max_epochs=2), Scripted(by_epoch(0.5, 0.4)), ckpt_path="memory://owned/one/last.ckpt")
        found = sorted(path.rsplit("/", 1)[-1] for path in fs.ls("/owned/one", detail=False))
        assert found == ["epoch=1-step=8.ckpt", "last.ckpt"]
    finally:
        fs.rm("/owned", recursive=True)


def test_who_wrote_a_checkpoint_is_read_without_its_tensors(run, tmp_path):
    first, _ = run(1, tmp_path / "a")
    about = inside.read(first.best_model_path)["functrain"]
    mark = inside.mark(first.best_model_path)
    assert mark._asdict() == {name: about[name] for name in ("run", "fit", "step", "by")}
    second, _ = run(2, tmp_path / "a", first.best_model_path)
    again = inside.mark(second.best_model_path)
    assert again.run == mark.run
    assert again.fit != mark.fit
    assert inside.read(second.best_model_path)["functrain"]["past"] == {mark.fit: mark.step}
    os.symlink(second.best_model_path, tmp_path / "link.ckpt")
    os.mkfifo(tmp_path / "fifo.ckpt")
    for name in ("link.ckpt", "fifo.ckpt", "none.ckpt", "a"):
        assert inside.mark(str(tmp_path / name)) is None


def test_a_torch_file_with_a_mark_is_read_by_torch_itself(make, tmp_path):
    import torch

    callback = ModelCheckpoint(tmp_path)
    fit(make(callback, max_epochs=1), Scripted(by_epoch(0.5)))
    for mmap in (False, True):
        assert torch.load(callback.best_model_path, weights_only=True, mmap=mmap)["global_step"] == 4


# ---- processes


def test_two_trainers_started_together_never_share_a_name(processes):
    assert processes["pairs"] == []


def test_one_checkpoint_continued_twice_at_once(processes):
    assert processes["continued twice"] == []


def test_a_checkpoint_continued_while_its_run_is_alive(processes):
    assert processes["while alive"] == []


@pytest.mark.parametrize("source", ["epoch=2-step=12.ckpt", "last.ckpt"])
def test_a_best_file_that_a_kill_left_behind_goes_when_the_run_continues(processes, source):
    found = processes[f"killed {source}"]
    assert found["left"] == ["epoch=1-step=8.ckpt", "epoch=2-step=12.ckpt", "last.ckpt"]
    assert found["given"]["files"] == processes["whole"]["files"] == ["epoch=4-step=20.ckpt", "last.ckpt"]


@pytest.mark.parametrize("source", ["epoch=2.ckpt", "last.ckpt"])
def test_what_a_kill_left_behind_goes_in_jax_too(tmp_path, source):
    code = """
        import os, signal, sys
        from pathlib import Path
        from functrain.callbacks import ModelCheckpoint
        from functrain.callbacks.checkpoint_place import Place
        from tests.callbacks.test_jax import run

        directory, source, kill = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "kill"
        remove, seen = Place.remove, []
        def kills(self, path):
            seen.append(path)
            if kill and len(seen) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            remove(self, path)
        Place.remove = kills
        save = ModelCheckpoint(directory / "kept", "{epoch}", monitor="val_loss", save_last=True)
        ckpt_path = None if kill else str(directory / "kept" / source)
        quiet = {"weights_summary": None, "progress_bar_refresh_rate": 0}
        run(directory, 5, save, ckpt_path=ckpt_path, **quiet)
    """

    def process(kill: str) -> int:
        path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), source, kill]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, timeout=120).returncode

    assert process("kill") == -signal.SIGKILL
    left = [name for name in names(tmp_path / "kept") if not name.startswith(".")]
    assert left == ["epoch=1.ckpt", "epoch=2.ckpt", "last.ckpt"]
    assert process("continue") == 0
    assert names(tmp_path / "kept") == ["epoch=4.ckpt", "last.ckpt"]


# ---- claims


def test_a_claim_goes_with_its_owner(tmp_path):
    path = str(tmp_path / "a.ckpt")
    first = claims.claim(path)
    assert first is not None
    first.note(b"mine")
    assert claims.claim(path) is None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.write(writing, b"free" if claims.claim(path) is not None else b"taken")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 5) == b"taken"
    first.release()
    assert names(tmp_path) == []


def test_a_claim_of_a_killed_process_is_taken_over_with_its_note(tmp_path):
    path = str(tmp_path / "a.ckpt")
    child = os.fork()
    if not child:
        claim = claims.claim(path)
        assert claim is not None
        claim.note(b"mine")
        os._exit(9)
    os.waitpid(child, 0)
    claim = claims.claim(path)
    assert claim is not None
    assert claim.found == b"mine"
    claim.release()
    assert names(tmp_path) == []


def test_old_claims_on_nothing_are_tidied_up(tmp_path):
    for name in ("old", "new", "there"):
        (tmp_path / f".{name}.claim").touch()
    (tmp_path / "there").touch()
    for name in ("old", "there"):
        os.utime(tmp_path / f".{name}.claim", (1, 1))
    claims.tidy(str(tmp_path))
    assert names(tmp_path) == [".new.claim", ".there.claim", "there"]


def test_a_link_is_no_claim(tmp_path):
    (tmp_path / "victim").touch()
    os.symlink(tmp_path / "victim", tmp_path / ".a.ckpt.claim")
    with pytest.raises(OSError, match=r"a\.ckpt"):
        claims.claim(str(tmp_path / "a.ckpt"))
    assert inside.mark(tmp_path / "victim") is None
