"""Callbacks that change what is trained, in one run: it continues from anywhere as if it had not been stopped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from functrain_torch.callbacks import (
    BackboneFinetuning,
    Callback,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
)
from tests.callbacks.test_finetuning import Net, exponential, loader, weights
from tests.resume.common import MemoryLogger, Saver, differences, disturb, final

PLACES = ("on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end")


def made(order: int) -> list[Callback]:
    """All of them: the backbone joins after averaging has begun, and pruning begins before."""
    pruning = ModelPruning("l1_unstructured", amount=0.1, use_lottery_ticket_hypothesis=False)
    given = [StochasticWeightAveraging(2, 0.05, 2), BackboneFinetuning(2), pruning, Timer({"hours": 1})]
    return given[order:] + given[:order]


@pytest.mark.parametrize("order", [0, 2])
def test_a_run_with_all_of_them_continues_to_the_same_bits(make, tmp_path, order):
    def run(saver: Callback, ckpt_path: str | None = None) -> Any:
        trainer, module = make(*made(order), saver, logger=MemoryLogger(), max_epochs=4), Net(exponential)
        disturb()
        torch.manual_seed(1)
        trainer.fit(module, loader(), ckpt_path=ckpt_path)
        end = final(trainer, [])
        rates = [group["lr"] for group in module.optimizers().param_groups]
        return {"weights": weights(module), "rng": end["rng"], "clock": end["clock"], "rates": rates}

    saver = Saver(tmp_path, PLACES)
    whole = run(saver)
    for (hook, count), (path, _) in saver.saved.items():
        assert not differences(whole, run(Saver(tmp_path, ()), path)), f"{hook} {count}"
