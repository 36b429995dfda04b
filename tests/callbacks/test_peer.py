"""Callbacks of the same name do the same in pytorch_lightning: what they write, what they train."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch

pytest.importorskip("pytorch_lightning", reason="the peer is an extra: pip install 'functrain[bench]'")

import pytorch_lightning as peer

from functrain_torch.callbacks import BasePredictionWriter
from tests.callbacks import test_prediction_writer as writing

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def its_warnings_are_its_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def theirs(tmp_path):
    """Makes a quiet Trainer of the peer."""

    def make(*callbacks: Any, **flags: Any) -> peer.Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        quiet |= {"enable_checkpointing": False, "num_sanity_val_steps": 0, "default_root_dir": str(tmp_path / "peer")}
        return peer.Trainer(**{**quiet, "callbacks": list(callbacks), **flags})

    return make


# ---- BasePredictionWriter


class Writer(writing.Writes, BasePredictionWriter):
    pass


class TheirWriter(writing.Writes, peer.callbacks.BasePredictionWriter):
    pass


class TheirDoubles(peer.LightningModule):
    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return 2 * batch[0]


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else [plain(item) for item in value]


@pytest.mark.parametrize("interval", ["batch", "epoch", "batch_and_epoch"])
@pytest.mark.parametrize("several", [False, True])
def test_predictions_are_written_alike(make, theirs, interval, several):
    def loaders() -> Any:
        return [writing.loader(1), writing.loader(2)] if several else writing.loader(1)

    own, other = Writer(interval), TheirWriter(interval)
    returned = make(own).predict(writing.Doubles(), loaders())
    wanted = theirs(other).predict(TheirDoubles(), loaders())
    assert plain(returned) == plain(wanted)
    assert own.batches == other.batches
    assert len(own.batches) == (0 if interval == "epoch" else 3 * (1 + several))
    assert [(plain(p), i) for p, i in own.epochs] == [(plain(p), i) for p, i in other.epochs]
    assert len(own.epochs) == (interval != "batch")
