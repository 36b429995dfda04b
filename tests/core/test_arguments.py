"""The Trainer's flags on a command line: every flag, typed, with its help."""

from __future__ import annotations

from argparse import ArgumentParser

import pytest

from functrain import Trainer
from functrain.trainer import flags
from functrain.trainer.arguments import OBJECTS
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flagged import help_of_flags


def parsed(*words: str):
    parser = ArgumentParser()
    parser.add_argument("--rate", type=float, default=0.1)
    return Trainer.add_argparse_args(parser).parse_args(words)


def test_every_flag_has_its_help():
    text = Trainer.add_argparse_args(ArgumentParser()).format_help()
    helps = help_of_flags()
    for name in set(flags.NAMES) - set(OBJECTS):
        assert f"--{name} " in text
        assert " ".join(helps[name].split()[:2]) in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--max_epochs", "3"], "max_epochs", 3),
        (["--limit_train_batches", "0.25"], "limit_train_batches", 0.25),
        (["--limit_train_batches", "10"], "limit_train_batches", 10),
        (["--accumulate_grad_batches", "{5: 3, 10: 20}"], "accumulate_grad_batches", {5: 3, 10: 20}),
        (["--precision", "bf16"], "precision", "bf16"),
        (["--fast_dev_run"], "fast_dev_run", True),
        (["--fast_dev_run", "7"], "fast_dev_run", 7),
        (["--deterministic", "True"], "deterministic", True),
        (["--weights_summary", "None"], "weights_summary", None),
    ],
)
def test_words_become_typed_flags(words: list[str], name: str, value: object, tmp_path):
    trainer = Trainer.from_argparse_args(parsed(*words), default_root_dir=str(tmp_path))
    got = getattr(trainer.flags, name)
    assert got == value
    assert type(got) is type(value)


def test_keywords_win_and_other_arguments_are_left_alone(tmp_path):
    args = parsed("--max_epochs", "3", "--rate", "0.5")
    assert args.rate == 0.5
    assert Trainer.from_argparse_args(args, max_epochs=4, default_root_dir=str(tmp_path)).flags.max_epochs == 4


def test_a_wrong_value_names_its_flag():
    with pytest.raises(ConfigurationError, match="max_epochs='many'"):
        Trainer.from_argparse_args(parsed("--max_epochs", "many"))
