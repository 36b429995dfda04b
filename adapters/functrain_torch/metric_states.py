"""Metric objects that accumulate by themselves (torchmetrics), as checkpoints see them. Imports no torchmetrics.

They are found as submodules: their states are no part of a module's `state_dict`, yet an epoch's value needs them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from functrain.trainer.entries import Entry


def found(module: nn.Module) -> dict[str, Any]:
    """Return the metric objects below a module, by their path."""
    return {path: m for path, m in module.named_modules() if hasattr(m, "_defaults") and hasattr(m, "_update_count")}


def states(module: nn.Module, copied: bool = False) -> dict[str, Any]:
    """Return what every metric object has accumulated.

    Args:
        copied: as values of their own, which stay when the metrics go on.
    """
    return {path: _state(metric, copied) for path, metric in found(module).items()}


def _state(metric: Any, copied: bool) -> dict[str, Any]:
    values = {key: getattr(metric, key) for key in metric._defaults}
    if copied:
        values = {key: v.clone() if isinstance(v, Tensor) else list(v) for key, v in values.items()}
    return {"updates": metric._update_count, "values": values}


def load_states(module: nn.Module, saved: dict[str, Any]) -> None:
    """Take back what `states` returned; metrics that it does not name, or that have other states now, stay as they
    are."""
    for path, metric in found(module).items():
        state = saved.get(path)
        if state is None or state["values"].keys() != metric._defaults.keys():
            continue
        for key, value in state["values"].items():
            moved = value.to(metric.device) if isinstance(value, Tensor) else [v.to(metric.device) for v in value]
            setattr(metric, key, moved)
        metric._update_count, metric._computed = state["updates"], None


def places(module: nn.Module) -> Callable[[Entry], str | None]:
    """Return a function that returns the path of the metric object that an entry logs; None, with a warning, where
    the module has it not."""
    paths = {id(metric): path for path, metric in found(module).items()}

    def place(entry: Entry) -> str | None:
        path = paths.get(id(entry.metric))
        if path is None:
            warnings.warn(
                f"self.log({entry.name!r}, ...): the metric object is no part of {type(module).__name__}, so the "
                "checkpoint does not hold what it has seen; make it an attribute of the module (in an "
                "nn.ModuleDict where there are several).",
                UserWarning,
                stacklevel=2,
            )
        return path

    return place
