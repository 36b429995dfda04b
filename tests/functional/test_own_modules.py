"""The laws for users' modules, held by the project's own: those of the example and of the benchmarks."""

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import functrain_torch as pl
from benchmarks import models, overhead
from functrain.testing import check_module

ROOT = Path(__file__).parents[2]
CLASSES = 10


def example() -> Any:
    spec = importlib.util.spec_from_file_location("digits_example", ROOT / "examples" / "digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def labelled(shape: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(np.float32), rng.integers(0, CLASSES, shape[0])


@pytest.mark.parametrize("world", ["torch_world", "jax_world"])
def test_the_classifiers_of_the_example(world: str):
    module, loader, _ = getattr(example(), world)()
    batch = next(iter(loader(example().digits()[0], True)))
    results = check_module(module, batch, loss_at_init=math.log(CLASSES), overfits=300, print=str)
    assert [each.check for each in results if each.verdict == "passed"][:3] == [
        "check_pure", "check_gradients", "check_loss_at_init",
    ]  # fmt: skip


@pytest.mark.parametrize("name", overhead.MODELS)
def test_the_torch_models_of_the_benchmarks(name: str):
    network, shape = overhead.MODELS[name]
    torch.manual_seed(0)
    batch = tuple(map(torch.from_numpy, labelled((4, *shape[1:]))))
    module = overhead.module_of(pl.LightningModule, network, True)
    check_module(module, batch, options={"check_no_leak": {"predict": lambda module, batch: module.net(batch[0])}})


@pytest.mark.slow
@pytest.mark.parametrize("name", models.MODELS)
def test_the_jax_models_of_the_benchmarks(name: str):
    model = models.MODELS[name]
    batch = labelled((4, *model.shape[1:]))
    options = {"check_no_leak": {"predict": lambda module, batch: module.net(batch[0]), "rtol": 1e-4}}
    check_module(models.Classifier(model()), batch, options=options)
