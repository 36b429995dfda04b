"""The flags that a Trainer was given, as one checked value.

A Trainer may take older names of flags: it says what replaced them. A flag that is documented but not built yet takes
its default only, and says so otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from functrain.trainer.errors import ConfigurationError, OlderNameWarning, nearest
from functrain.trainer.flag_checks import check, warn_of_unused
from functrain.trainer.flags import ALIASES, DEFAULTS, EVERY_STAGE, LATER, NAMES, NONE_IS_DEFAULT, Flags, OtherName
from functrain.trainer.narrow import is_sequence

OtherNames = Mapping[str, OtherName]
NONE: OtherNames = {}


def parse(given: Mapping[str, Any], older: OtherNames = NONE) -> Flags:
    """Validate what was given to the Trainer.

    Args:
        older: older names, which are taken, each with a warning.

    Raises:
        ConfigurationError: an unknown flag (with the nearest right name), an impossible value, or two that contradict
            each other, both named.
    """
    flags = Flags(**_present_names(given, older))
    check(flags)
    warn_of_unused(flags)
    return replace(flags, **EVERY_STAGE) if flags.fast_dev_run else flags


@contextmanager
def named_as_given(given: Mapping[str, Any], older: OtherNames = NONE) -> Generator[None]:
    """Errors of the block name a flag as its user has written it, where it goes by several names."""
    try:
        yield
    except ConfigurationError as error:
        message = str(error)
        for name, value in given.items():
            other = older.get(name) or ALIASES.get(name)
            if other is not None:
                message = message.replace(f"{other.flag}={other.value(value)!r}", f"{name}={value!r}")
        error.args = (message, *error.args[1:])
        raise


def varied(flags: Flags, changes: Mapping[str, Any]) -> Flags:
    """Return the same flags but for these.

    Raises:
        ConfigurationError: as `parse`.
    """
    with named_as_given(changes):
        changed = replace(flags, **_present_names(changes, NONE))
        check(changed)
    return changed


def _present_names(given: Mapping[str, Any], older: OtherNames) -> dict[str, Any]:
    present: dict[str, Any] = {}
    said_as: dict[str, str] = {}
    for name, value in given.items():
        if name in LATER:
            _check_later(name, value)
            continue
        if value is None and (name in ALIASES or name in NONE_IS_DEFAULT):
            continue
        other = older.get(name) or ALIASES.get(name) or OtherName(name)
        now = other.flag
        if now not in DEFAULTS:
            raise ConfigurationError(
                f"Trainer({name}={value!r}): unknown flag.{nearest(name, (*NAMES, *ALIASES, *LATER))}"
            )
        if name in older:
            message = f"Trainer({name}=...) is the older name of {now!r}: use {now}."
            warnings.warn(message, OlderNameWarning, stacklevel=4)
            # As its default says: the older name is not used.
            if value is None:
                continue
        value = _builtin(other.value(value))
        if other.joins:
            present[now] = [*_as_list(present.get(now, given.get(now))), *_as_list(value)]
            continue
        is_joined = now in present and now not in said_as
        if is_joined:
            continue
        if now in said_as:
            raise ConfigurationError(
                f"Trainer({said_as[now]}=..., {name}=...): two names of one flag; give one of them."
            )
        if value is not None or now not in ("progress_bar_refresh_rate",):
            present[now], said_as[now] = value, name
    return present


def _check_later(name: str, value: Any) -> None:
    is_asked_for = value is not None and value != LATER[name] and value is not False
    if is_asked_for:
        raise ConfigurationError(
            f"Trainer({name}={value!r}): this flag is documented but not available in this version; leave it out."
        )


def _builtin(value: Any) -> Any:
    """Return a number of numpy's as Python's, which it says in another type."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _as_list(value: Any) -> list[Any]:
    if value is None or value is False:
        return []
    return list(value) if is_sequence(value) else [value]
