"""files.py: whole or not there, also on a full disk and under kill -9; errors that name the path."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from functrain import files

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_when_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()


# --- atomic_write


@pytest.mark.parametrize(("mode", "content"), [("wb", b"\x00\r\n\xff"), ("w", "a\r\nä\n")])
def test_writes_what_it_is_given(tmp_path, mode, content):
    target = tmp_path / "deep" / "down" / "file"
    with files.atomic_write(target, mode) as file:
        file.write(content)
        assert not target.exists()
    assert target.read_bytes() == (content if mode == "wb" else content.encode())
    assert os.listdir(target.parent) == ["file"]


def test_replaces_an_older_file_and_keeps_the_usual_permissions(tmp_path):
    target = tmp_path / "file"
    target.write_text("a much longer old content")
    with files.atomic_write(str(target)) as file:
        file.write(b"new")
    umask = os.umask(0)
    os.umask(umask)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_a_link_is_replaced_not_written_through(tmp_path):
    (tmp_path / "epoch=1").write_text("one")
    (tmp_path / "last").symlink_to("epoch=1")
    with files.atomic_write(tmp_path / "last", "w") as file:
        file.write("two")
    assert (tmp_path / "epoch=1").read_text() == "one"
    assert (tmp_path / "last").read_text() == "two"


@pytest.mark.parametrize("failure", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_any_failure_leaves_the_old_file_and_no_temporary(tmp_path, failure):
    target = tmp_path / "file"
    target.write_text("old")

    def write():
        with files.atomic_write(target) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(type(failure)) as raised:
        write()
    assert raised.value is failure
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_another_mode_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="mode is 'a'"), files.atomic_write(tmp_path / "file", "a"):
        pass


def test_a_relative_name_without_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with files.atomic_write("plain.txt", "w") as file:
        file.write("x")
    assert os.listdir() == ["plain.txt"]


FULL = """
    import errno, os, resource, signal, sys
    from functrain import files
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        with files.atomic_write(sys.argv[1]) as file:
            for _ in range(int(sys.argv[2])):
                file.write(b"x" * 10_000)
    except OSError as error:
        assert error.errno == errno.EFBIG, error
        print(error)
"""


@pytest.mark.parametrize("blocks", [11, 40])
def test_a_file_that_outgrows_its_limit(tmp_path, blocks):
    target = tmp_path / "model.ckpt"
    target.write_text("old")
    done = run(FULL, target, blocks)
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout
    assert "untouched" in done.stdout
    assert "ulimit -f" in done.stdout
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.ckpt"]


MOUNT = """
    import ctypes, errno, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWNS, MS_PRIVATE_REC = 0x00020000, (1 << 18) | (1 << 14)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_PRIVATE_REC, None):
        sys.exit(77)
    disk = sys.argv[1]
    if libc.mount(b"tmpfs", disk.encode(), b"tmpfs", 0, b"size=128k"):
        sys.exit(77)
    from functrain import files
    target = os.path.join(disk, "model.ckpt")
    with files.atomic_write(target) as file:
        file.write(b"old")
    for attempt in (files.atomic_write, files.atomic_directory):
        path = target if attempt is files.atomic_write else os.path.join(disk, "folder")
        try:
            with attempt(path) as given:
                part = given if attempt is files.atomic_write else open(os.path.join(given, "part"), "wb")
                with part as file:
                    for _ in range(40):
                        file.write(b"x" * 10_000)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            print(error)
        else:
            sys.exit("nothing was raised")
    assert os.listdir(disk) == ["model.ckpt"], os.listdir(disk)
    assert open(target, "rb").read() == b"old"
"""


def test_a_disk_that_is_really_full(tmp_path):
    done = run(MOUNT, tmp_path)
    if done.returncode == 77:
        pytest.skip("this user cannot mount a tmpfs in a namespace of its own")
    assert done.returncode == 0, done.stderr
    assert "model.ckpt" in done.stdout
    assert done.stdout.count("No space left on device") == 2
    assert done.stdout.count("free space on that disk") == 2


def test_kill_in_the_middle_of_a_write(tmp_path):
    target = tmp_path / "model.ckpt"
    target.write_text("old")
    kill_when_ready(
        start(
            """
            import sys, time
            from functrain import files
            with files.atomic_write(sys.argv[1]) as file:
                file.write(b"half" * 100_000)
                file.flush()
                print("ready", flush=True)
                time.sleep(60)
            """,
            target,
        )
    )
    assert target.read_text() == "old"
    assert files.list_dir(tmp_path) == ["model.ckpt"]
    assert len(os.listdir(tmp_path)) == 2, "the stale temporary"
    make_older(tmp_path)
    assert len(files.sweep(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["model.ckpt"]


# --- atomic_directory


def fill(directory: str, **content: str) -> None:
    for name, text in content.items():
        Path(directory, name).write_text(text)


def read(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_a_directory_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "deep" / "step-1"
    for content in ({"a": "1", "b": "2"}, {"c": "3"}):
        with files.atomic_directory(target) as directory:
            assert Path(directory).parent == target.parent
            fill(directory, **content)
        assert read(target) == content
        assert os.listdir(target.parent) == ["step-1"]


@pytest.mark.parametrize("failure", [ValueError("mine"), KeyboardInterrupt()])
def test_a_failed_directory_leaves_the_old_one(tmp_path, failure):
    target = tmp_path / "step"
    with files.atomic_directory(target) as directory:
        fill(directory, a="old")

    def write():
        with files.atomic_directory(str(target) + "/") as directory:
            fill(directory, a="half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert read(target) == {"a": "old"}
    assert os.listdir(tmp_path) == ["step"]


def test_a_directory_does_not_replace_a_file(tmp_path):
    (tmp_path / "step").write_text("a file")
    with pytest.raises(NotADirectoryError, match="step"), files.atomic_directory(tmp_path / "step"):
        pass
    assert os.listdir(tmp_path) == ["step"]


KILLED = """
    import os, signal, sys
    from functrain import files
    if sys.argv[2] == "no exchange":
        files.disk.EXCHANGE = 1 << 30  # which the kernel refuses
    renames = int(sys.argv[3])
    def audit(event, arguments):
        global renames
        if event == ("os.rename" if renames else "shutil.rmtree"):
            renames -= 1
            if renames <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
    with files.atomic_directory(sys.argv[1]) as directory:
        open(os.path.join(directory, "a"), "w").write("new")
        sys.addaudithook(audit)
"""


@pytest.mark.parametrize(
    ("system", "renames", "left"),
    [("exchange", 0, "new"), ("no exchange", 1, "old"), ("no exchange", 2, "old"), ("no exchange", 0, "new")],
)
def test_a_directory_is_there_whenever_its_replacement_is_killed(tmp_path, system, renames, left):
    target = tmp_path / "last.ckpt"
    with files.atomic_directory(target) as directory:
        fill(directory, a="old")
    done = run(KILLED, target, system, renames)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.exists() == (renames != 2)
    assert read(Path(files.standing(target))) == {"a": left}
    files.sweep(tmp_path)
    assert read(target) == {"a": left}, "put back at once"
    make_older(tmp_path)
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_what_was_moved_aside_is_found_behind_a_url_too():
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/aside/.step.12345678.old/a", b"old")
    assert files.standing("memory://aside/step") == "memory://aside/.step.12345678.old"
    memory.pipe("/aside/step/a", b"new")
    assert files.standing("memory://aside/step") == "memory://aside/step"
    assert files.standing("memory://aside/other") == "memory://aside/other"


# --- sweep


def make_older(directory: Path) -> None:
    for path in directory.iterdir():
        os.utime(path, (time.time() - 3600, time.time() - 3600))


def test_sweep_leaves_living_writers_young_files_and_strangers(tmp_path):
    for name in (".notes.tmp", ".x.12345678.bak", "x.12345678.tmp", ".x.1234567g.tmp"):
        (tmp_path / name).write_text("not ours")
    (tmp_path / "folder").mkdir()
    with files.atomic_write(tmp_path / "file") as file, files.atomic_directory(tmp_path / "folder"):
        file.write(b"x")
        file.flush()
        make_older(tmp_path)
        (tmp_path / ".young.12345678.tmp").write_text("")
        assert files.sweep(tmp_path) == []
    assert (tmp_path / "file").read_bytes() == b"x"
    assert len(os.listdir(tmp_path)) == 7
    assert files.sweep(tmp_path / "missing") == []
    assert files.sweep("memory://anything") == []


# --- directories, removing, listing


def test_ensure_directory_makes_parents_and_gives_the_path(tmp_path):
    wanted = tmp_path / "a" / "b"
    assert files.ensure_directory(wanted) == str(wanted)
    assert files.ensure_directory(wanted) == str(wanted)
    assert wanted.is_dir()


def test_a_file_in_the_way_of_a_directory(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match=r"runs/v1.*a file stands where a directory is needed") as raised:
        files.ensure_directory(tmp_path / "runs" / "v1")
    assert raised.value.errno == errno.ENOTDIR


def test_a_directory_that_nobody_may_write_to(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    code = """
        import os, sys
        from functrain import files
        os.chmod("..", 0o755)
        if os.geteuid() == 0:
            os.setuid(65534)
        write = lambda: files.atomic_write("../locked/file").__enter__()
        for attempt in (lambda: files.ensure_directory("../locked"), write):
            try:
                attempt()
            except PermissionError as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path / "locked",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        pytest.skip(f"a user without rights cannot run this interpreter: {done.stderr[-200:]}")
    assert done.stdout.count("cannot write to the directory '../locked'") == 2
    assert done.stdout.count("choose a directory that this user may write to") == 2


def test_remove(tmp_path):
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_text("x")
    (tmp_path / "link").symlink_to("tree")
    (tmp_path / "file").write_text("x")
    files.remove(tmp_path / "link")
    assert (tmp_path / "tree" / "deep" / "file").exists()
    files.remove(str(tmp_path / "tree") + "/")
    files.remove(tmp_path / "file")
    files.remove(tmp_path / "never there")
    assert os.listdir(tmp_path) == []


def test_exists_is_dir_list_dir_join(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("")
    (tmp_path / ".a.0123abcd.tmp").write_text("")
    assert files.list_dir(tmp_path) == ["a", "b"]
    assert files.exists(tmp_path / "a")
    assert not files.exists(tmp_path / "c")
    assert files.is_dir(tmp_path / "b")
    assert not files.is_dir(tmp_path / "a")
    assert files.join(tmp_path, "b", "c") == str(tmp_path / "b" / "c")
    assert files.join(f"file://{tmp_path}", "b") == str(tmp_path / "b")
    assert files.join("memory://x/", "b", "c") == "memory://x/b/c"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        files.list_dir(tmp_path / "nowhere")


def test_open_read(tmp_path):
    (tmp_path / "a").write_bytes("ä\r\n".encode())
    with files.open_read(tmp_path / "a") as file:
        assert file.read() == "ä\r\n".encode()
    with files.open_read(tmp_path / "a", "r") as file:
        assert file.read() == "ä\r\n"
    with pytest.raises(FileNotFoundError, match="missing"):
        files.open_read(tmp_path / "missing")
    with pytest.raises(ValueError, match="'w'"):
        files.open_read(tmp_path / "a", "w")


@pytest.mark.parametrize(
    ("path", "remote"), [("a/b", False), ("file:///a", False), ("s3://a", True), (Path("/a"), False)]
)
def test_is_remote(path, remote):
    assert files.is_remote(path) is remote


# --- URLs


@pytest.fixture
def url():
    import fsspec

    yield "memory://functrain-tests/run"
    fs = fsspec.filesystem("memory")
    if fs.exists("/functrain-tests"):
        fs.rm("/functrain-tests", recursive=True)


def test_a_url_holds_files_and_directories(url):
    for text in ("one", "two"):
        with files.atomic_write(f"{url}/a.txt", "w") as file:
            file.write(text)
        with files.atomic_directory(f"{url}/step") as directory:
            assert directory.startswith("memory://")
            with files.atomic_write(f"{directory}/{text}") as file:
                file.write(b"x")
    assert files.list_dir(url) == ["a.txt", "step"]
    assert files.list_dir(f"{url}/step") == ["two"]
    with files.open_read(f"{url}/a.txt", "r") as file:
        assert file.read() == "two"
    assert files.is_dir(f"{url}/step")
    files.remove(f"{url}/step")
    files.remove(f"{url}/step")
    assert not files.exists(f"{url}/step")


def test_a_failed_write_to_a_url_leaves_the_old_file(url):
    with files.atomic_write(f"{url}/a") as file:
        file.write(b"old")

    def write_file():
        with files.atomic_write(f"{url}/a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    def write_directory():
        with files.atomic_directory(f"{url}/a-folder") as directory:
            with files.atomic_write(f"{directory}/part") as file:
                file.write(b"half")
            raise KeyboardInterrupt

    for write in (write_file, write_directory):
        with pytest.raises(KeyboardInterrupt):
            write()
    assert files.list_dir(url) == ["a"]
    with files.open_read(f"{url}/a") as file:
        assert file.read() == b"old"


def test_a_file_does_not_replace_a_directory_at_a_url(url):
    with files.atomic_write(f"{url}/step/part") as file:
        file.write(b"x")
    with pytest.raises(IsADirectoryError, match="step"), files.atomic_write(f"{url}/step") as file:
        file.write(b"y")
    assert files.list_dir(f"{url}/step") == ["part"]


def test_fsspec_is_imported_for_urls_only(tmp_path):
    code = """
        import sys
        from functrain import files
        with files.atomic_write(sys.argv[1] + "/a") as file:
            file.write(b"x")
        assert files.exists(sys.argv[1] + "/a")
        assert not {"fsspec", "numpy", "torch", "jax"} & set(sys.modules)
        assert not files.exists("memory://a")
        assert "fsspec" in sys.modules
    """
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_name_with_brackets_in_a_url_stands_for_itself():
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        for name in ("a[1].ckpt", "a1.ckpt"):
            for content in (b"old", name.encode()):
                with files.atomic_write(f"memory://brackets/{name}") as file:
                    file.write(content)
            with files.atomic_directory(f"memory://brackets/dir-{name}") as directory:
                fs.pipe_file(f"{directory.removeprefix('memory:/')}/inner", name.encode())
        assert fs.cat_file("/brackets/a[1].ckpt") == b"a[1].ckpt"
        with (
            pytest.raises(OSError, match="cannot be replaced"),
            files.atomic_directory("memory://brackets/dir-a[1].ckpt"),
        ):
            fs.pipe_file("/brackets/dir-a1.ckpt/other", b"untouched")
        for name in ("a[1].ckpt", "dir-a[1].ckpt"):
            files.remove(f"memory://brackets/{name}")
        there = ["/brackets/a1.ckpt", "/brackets/dir-a1.ckpt/inner", "/brackets/dir-a1.ckpt/other"]
        assert sorted(fs.find("/brackets")) == there
    finally:
        fs.rm("/brackets", recursive=True)
