"""Programs of a pair: a fit with a profiler, and one with a logger over a tracking library's client."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import numpy as np

from functrain.loggers import CSVLogger, MLFlowLogger
from functrain.profilers import SimpleProfiler
from functrain.trainer.world import ranks
from tests.processes import programs


def _fit(logger: Any, **flags: Any) -> str:
    """What a fit prints."""
    trainer = programs.framework.Trainer(
        logger=logger, max_epochs=1, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None,
        log_every_n_steps=2, **flags,
    )  # fmt: skip
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        trainer.fit(programs.Line([("loss", {"sync_dist": True})]), [programs.array(np.ones(2, np.float32))] * 4)
    return out.getvalue()


def printed(folder: str) -> str:
    return _fit(False, profiler="simple")


def written(folder: str) -> str:
    return _fit(CSVLogger(folder), profiler=SimpleProfiler(filename="times"))


def tracked(folder: str) -> tuple[str, str, bool]:
    logger = MLFlowLogger(save_dir=os.path.join(folder, "runs"))
    _fit(logger)
    writes = logger._writes
    assert writes == (ranks().rank == 0)
    return logger.version, logger.log_dir or "", writes
