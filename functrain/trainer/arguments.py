"""The Trainer's flags on a command line, through argparse: type, default and help come from the table."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Mapping
from typing import Any

from functrain.trainer import flags
from functrain.trainer.flagged import help_of_flags

# What a command line cannot say in a word: these are given in the program.
OBJECTS = ("callbacks",)


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return a parser that takes what this one does, and `--<flag> value` for every flag of the Trainer."""
    parser = argparse.ArgumentParser(parents=[parser], add_help=False, allow_abbrev=False)
    group = parser.add_argument_group("functrain.Trainer")
    helps = help_of_flags()
    for name in flags.NAMES:
        if name in OBJECTS:
            continue
        default = flags.DEFAULTS[name]
        bare: dict[str, Any] = {"nargs": "?", "const": True} if isinstance(default, bool) else {}
        text = f"{helps.get(name, '')} (default: {default})".replace("%", "%%")
        group.add_argument(f"--{name}", type=value, default=default, metavar="VALUE", help=text, **bare)
    return parser


def value(text: str) -> Any:
    """Return what a word on the command line stands for: a number, True, False, None, a list or dict of them; else
    itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def flags_of(
    args: argparse.Namespace | Mapping[str, Any], given: Mapping[str, Any], older: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the Trainer's flags among parsed arguments that differ from their defaults; `given` ones win. Arguments of
    `older` names are among them."""
    parsed = args if isinstance(args, Mapping) else vars(args)
    known = (*flags.NAMES, *older, *flags.ALIASES, *flags.LATER)
    changed = {
        name: parsed[name]
        for name in known
        if name in parsed and (name not in flags.DEFAULTS or parsed[name] != flags.DEFAULTS[name])
    }
    return {**changed, **given}
