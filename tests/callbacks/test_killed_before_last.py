"""Nothing is removed before what replaces it is on the disk: the 'last' file names the best one, until the next
'last' is there."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from tests.callbacks.killed_before_last import fit

ROOT = Path(__file__).parents[2]


def test_a_run_killed_between_the_new_best_and_last_continues_with_the_best_that_last_names(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.callbacks.killed_before_last", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    left = [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert sorted(left) == ["epoch=0-step=2.ckpt", "epoch=1-step=4.ckpt", "last.ckpt"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saver = fit(str(tmp_path), 2, str(tmp_path / "last.ckpt"))
    assert saver.best_model_path == str(tmp_path / "epoch=1-step=4.ckpt")
    assert sorted(os.listdir(tmp_path)) == ["epoch=1-step=4.ckpt", "last.ckpt"]
