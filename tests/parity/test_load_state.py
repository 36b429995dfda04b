"""`load_state` of a step that has its flags already: the same in torch and in JAX."""

import pytest

import functrain_jax
import functrain_torch
from tests.one_weight import JaxWeight, TorchWeight

PACKAGES = {"torch": (functrain_torch, TorchWeight), "jax": (functrain_jax, JaxWeight)}


@pytest.mark.parametrize("world", PACKAGES)
def test_flags_beside_a_step_are_refused_not_dropped(world, tmp_path):
    package, weight = PACKAGES[world]

    class Net(weight):
        def training_step(self, batch, batch_idx):
            return (self.weight() - 1) ** 2

    step = package.functional(Net())
    with pytest.raises(
        package.ConfigurationError, match=r"load_state\(gradient_clip_val=1.0\): the step has its flags"
    ):
        package.load_state(tmp_path / "none.ckpt", step, gradient_clip_val=1.0)
