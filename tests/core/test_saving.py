"""What is written by a thread: one at a time, nobody is told before it is over, and no process is forked meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from functrain.trainer import saving
from functrain.trainer.saving import Writes, Written

opened: list[threading.Event] = []


def test_the_next_write_begins_when_the_one_before_is_over():
    gate, order = threading.Event(), []

    def first() -> None:
        assert gate.wait(60)
        order.append("first")

    one = saving.in_thread(first)
    assert not one.done()
    opener = threading.Thread(target=gate.set)
    opener.start()
    two = saving.in_thread(lambda: order.append("second"))
    assert one.done()
    two.wait()
    opener.join()
    assert order == ["first", "second"]


def test_what_a_write_raises_is_raised_by_its_own_wait_alone():
    def fails() -> None:
        raise OSError("full")

    one = saving.in_thread(fails)
    saving.in_thread(lambda: None).wait()
    saving.finish()
    with pytest.raises(OSError, match="full"):
        one.wait()


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system does not fork")
def test_a_fork_waits_until_the_file_is_there(tmp_path):
    """The gate opens when the fork has begun, so the file is written while the fork waits for it, or never seen."""
    os.register_at_fork(before=lambda: opened.pop().set() if opened else None)
    gate = threading.Event()

    def write() -> None:
        assert gate.wait(60)
        for name in "abcdefgh":
            (tmp_path / name).write_bytes(bytes(1 << 16))

    one = saving.in_thread(write)
    opened.append(gate)
    child = os.fork()
    if not child:
        # Threads of other libraries may begin again in a child.
        writing = [thread for thread in threading.enumerate() if thread.name == "functrain-saving"]
        os._exit(len(os.listdir(tmp_path)) + 100 * len(writing))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 8, "eight files, and no thread that writes"
    one.wait()


def test_a_forked_child_may_write_too(tmp_path):
    child = os.fork()
    if not child:
        saving.in_thread(lambda: (tmp_path / "a").write_bytes(b"a")).wait()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.listdir(tmp_path) == ["a"]


def test_a_run_is_told_once_how_its_write_ended():
    told: list[object] = []
    writes, gate = Writes(), threading.Event()
    error = OSError("full")

    def fails() -> None:
        assert gate.wait(60)
        raise error

    writes.add("a.ckpt", saving.in_thread(fails), told.append)
    writes.look()
    assert told == [], "it is not over"
    gate.set()
    with pytest.raises(OSError, match="full"):
        writes.settle()
    writes.settle()
    writes.add("b.ckpt", Written(), told.append)
    writes.look()
    assert told == [error, None]
    assert writes.path == ""


def test_a_program_that_ends_waits_for_the_file(tmp_path):
    """Its main thread is over before anything is written."""
    code = """
        import sys, threading
        from functrain import files
        from functrain.trainer import saving

        def write():
            threading.main_thread().join()
            with files.atomic_directory(sys.argv[1]) as directory, open(directory + "/a", "w") as file:
                file.write("whole")

        saving.in_thread(write)
    """
    path = tmp_path / "a.ckpt"
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], check=True, timeout=60)
    assert (path / "a").read_text() == "whole"
