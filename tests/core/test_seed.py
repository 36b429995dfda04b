"""seed.py: the same seed gives the same draws everywhere; states survive JSON; bad seeds are named."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from functrain import seed as seeding
from functrain.seed import (
    global_seed,
    isolate_rng,
    register_rng,
    register_seeder,
    rng_state,
    seed_everything,
    set_rng_state,
)

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"bit_generator": "MT19937", "state": {"key": [1], "pos": 1}}
VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTHONHASHSEED")


@pytest.fixture(autouse=True)
def _untouched(monkeypatch):
    """Every test starts unseeded, with the two generators of the core, and leaves no trace."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(seeding, "_seeded", None)
    core = ("python", "numpy")
    monkeypatch.setattr(seeding, "_seeders", {name: seeding._seeders[name] for name in core})
    monkeypatch.setattr(seeding, "_generators", {name: seeding._generators[name] for name in core})
    state = rng_state()
    yield
    set_rng_state(state)


def draws() -> list[float]:
    return [random.random(), random.gauss(0, 1), *np.random.rand(3).tolist(), np.random.randn()]


def test_the_same_seed_gives_the_same_draws():
    assert seed_everything(42) == 42
    first = draws()
    seed_everything(43)
    other = draws()
    seed_everything(42)
    assert draws() == first != other


def test_python_and_numpy_are_seeded_as_by_hand():
    seed_everything(7)
    got = draws()
    random.seed(7)
    np.random.seed(7)
    assert draws() == got


def test_environment_for_child_processes():
    seed_everything(5)
    assert [os.environ[name] for name in VARIABLES] == ["5", "0", "5"]
    seed_everything(6, workers=True)
    assert [os.environ[name] for name in VARIABLES] == ["6", "1", "6"]
    code = "from functrain.seed import *; print(global_seed(), seed_everything(), hash('a'))"
    outputs = {subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) for _ in range(2)}
    assert len(outputs) == 1
    assert outputs.pop().startswith("6 6 ")


def test_without_a_seed_the_environment_decides(monkeypatch):
    assert global_seed() is None
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert global_seed() == 17
    assert seed_everything() == 17


def test_without_any_seed_one_is_drawn_and_told(caplog):
    first = seed_everything()
    assert str(first) in caplog.text
    assert global_seed() == first
    assert seed_everything() == first, "the second call takes the first one's"
    del os.environ["PL_GLOBAL_SEED"]
    assert seed_everything() != first


@pytest.mark.parametrize("good", [0, 2**32 - 1, np.int64(3)])
def test_bounds_belong_to_the_range(good):
    got = seed_everything(good)
    assert got == good
    assert type(got) is int


@pytest.mark.parametrize("bad", [-1, 2**32])
def test_out_of_bounds(bad):
    with pytest.raises(ValueError, match=rf"seed is {bad}; it must be from 0 to 4294967295"):
        seed_everything(bad)
    assert "PL_GLOBAL_SEED" not in os.environ


@pytest.mark.parametrize("bad", [1.5, "12", True])
def test_not_an_integer(bad):
    with pytest.raises(TypeError, match=rf"seed is {bad!r}"):
        seed_everything(bad)


@pytest.mark.parametrize("bad", ["abc", "", "-4", "4294967296"])
def test_a_bad_environment_variable_is_named(monkeypatch, bad):
    monkeypatch.setenv("PL_GLOBAL_SEED", bad)
    with pytest.raises(ValueError, match="PL_GLOBAL_SEED is") as raised:
        seed_everything()
    assert bad in str(raised.value)
    assert seed_everything(1) == 1, "an explicit seed does not look at it"


def test_frameworks_register_before_or_after():
    seen = []
    register_seeder("one", lambda seed: seen.append(("one", seed)))
    assert seen == []
    seed_everything(3)
    register_seeder("two", lambda seed: seen.append(("two", seed)))
    seed_everything(4)
    assert seen == [("one", 3), ("two", 3), ("one", 4), ("two", 4)]


def test_states_survive_json():
    seed_everything(1)
    random.gauss(0, 1), np.random.randn()  # so that each holds a spare normal
    state = json.loads(json.dumps(rng_state()))
    assert set(state) == {"python", "numpy"}
    first = draws()
    set_rng_state(state)
    assert draws() == first


def test_numpy_with_another_bit_generator():
    before = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.Philox(3))
        state = json.loads(json.dumps(rng_state()))
        first = np.random.rand(5).tolist()
        set_rng_state(state)
        assert np.random.rand(5).tolist() == first
    finally:
        np.random.set_bit_generator(before)
    with pytest.raises(ValueError, match="'numpy'"):
        set_rng_state(state)


def test_isolation_covers_registered_generators_and_failures():
    own = {"value": 1}
    register_rng("own", lambda: own["value"], lambda value: own.update(value=value))
    seed_everything(11)
    expected = draws()
    seed_everything(11)

    def disturb():
        with isolate_rng():
            draws()
            seed_everything(99)
            own["value"] = 2
            raise KeyError("inside")

    with pytest.raises(KeyError):
        disturb()
    assert draws() == expected
    assert own == {"value": 1}


def test_a_partial_state_leaves_the_others_alone():
    state = rng_state()
    del state["numpy"]
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    set_rng_state(state)
    assert np.random.rand() == expected


def test_an_unknown_entry_changes_nothing():
    seed_everything(1)
    before = rng_state()
    other = {**before, "jax": [1, 2]}
    other["python"] = [3, [0] * 625, None]
    with pytest.raises(ValueError, match=r"'jax'.*functrain_jax"):
        set_rng_state(other)
    assert rng_state() == before


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("python", [3, [1, 2], None]),
        ("python", "text"),
        ("python", [3, ["a"] * 625, None]),
        ("numpy", {}),
        ("numpy", None),
        ("numpy", {"bit_generator": "MT19937", "state": {"key": [1], "pos": 1}}),
        ("numpy", {**SHORT, "has_gauss": 0, "gauss": 0.0}),
    ],
)
def test_a_state_that_does_not_fit_names_its_entry(name, bad):
    with pytest.raises(ValueError, match=f"'{name}'"):
        set_rng_state({name: bad})


def test_importing_loads_nothing_heavy():
    code = "import sys, functrain.seed; assert not {'numpy', 'torch', 'jax'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_what_libraries_draw_when_they_are_imported_is_not_missed_by_who_has_seeded():
    pytest.importorskip("jax")
    code = (
        "import random, numpy, functrain; functrain.seed_everything(3); from functrain.seed import rng_state\n"
        "before = rng_state(); import functrain_jax; functrain_jax.Module; after = rng_state()\n"
        "assert {name: after[name] for name in before} == before, 'other generators'"
    )
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "adapters")))
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=120)


def test_a_rich_progress_bar_draws_from_no_global_generator():
    pytest.importorskip("rich")
    code = (
        "import functrain; functrain.seed_everything(3); from functrain.seed import rng_state\n"
        "before = rng_state(); from functrain.callbacks import RichProgressBar\n"
        "bar = RichProgressBar(); bar._trainer = bar; bar._make()\n"
        "assert rng_state() == before, 'other generators'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
