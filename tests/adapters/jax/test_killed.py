"""A run that is killed by SIGKILL continues in another process and ends with the very bits of one that was not."""

import json
import os
import signal
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def run(folder, kill_at, cache):
    path = os.pathsep.join([ROOT, os.path.join(ROOT, "adapters")])
    env = {
        **os.environ,
        "PYTHONPATH": path,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "tests.adapters.jax.killed", str(folder), str(kill_at)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)


def end(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("END ")[1].splitlines()[0])


@pytest.mark.slow
def test_killed_runs_end_as_the_whole_one(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = end(run(tmp_path / "whole", 0, tmp_path / "cache"))
    assert not whole.pop("resumed")
    # A checkpoint is there for certain when the next one is begun, an epoch later.
    for kill_at in (63, 80):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        killed = run(folder, kill_at, tmp_path / "cache")
        assert killed.returncode == -signal.SIGKILL
        assert list(folder.glob("*.ckpt"))
        resumed = end(run(folder, 0, tmp_path / "cache"))
        assert resumed.pop("resumed")
        assert resumed == whole
