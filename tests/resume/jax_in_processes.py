"""JAX runs that are killed while a thread writes their checkpoint, for real. A script: forks a child for every run, and
prints as JSON what is wrong with each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from functrain.callbacks import ModelCheckpoint
from tests.callbacks.helpers import names
from tests.callbacks.test_jax import run
from tests.resume.in_processes import in_child
from tests.resume.kills import STAGES, kill_at

KILLS = [(stage, ns) for stage in STAGES for ns in ([1], [4], [2, 2])]


def train(directory: str) -> dict[str, Any]:
    """One process' part of the run: it goes on where the last one was killed."""
    save = ModelCheckpoint(f"{directory}/kept", "{epoch}", monitor="val_loss", save_last=True)
    quiet = {"weights_summary": None, "progress_bar_refresh_rate": 0}
    trainer, module = run(Path(directory), 5, save, ckpt_path="last", **quiet)
    kept = {os.path.basename(path): score for path, score in save.best_k_models.items()}
    files = [name for name in names(save.dirpath) if not name.startswith(".")]
    weight = float(module.params["w"][0]).hex()
    return {"weight": weight, "step": trainer.global_step, "kept": kept, "files": files}


def killed(directory: str, stage: str, ns: list[int]) -> Any:
    for n in ns:

        def work(n: int = n) -> Any:
            kill_at(stage, n)
            return train(directory)

        ended, given = in_child(work)
        if ended != signal.SIGKILL:
            return f"was not killed at {stage} {n}: {ended}, {given}"
    ended, given = in_child(lambda: train(directory))
    return [] if not ended and given == REFERENCE else f"ended with {ended}: {given} instead of {REFERENCE}"


REFERENCE: Any = None


def main(directory: str) -> None:
    global REFERENCE
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        ended, REFERENCE = in_child(lambda: train(f"{directory}/reference"))
        assert not ended, ended
        assert isinstance(REFERENCE, dict), REFERENCE
        found = {
            f"{stage} {ns}": killed(f"{directory}/{stage}{'-'.join(map(str, ns))}", stage, ns) for stage, ns in KILLS
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
