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


def test_the_given_parser_takes_the_flags_itself():
    parser = ArgumentParser()
    assert Trainer.add_argparse_args(parser) is parser
    assert parser.parse_args(["--max_epochs=3"]).max_epochs == 3
    bare = ArgumentParser()
    Trainer.add_argparse_args(bare, use_argument_group=False)
    assert "functrain.Trainer" in parser.format_help()
    assert "functrain.Trainer" not in bare.format_help()


@pytest.mark.parametrize(
    ("words", "flag", "value"),
    [
        (["--enable_checkpointing", "False"], "checkpoint_callback", False),
        (["--enable_progress_bar", "False"], "progress_bar_refresh_rate", 0),
        (["--enable_model_summary"], "weights_summary", "top"),
        (["--strategy", "auto"], "strategy", "auto"),
    ],
)
def test_flags_go_by_their_other_names_too(words: list[str], flag: str, value: object, tmp_path):
    trainer = Trainer.from_argparse_args(parsed(*words), default_root_dir=str(tmp_path))
    assert getattr(trainer.flags, flag) == value
    untold = Trainer.from_argparse_args(parsed(), default_root_dir=str(tmp_path))
    assert untold.flags == Trainer(default_root_dir=str(tmp_path)).flags


def test_what_is_not_available_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="tpu_cores=8"):
        Trainer.from_argparse_args(parsed("--tpu_cores", "8"))


def test_a_wrong_value_names_its_flag():
    with pytest.raises(ConfigurationError, match="max_epochs='many'"):
        Trainer.from_argparse_args(parsed("--max_epochs", "many"))
