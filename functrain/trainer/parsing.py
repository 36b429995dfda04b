"""The flags that a Trainer was given, as one checked value.

Older names are those of `RENAMED`: a Trainer that takes them says what replaced them, any other refuses them. A flag
that is documented but not built yet takes its default only, and says so otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.flag_checks import check
from functrain.trainer.flags import ALIASES, DEFAULTS, EVERY_STAGE, LATER, NAMES, RENAMED, Flags
from functrain.trainer.narrow import is_sequence


def parse(given: Mapping[str, Any], older: bool = False) -> Flags:
    """Validate what was given to the Trainer.

    Args:
        older: older names are taken, each with a warning.

    Raises:
        ConfigurationError: an older name that is not taken, an unknown flag (with the nearest right name), an
            impossible value, or two that contradict each other, both named.
    """
    flags = Flags(**_present_names(given, older))
    check(flags)
    return replace(flags, **EVERY_STAGE) if flags.fast_dev_run else flags


@contextmanager
def named_as_given(given: Mapping[str, Any]) -> Generator[None]:
    """Errors of the block name a flag as its user has written it, where it goes by several names."""
    try:
        yield
    except ConfigurationError as error:
        message = str(error)
        for name, value in given.items():
            now = RENAMED.get(name) or ALIASES.get(name)
            if now is not None:
                message = message.replace(f"{now}={_translate(name, value)!r}", f"{name}={value!r}")
        error.args = (message, *error.args[1:])
        raise


def varied(flags: Flags, changes: Mapping[str, Any]) -> Flags:
    """Return the same flags but for these.

    Raises:
        ConfigurationError: as `parse`.
    """
    with named_as_given(changes):
        changed = replace(flags, **_present_names(changes, False))
        check(changed)
    return changed


def _present_names(given: Mapping[str, Any], older: bool) -> dict[str, Any]:
    present: dict[str, Any] = {}
    said_as: dict[str, str] = {}
    for name, value in given.items():
        if name in LATER:
            is_asked_for = value is not None and value != LATER[name] and value is not False
            if is_asked_for:
                raise ConfigurationError(
                    f"Trainer({name}={value!r}): this flag is documented but not available in this version; leave it "
                    "out."
                )
            continue
        if name in ALIASES and value is None:
            continue
        now = RENAMED.get(name) or ALIASES.get(name) or name
        if now not in DEFAULTS:
            raise ConfigurationError(
                f"Trainer({name}={value!r}): unknown flag.{nearest(name, (*NAMES, *ALIASES, *LATER))}"
            )
        if name in RENAMED and not older:
            raise ConfigurationError(
                f"Trainer({name}={value!r}): an older name, which functrain_torch's Trainer alone takes: use {now}."
            )
        if name in RENAMED:
            warnings.warn(f"Trainer({name}=...) is the older name of {now!r}: use {now}.", FutureWarning, stacklevel=4)
        value = _builtin(_translate(name, value))
        if name == "early_stop_callback":
            present["callbacks"] = [*_as_list(present.get("callbacks", given.get("callbacks"))), *_as_list(value)]
            continue
        if name == "callbacks" and "callbacks" in present:
            continue
        if now in said_as:
            raise ConfigurationError(
                f"Trainer({said_as[now]}=..., {name}=...): two names of one flag; give one of them."
            )
        if value is not None or now not in ("progress_bar_refresh_rate",):
            present[now], said_as[now] = value, name
    return present


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


def _translate(name: str, value: Any) -> Any:
    """Return an older or other flag's value in terms of the present one's."""
    if name == "reload_dataloaders_every_epoch":
        return int(value)
    if name == "enable_progress_bar":
        return 1 if value else 0
    if name == "enable_model_summary":
        return "top" if value else None
    return value
