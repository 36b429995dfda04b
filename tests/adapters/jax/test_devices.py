"""Arrays spread over several devices: refused by the Trainer, left in their place by the step alone."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def lines():
    flags = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.jax.devices"],
        capture_output=True, text=True, check=True, cwd=os.getcwd(),
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(filter(None, sys.path))},
    )  # fmt: skip
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_a_model_spread_over_devices_is_refused(lines):
    assert lines["model"].startswith("self.params.w is spread over 2 devices")
    assert "does not support meshes yet" in lines["model"]


def test_a_batch_spread_over_devices_is_refused(lines):
    assert lines["batch"].startswith("batch[0] is spread over 2 devices")


def test_micro_batches_of_a_spread_batch_stay_where_they_are(lines):
    assert lines["gathers"].startswith("0 reduces: ")
    assert not lines["gathers"].endswith(" 0"), "the gradients are summed over the devices"
    assert lines["equal"] == "True"


def test_an_array_of_a_checkpoint_is_read_into_the_place_of_the_one_it_stands_for(lines):
    """One of another shape, or that nothing stands for, goes where the rest goes."""
    assert lines["read"] == "[True, True, True, True]"
