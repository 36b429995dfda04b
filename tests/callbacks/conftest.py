"""A Trainer that prints and logs nothing by itself."""

from __future__ import annotations

from typing import Any

import pytest

import functrain_torch as pl


@pytest.fixture
def make(tmp_path):
    """Makes a quiet Trainer that writes below `tmp_path`."""

    def make(*callbacks: Any, **flags: Any) -> pl.Trainer:
        quiet = {"logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None, "num_sanity_val_steps": 0}
        if not any(hasattr(callback, "best_model_path") for callback in callbacks):
            quiet["checkpoint_callback"] = False
        return pl.Trainer(**{"default_root_dir": str(tmp_path), "callbacks": list(callbacks), **quiet, **flags})

    return make
