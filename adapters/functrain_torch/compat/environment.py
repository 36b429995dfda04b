"""Flags of the Trainer from variables of the environment: `PL_TRAINER_MAX_EPOCHS=3`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from functrain.trainer.arguments import value
from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.flags import ALIASES, DEFAULTS, LATER, OtherName

PREFIX = "PL_TRAINER_"


def flags_of_environment(given: Mapping[str, Any], older: Mapping[str, OtherName]) -> dict[str, Any]:
    """Return the flags that the environment names, as on a command line; what is given to the Trainer by any name of
    the flag wins.

    Raises:
        ConfigurationError: a variable names no flag.
    """
    others = {**ALIASES, **older}
    known = (*DEFAULTS, *LATER, *others)
    taken = {_flag(name, others) for name in given}
    found: dict[str, Any] = {}
    for variable, text in os.environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in known:
            raise ConfigurationError(f"{variable}={text!r}: unknown flag {name!r}.{nearest(name, known)}")
        if _flag(name, others) not in taken:
            found[name] = value(text)
    return found


def _flag(name: str, others: Mapping[str, OtherName]) -> str:
    return others[name].flag if name in others else name
