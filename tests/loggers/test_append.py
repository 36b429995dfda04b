"""append.py: whole records, in order, once; under forks, pickles, full disks and kills."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from functrain.append_file import AppendFile

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_records_are_held_back_until_flushed(tmp_path):
    path = tmp_path / "file"
    file = AppendFile(str(path))
    file.flush()
    assert not path.exists(), "nothing was written, so nothing is made"
    file.append(b"one\n")
    file.append(b"two\n")
    assert not path.exists()
    file.flush()
    file.flush()
    file.append(b"three\n")
    file.flush()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_an_existing_file_is_continued(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"zero\n")
    file = AppendFile(str(path))
    file.append(b"one\n")
    file.flush()
    assert path.read_bytes() == b"zero\none\n"


def test_the_owners_end_writes_out(tmp_path):
    path = tmp_path / "file"
    file = AppendFile(str(path))
    file.append(b"one\n")
    del file
    gc.collect()
    assert path.read_bytes() == b"one\n"


def test_the_interpreters_end_writes_out(tmp_path):
    path = tmp_path / "file"
    code = """
        import sys
        from functrain.append_file import AppendFile
        file = AppendFile(sys.argv[1])
        file.append(b"one\\n")
        raise SystemExit(3)
    """
    assert run(code, path).returncode == 3
    assert path.read_bytes() == b"one\n"


def test_copies_and_pickles_point_to_the_same_file(tmp_path):
    path = tmp_path / "file"
    file = AppendFile(str(path))
    file.append(b"one\n")
    others = [pickle.loads(pickle.dumps(file)), copy.deepcopy(file)]
    for other in others:
        other.append(b"more\n")
        other.flush()
    file.flush()
    assert path.read_bytes() == b"one\nmore\nmore\n"


@pytest.mark.parametrize("leave", ["os._exit(0)", "raise SystemExit"])
def test_a_forked_child_writes_only_its_own(tmp_path, leave):
    path = tmp_path / "file"
    code = f"""
        import gc, os, sys
        from functrain.append_file import AppendFile
        file = AppendFile(sys.argv[1])
        file.append(b"parent\\n")
        if not (child := os.fork()):
            file.flush()
            gc.collect()
            file.append(b"child\\n")
            file.flush()
            {leave}
        os.waitpid(child, 0)
        file.append(b"again\\n")
    """
    done = run(code, path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"child\nparent\nagain\n"


def test_a_full_disk_leaves_no_torn_record_and_nothing_is_lost(tmp_path):
    path = tmp_path / "file"
    code = """
        import errno, os, resource, signal, sys
        from functrain.append_file import AppendFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        file = AppendFile(sys.argv[1])
        file.append(b"a" * 999 + b"\\n")
        file.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
        file.append(b"b" * 999 + b"\\n")
        try:
            file.flush()
        except OSError as error:
            assert error.errno == errno.EFBIG, error
            print(error)
        assert os.path.getsize(sys.argv[1]) == 1000
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.append(b"c\\n")
        file.flush()
    """
    done = run(code, path)
    assert done.returncode == 0, done.stderr
    assert f"cannot append to '{path}'" in done.stdout
    assert path.read_bytes() == b"a" * 999 + b"\n" + b"b" * 999 + b"\nc\n"


def test_dev_full():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    file = AppendFile("/dev/full")
    file.append(b"x")
    with pytest.raises(OSError, match=r"/dev/full.*No space left on device.*free space") as raised:
        file.flush()
    assert raised.value.errno == errno.ENOSPC
    file._held.records.clear()  # or it would try again at the end


def test_what_was_flushed_survives_a_kill(tmp_path):
    path = tmp_path / "file"
    code = """
        import os, signal, sys
        from functrain.append_file import AppendFile
        file = AppendFile(sys.argv[1])
        file.append(b"kept\\n")
        file.flush()
        file.append(b"lost\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(code, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"kept\n"


def test_records_of_several_threads_are_all_there(tmp_path):
    from threading import Thread

    path = tmp_path / "file"
    file = AppendFile(str(path))

    def work(letter: bytes) -> None:
        for index in range(300):
            file.append(letter * 10 + b"\n")
            if index % 7 == 0:
                file.flush()

    threads = [Thread(target=work, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.flush()
    lines = path.read_bytes().split(b"\n")[:-1]
    assert sorted(lines) == sorted([b"a" * 10, b"b" * 10, b"c" * 10] * 300)


def test_a_url_is_continued():
    import fsspec

    fs = fsspec.filesystem("memory")
    url = "memory://functrain-append/file"
    fs.pipe_file("/functrain-append/file", b"zero\n")
    try:
        for text in (b"one\n", b"two\n"):
            file = AppendFile(url)
            file.append(text)
            file.flush()
            file.append(text)
            file.flush()
        assert fs.cat_file("/functrain-append/file") == b"zero\none\none\ntwo\ntwo\n"
        assert [Path(name).name for name in fs.ls("/functrain-append", detail=False)] == ["file"]
    finally:
        fs.rm("/functrain-append", recursive=True)
