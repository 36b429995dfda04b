"""What a training step returned, in the one form that hooks get it in. Knows no framework."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.narrow import is_mapping

NOT_READ = ("log", "progress_bar")
"""Keys of a returned dict that were logged before there was `self.log`."""

UNIT = 1.0
"""The weight of a loss that has none, the very object."""


class Parts(NamedTuple):
    """What a training step returned, in its parts.

    Attributes:
        weight: of how many samples or tokens the loss is the mean; 1.0 where the step does not say.
        hiddens, vars: None where the step returned none.
    """

    loss: Any
    weight: Any = UNIT
    hiddens: Any = None
    vars: Any = None


def parts_of(output: Any, name: str) -> Parts:
    """Take apart what a training step returned: a loss, or a dict with 'loss' and, where it has them, 'weight',
    'hiddens' and 'vars'.

    Args:
        name: the step, for the message.

    Raises:
        ConfigurationError: a dict has no 'loss'.
    """
    if not is_mapping(output):
        return Parts(output)
    if "loss" not in output:
        keys = ", ".join(map(repr, output)) or "nothing"
        raise ConfigurationError(f"{name} returned a dict without 'loss'; it has {keys}.")
    if "log" in output or "progress_bar" in output:
        warn_of_unread(name, [key for key in NOT_READ if key in output])
    return Parts(output["loss"], output.get("weight", UNIT), output.get("hiddens"), output.get("vars"))


def warn_of_unread(name: str, keys: list[str]) -> None:
    """Warn that what a step or hook returned under these keys, or as a whole, goes nowhere."""
    what = " and ".join(map(repr, keys)) or "a result"
    warnings.warn(
        f"{name} returned {what}, of which nothing is logged: use self.log('name', value), with prog_bar=True for the "
        "progress bar.",
        UserWarning,
        stacklevel=2,
    )


def returning_nothing(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the call of a hook whose result nobody reads; it warns once where there is one."""
    told = False

    def calling(*args: Any) -> None:
        nonlocal told
        result = call(*args)
        if result is not None and not told:
            told = True
            warn_of_unread(name, [*map(str, result)] if is_mapping(result) else [])

    return calling


def with_loss(output: Any) -> Any:
    """The step's dict, or one with what it returned as its 'loss'."""
    return output if is_mapping(output) else {"loss": output}


def of_players(outputs: Mapping[int, Any], several: bool) -> Any:
    """Return the outputs of a batch: that of its player; where there are several, a list of those that played, in
    order. A player whose step returned None left the batch out."""
    if not several:
        return with_loss(next(iter(outputs.values())))
    return [with_loss(outputs[player]) for player in sorted(outputs) if outputs[player] is not None]


def apart(given: Any, tbptt: bool, name: str) -> tuple[Any, dict[str, Any]]:
    """Return what a loss function returned without, and what it returned beside what a step works with: further entries
    of its dict, or the second of `(loss, aux)`.

    Raises:
        ValueError: it returned 'hiddens', and batches are not cut along time.
        TypeError: what stands beside the loss has no names.
    """
    if isinstance(given, tuple):
        pair = cast("tuple[Any, ...]", given)
        if len(pair) != 2 or not is_mapping(pair[1]):
            raise TypeError(
                f"{name} returned a tuple of {', '.join(type(part).__name__ for part in pair)}: return a loss, a dict "
                "with 'loss', or (loss, aux) with a dict of further results."
            )
        loss, aux = pair
        return loss, dict(aux)
    if not is_mapping(given) or "loss" not in given:
        return given, {}
    if "hiddens" in given and not tbptt:
        raise ValueError(
            f"{name} returned 'hiddens' beside the loss ('hiddens' is for tbptt=...): without pieces nobody is handed "
            "them; leave them out, or return them under another name."
        )
    known = ("loss", "weight", "vars", "hiddens")
    aux = {key: value for key, value in given.items() if key not in known}
    return {key: value for key, value in given.items() if key in known}, aux
