"""What the three backends are asked to do alike: numbers and options, in numpy and plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from functrain.kernel import ScaleRule
from tests.oracle import Batch, data, recurrent
from tests.oracle.trees import Arrays

UPDATES = 50
OVERFLOW_AT = 19


class Case(NamedTuple):
    """A run: the model and its parameters, the optimizer, the options of `make_step`, a batch a step."""

    model: Literal["mlp", "elman"]
    params: Arrays
    optimizer: Literal["sgd", "adamw"]
    options: dict[str, Any]
    batches: Sequence[Any]


class Seen(NamedTuple):
    """What a backend showed after an update."""

    loss: float
    norm: float | None
    finite: bool
    scale: float | None
    skipped: int
    params: Arrays


def windows(rng: np.random.Generator, sizes: Sequence[Sequence[int]], n: int) -> list[list[Batch]]:
    """The pattern of windows over and over, `n` in all; every micro-batch has a weight for every sample."""

    def micro(size: int) -> Batch:
        batch = data.classes(rng, size, np.float32)
        return batch._replace(weight=rng.uniform(0.5, 2.0, size).astype(np.float32))

    return [[micro(size) for size in sizes[i % len(sizes)]] for i in range(n)]


def accumulated(optimizer: Literal["sgd", "adamw"], **clip: float) -> Case:
    """Epochs of seven micro-batches in windows of three: the last window holds one. One batch overflows.

    Its inputs are so large that the loss (about 1e36) still is a float32, and 2^8 times its gradient is not.
    """
    rng = np.random.default_rng(2)
    batches = windows(rng, [(4, 4, 3), (4, 4, 3), (2,)], UPDATES)
    bad = batches[OVERFLOW_AT][1]
    batches[OVERFLOW_AT][1] = bad._replace(x=bad.x * np.float32(1e36))
    options = {"accumulate": 3, "loss_scale": ScaleRule(init=2.0**8, interval=15), **clip}
    return Case("mlp", data.mlp_params(rng, np.float32), optimizer, options, batches)


def plain(optimizer: Literal["sgd", "adamw"]) -> Case:
    """One batch an update, and no option."""
    rng = np.random.default_rng(3)
    batches = windows(rng, [(8,)], UPDATES)
    return Case("mlp", data.mlp_params(rng, np.float32), optimizer, {}, batches)


def truncated(accumulate: int) -> Case:
    """Sequences of seven steps in pieces of two, the last of one, `accumulate` pieces an update."""
    rng = np.random.default_rng(4)
    params = {name: p.astype(np.float32) for name, p in recurrent.params(rng).items()}
    batches = [Batch(*(f.astype(np.float32) for f in data.sequences(rng, 3, 7)[:2])) for _ in range(15)]
    return Case("elman", params, "adamw", {"tbptt": 2, "accumulate": accumulate, "clip_norm": 0.5}, batches)
