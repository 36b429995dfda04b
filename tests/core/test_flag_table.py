"""The Trainers' keyword arguments are the table of flags: names, defaults, types, docs."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import functrain
import functrain_jax
import functrain_torch as pl
from functrain.trainer import flags
from functrain.trainer.flagged import help_of_flags
from functrain_torch.compat.trainer import OLDER_FLAGS

TYPES = {**flags.Settings.__annotations__, **flags.Flags.__annotations__}


def keywords(trainer: Any) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(trainer).parameters)
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    return parameters


@pytest.mark.parametrize("trainer", [functrain.Trainer, functrain_jax.Trainer, pl.Trainer])
def test_the_flags_are_keywords_with_their_types_and_defaults(trainer: Any):
    found = keywords(trainer)
    assert {name: found[name].default for name in flags.NAMES} == flags.DEFAULTS
    or_none = {name: f"{TYPES[name]} | None" for name in flags.NONE_IS_DEFAULT}
    assert {name: found[name].annotation for name in flags.NAMES} == {**TYPES, **or_none}
    assert {name: found[name].default for name in flags.ALIASES} == dict.fromkeys(flags.ALIASES)
    assert {name: found[name].default for name in flags.LATER} == flags.LATER


@pytest.mark.parametrize("trainer", [functrain.Trainer, functrain_jax.Trainer])
def test_present_names_are_all_that_a_trainer_takes(trainer: Any):
    assert set(keywords(trainer)) == {*flags.NAMES, *flags.ALIASES, *flags.LATER}


def test_a_torch_trainer_takes_the_older_names_too():
    older = {name: p for name, p in keywords(pl.Trainer).items() if name not in keywords(functrain.Trainer)}
    assert set(older) == set(OLDER_FLAGS)
    assert {p.default for p in older.values()} == {None}


def test_every_flag_has_a_line_in_the_trainers_docstring():
    said = help_of_flags()
    assert set(said) == {*flags.NAMES, *flags.ALIASES}
    assert said["max_steps"] == "stop after so many updates, and after a whole batch; None or -1 for no limit"


@pytest.mark.parametrize("name", flags.ALIASES)
def test_none_for_another_name_of_a_flag_says_nothing(name: str):
    quiet = {"checkpoint_callback": False, "logger": False, "weights_summary": None}
    trainer = functrain.Trainer(**{**quiet, name: None})
    assert trainer.flags == functrain.Trainer(**quiet).flags


@pytest.mark.parametrize("name", flags.NONE_IS_DEFAULT)
def test_none_leaves_a_limit_or_an_interval_at_its_default(name: str):
    quiet = {"checkpoint_callback": False, "logger": False, "weights_summary": None}
    assert getattr(functrain.Trainer(**{**quiet, name: None}).flags, name) == flags.DEFAULTS[name]
