"""`check_replicas` holds a batch on two devices against the batch on one."""

import os
import subprocess
import sys

import pytest

from functrain.testing import NothingToCheck, check_replicas
from tests.functional.modules_checked import JaxMlp, TorchMlp, batch_of


@pytest.fixture(scope="module")
def lines():
    done = subprocess.run(
        [sys.executable, "-m", "tests.functional.replicas_checked"],
        capture_output=True, text=True, check=True, cwd=os.getcwd(),
        env={
            **os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        },
    )  # fmt: skip
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_a_sound_module_passes(lines, name):
    assert lines[name] == "passed"


@pytest.mark.slow
def test_a_mean_over_the_samples_of_one_device_is_told_by_the_loss(lines):
    assert lines["own mean"].startswith("AssertionError: check_replicas: the loss of update 1 of optimizer 0 is ")


@pytest.mark.slow
def test_a_mean_over_the_samples_of_one_device_is_told_by_the_furthest_parameter(lines):
    assert lines["small"].startswith("AssertionError: check_replicas: after update 1 ")
    assert "of its size on 2 devices" in lines["small"]


@pytest.mark.slow
def test_a_device_that_is_missing_is_told_with_what_to_do(lines):
    assert lines["four"].startswith("NothingToCheck: check_replicas: 4 replicas need as many devices, and JAX has 2")
    assert "xla_force_host_platform_device_count=4" in lines["four"]


@pytest.mark.slow
def test_samples_that_cannot_be_spread_evenly_are_told(lines):
    assert lines["eleven"].startswith("ValueError: check_replicas(n=2): 11 samples cannot be spread")


def test_replicas_of_torch_are_not_checked_in_silence():
    with pytest.raises(NothingToCheck, match="replicas of torch are processes"):
        check_replicas(TorchMlp(), batch_of("torch"), 2)


def test_one_replica_is_an_impossible_argument():
    with pytest.raises(ValueError, match="n=1"):
        check_replicas(JaxMlp(), batch_of("jax"), 1)
