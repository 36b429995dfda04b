"""Flags come from `PL_TRAINER_*` where nobody gives them."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

import functrain_torch as pl


def made(**flags: Any) -> pl.Trainer:
    return pl.Trainer(**{"logger": False, "checkpoint_callback": False, **flags})


@pytest.mark.parametrize(
    ("name", "text", "flag", "value"),
    [
        ("MAX_EPOCHS", "3", "max_epochs", 3),
        ("LIMIT_TRAIN_BATCHES", "0.25", "limit_train_batches", 0.25),
        ("ENABLE_PROGRESS_BAR", "False", "progress_bar_refresh_rate", 0),
        ("DEFAULT_ROOT_DIR", "runs", "default_root_dir", "runs"),
        ("ACCELERATOR", "cpu", "accelerator", "cpu"),
    ],
)
def test_a_variable_is_a_flag(monkeypatch: pytest.MonkeyPatch, name: str, text: str, flag: str, value: object):
    monkeypatch.setenv(f"PL_TRAINER_{name}", text)
    got = getattr(made().flags, flag)
    assert got == value
    assert type(got) is type(value)


def test_what_is_given_wins_by_any_name_of_the_flag(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    monkeypatch.setenv("PL_TRAINER_PROGRESS_BAR_REFRESH_RATE", "7")
    assert made(max_epochs=5).max_epochs == 5
    assert made(enable_progress_bar=False).flags.progress_bar_refresh_rate == 0
    with pytest.warns(DeprecationWarning, match="max_nb_epochs"):
        assert made(max_nb_epochs=4).max_epochs == 4


def test_a_variable_of_no_flag_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCH", "3")
    with pytest.raises(pl.ConfigurationError, match=r"PL_TRAINER_MAX_EPOCH='3': unknown flag.*max_epochs"):
        made()


def test_a_wrong_value_names_the_flag(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "many")
    with pytest.raises(pl.ConfigurationError, match="max_epochs='many'"):
        made()


def test_the_command_line_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    monkeypatch.setenv("PL_TRAINER_LOGGER", "False")
    parser = pl.Trainer.add_argparse_args(ArgumentParser())
    args = parser.parse_args(["--max_epochs", "2", "--default_root_dir", str(tmp_path)])
    trainer = pl.Trainer.from_argparse_args(args)
    assert (trainer.max_epochs, trainer.logger) == (2, None)
