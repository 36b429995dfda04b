"""Random numbers that a data set draws in worker processes: different ones in each, the same in every run of a seed."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import functrain_torch as pl
from tests.one_weight import TorchWeight

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Draws(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.tensor([np.random.rand(), random.random(), torch.rand(()).item()])


class Seen(TorchWeight):
    def __init__(self):
        super().__init__()
        self.batches = []

    def training_step(self, batch, batch_idx):
        self.batches.append(batch)
        return (self.weight() - 1) ** 2


def drawn(seed, workers):
    pl.seed_everything(seed, workers=workers)
    module = Seen()
    pl.Trainer(max_epochs=2, **QUIET).fit(module, DataLoader(Draws(), batch_size=2, num_workers=2))
    return torch.stack(module.batches)


@pytest.mark.parametrize("workers", [False, True])
def test_workers_draw_other_numbers_than_each_other_and_the_same_in_every_run_of_a_seed(workers):
    numbers = drawn(3, workers)
    assert torch.equal(numbers, drawn(3, workers=False))
    for generator in numbers.reshape(-1, 3).T:
        assert len(set(generator.tolist())) == 16, "two epochs of 8 samples"
    assert not torch.equal(numbers, drawn(4, workers))
