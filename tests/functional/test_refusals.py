"""What is no module, state, batch or seed for a step by hand is refused with a sentence, alike in both worlds."""

from typing import Any

import numpy as np
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError
from tests.one_weight import JaxWeight, TorchWeight

BATCHES = [1.0, 2.0]
QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Steps:
    """Loss (w - x)^2."""

    weight: Any

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return ((self.weight() - batch) ** 2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("off", ((self.weight() - batch) ** 2).mean())  # type: ignore[attr-defined]


class TorchNet(Steps, TorchWeight): ...


class JaxNet(Steps, JaxWeight): ...


WORLDS = {"torch": (pl, TorchNet, torch.tensor), "jax": (ft, JaxNet, np.float32)}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Any:
    return WORLDS[request.param]


def test_a_class_or_something_else_is_no_module(world: Any):
    package, net, _ = world
    other = JaxNet if net is TorchNet else TorchNet
    for given in (net, other(), object(), None):
        with pytest.raises(ConfigurationError, match=rf"give a module of {package.__name__}"):
            package.functional(given)


@pytest.mark.parametrize("given", [None, 3, {}, Steps()])
def test_what_is_no_state(world: Any, given: Any):
    package, net, array = world
    step = package.functional(net())
    batches = list(map(array, BATCHES))
    calls = (
        lambda: step.step(given, batches[0]),
        lambda: step.epoch(given, batches),
        lambda: step.evaluate(given, batches),
        lambda: package.Trainer(max_epochs=1, **QUIET).fit(net(), batches, state=given if given is not None else ()),
    )
    for call in calls:
        with pytest.raises(ConfigurationError, match="is no state of functional"):
            call()


def test_a_state_that_was_moved_already(world: Any):
    package, net, array = world
    step = package.functional(net())
    batches = list(map(array, BATCHES))
    old = step.init()
    new, _ = step.step(old, batches[0])
    calls = (
        lambda: step.step(old, batches[0]),
        lambda: step.epoch(old, batches),
        lambda: step.evaluate(old, batches),
        lambda: package.Trainer(max_epochs=1, **QUIET).fit(net(), batches, state=old),
    )
    for call in calls:
        with pytest.raises(ConfigurationError, match="go on with the state that the step returned"):
            call()
    step.step(new, batches[1])


def test_a_stage_that_a_step_does_not_evaluate(world: Any):
    package, net, array = world
    step = package.functional(net())
    for stage in ("validate", "predict", ""):
        with pytest.raises(ConfigurationError, match="must be 'validation' or 'test'"):
            step.evaluate(step.init(), list(map(array, BATCHES)), stage)


def test_batches_that_are_none(world: Any):
    package, net, _ = world
    step = package.functional(net(), donate=False)
    with pytest.raises(ConfigurationError, match=r"epoch\(state, int\)"):
        step.epoch(step.init(), 5)
    with pytest.raises(ConfigurationError, match="no batch"):
        step.epoch(step.init(), [])


@pytest.mark.parametrize(("seed", "error"), [("a", TypeError), (-1, ValueError), (2**32, ValueError), (1.5, TypeError)])
def test_seeds_that_are_none(world: Any, seed: Any, error: type[Exception]):
    package, net, _ = world
    with pytest.raises(error, match="from 0 to"):
        package.functional(net()).init(seed=seed)
