"""What `import functrain` loads, and how long it takes, measured in fresh interpreters."""

import json
import os
import subprocess
import sys

import pytest

from tests.structure.graph import ROOT

CODE = """
import json, sys, time
start = time.perf_counter()
import {package}
seconds = time.perf_counter() - start
print(json.dumps({{"seconds": seconds, "loaded": sorted({{name.split(".")[0] for name in sys.modules}})}}))
"""


def fresh_import(package: str) -> dict:
    """Imports `package` in a new interpreter; returns the seconds it took and the top-level names loaded."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(package=package)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_functrain_loads_no_framework_and_is_quick():
    # The least of a few: the first may read from a cold disk, and another process may have the processor.
    runs = [fresh_import("functrain") for _ in range(5)]
    loaded = set(runs[0]["loaded"])
    assert not loaded & {"torch", "jax", "jaxlib", "flax", "optax", "numpy", "tensorboardX"}
    assert min(run["seconds"] for run in runs) < 0.1


@pytest.mark.parametrize(
    ("package", "foreign"),
    [
        ("functrain.trainer", {"torch", "jax", "flax", "optax"}),
        ("functrain.callbacks", {"torch", "jax", "flax", "optax"}),
        ("functrain.loggers", {"torch", "jax", "flax", "optax"}),
        ("functrain.profilers", {"torch", "jax", "flax", "optax"}),
        ("functrain_torch", {"jax", "flax", "optax", "functrain_jax"}),
        ("functrain_jax", {"torch", "torchmetrics", "functrain_torch"}),
    ],
)
def test_one_world_does_not_load_the_other(package: str, foreign: set[str]):
    assert not set(fresh_import(package)["loaded"]) & foreign
