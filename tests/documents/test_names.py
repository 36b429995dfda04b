"""The table of names is whole and true: every public name is in it, every test that it gives exists."""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch

import functrain_torch as pl
from functrain.trainer import flags
from functrain_torch import ConfigurationError
from tests.documents.names import NOT_YET, SHOWN, VALUES_NOT_YET

TESTS = Path(__file__).resolve().parents[1]


@cache
def names_of_tests(path):
    """Return the names of the tests in a file; those of a class as Class::test."""
    found = set()
    for node in ast.parse((TESTS / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return {name for name in found if name.rpartition("::")[2].startswith("test_")}


@pytest.mark.parametrize("name", SHOWN)
def test_the_test_is_there(name):
    path, _, test = SHOWN[name].partition("::")
    assert (TESTS / path).is_file(), path
    assert test.partition("[")[0] in names_of_tests(path), SHOWN[name]


def members(cls, *beside):
    return {name for name in dir(cls) if not name.startswith("_") and not any(hasattr(base, name) for base in beside)}


def public():
    """Return every public name, as the table writes it."""
    every_flag = {*flags.NAMES, *flags.ALIASES, *flags.LATER, *pl.Trainer.older_names}
    names = {f"Trainer({name})" for name in every_flag} | set(pl.__all__) - {"testing"}
    names |= {f"Trainer.{name}" for name in members(pl.Trainer)}
    names |= {f"LightningModule.{name}" for name in members(pl.LightningModule, torch.nn.Module)}
    names |= {f"LightningDataModule.{name}" for name in members(pl.LightningDataModule)}
    names |= {f"Callback.{name}" for name in members(pl.Callback)}
    for package in (pl.callbacks, pl.loggers, pl.profilers, pl.tuner):
        names |= {f"{package.__name__.rpartition('.')[2]}.{name}" for name in package.__all__}
    return names


def test_every_public_name_is_in_the_table():
    assert public() - SHOWN.keys() - NOT_YET.keys() == set()
    assert not SHOWN.keys() & NOT_YET.keys()


@pytest.mark.parametrize("name", NOT_YET)
def test_what_is_not_built_says_so(name):
    how, _, value = NOT_YET[name].partition(": ")
    if name.startswith("Trainer("):
        flag = name[len("Trainer(") : -1]
        given = ast.literal_eval(value) if value else True
        message = {"refused": "this flag is documented but not available", "unknown flag": "unknown flag"}[how]
        with pytest.raises(ConfigurationError, match=rf"Trainer\({flag}=.*\): {message}"):
            pl.Trainer(**{flag: given})
        return
    assert how == "absent"
    owner, _, member = name.rpartition(".")
    try:
        where = getattr(pl, owner)
    except AttributeError:
        with pytest.raises(ModuleNotFoundError):
            import_module(f"functrain_torch.{owner}")
    else:
        assert not hasattr(where, member)


@pytest.mark.parametrize("flag", VALUES_NOT_YET)
def test_a_value_that_is_not_taken_is_refused_by_name(flag):
    with pytest.raises(
        ConfigurationError, match=rf"Trainer\({flag}={VALUES_NOT_YET[flag]!r}\): (must be|this version)"
    ):
        pl.Trainer(**{flag: VALUES_NOT_YET[flag]})


def test_a_csv_loggers_rows_are_in_its_file_alone():
    """Newer scripts read `logger.experiment.metrics`."""
    with pytest.raises(AttributeError):
        _ = pl.loggers.CSVLogger("logs").experiment.metrics
