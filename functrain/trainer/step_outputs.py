"""What a training step gave, in the one form that hooks get it in. Knows no framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functrain.trainer.narrow import is_mapping


def with_loss(output: Any) -> Any:
    """The step's dict, or one with what it returned as its 'loss'."""
    return output if is_mapping(output) else {"loss": output}


def of_players(outputs: Mapping[int, Any], several: bool) -> Any:
    """What a batch gave: the output of its player; where there are several, a list of those that played, in order."""
    played = [with_loss(outputs[player]) for player in sorted(outputs)]
    return played if several else played[0]


def check_keys(given: Mapping[str, Any], tbptt: bool, name: str) -> None:
    """Raises ValueError where a loss function's dict holds what a step has no place for."""
    known = ("loss", "weight", "vars", *(("hiddens",) if tbptt else ()))
    extra = [key for key in given if key not in known]
    if extra:
        why = " ('hiddens' is for tbptt=...)" if "hiddens" in extra else ""
        raise ValueError(
            f"{name} returned {', '.join(map(repr, extra))} beside the loss{why}: a step keeps only "
            f"{', '.join(map(repr, known))}. Keep further results in 'vars', or compute them apart."
        )
