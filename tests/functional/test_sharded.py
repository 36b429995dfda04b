"""A step of a module keeps arrays spread over devices as they are, and computes what one device does."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said():
    done = subprocess.run(
        [sys.executable, "-m", "tests.functional.sharded"],
        capture_output=True, text=True, cwd=os.getcwd(),
        env={
            **os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line.split(":; ")[0]: line.split(":; ")[1].split("; ") for line in done.stdout.splitlines()}


FLAGS = ["{}", "{'accumulate_grad_batches': 2, 'gradient_clip_val': 0.1}", "{'precision': 'bf16'}", "{'precision': 16}"]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("place", ["whole", "parts"])
def test_a_jitted_step_keeps_where_the_parameters_are_and_no_device_gets_the_batch_as_a_whole(said, flags, place):
    far, same, gathered = said[f"{flags} {place}"]
    assert float(far) < (2e-3 if "precision" in flags else 2e-6)
    assert (same, gathered) == ("True", "[]")


def test_so_does_a_step_that_is_called_by_itself(said):
    far, same, gathered = said["by itself"]
    assert float(far) < 2e-6
    assert (same, gathered) == ("True", "[]")


def test_seeds_are_spread_over_devices(said):
    far, losses, keys = said["seeds"]
    assert float(far) < 2e-6
    assert "('d',)" in losses
    assert losses == keys


def test_scans_epochs_and_evaluations_take_spread_states_and_batches(said):
    assert all(float(far) < 2e-6 for far in said["loops"])


def test_the_step_is_mapped_over_rates_and_differentiated(said):
    far, shape = said["derived"]
    assert float(far) < 1e-3
    assert shape == "(32, 6)"
