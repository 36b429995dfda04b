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


def add_arguments(parser: argparse.ArgumentParser, use_argument_group: bool = True) -> argparse.ArgumentParser:
    """Have this parser take `--<flag> value` for every flag of the Trainer too, and return it.

    Args:
        use_argument_group: the help shows the flags in a group of their own.
    """
    group = parser.add_argument_group("functrain.Trainer") if use_argument_group else parser
    helps = help_of_flags()
    others: dict[str, Any] = {**dict.fromkeys(flags.ALIASES), **flags.LATER}
    for name, default in {**flags.DEFAULTS, **others}.items():
        if name in OBJECTS:
            continue
        is_switch = isinstance(default, bool) or name.startswith("enable_")
        bare: dict[str, Any] = {"nargs": "?", "const": True} if is_switch else {}
        text = f"{helps.get(name, 'not available yet')} (default: {default})".replace("%", "%%")
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
