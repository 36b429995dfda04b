"""Short fits at given learning rates: what a tuner changes of a torch module, and puts back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.tuner.attributes import standing_in
from functrain_torch.module import LightningModule
from functrain_torch.optimizers import parse_optimizers
from functrain_torch.parts import is_automatic


@contextmanager
def sweep(
    module: LightningModule, flags: Flags, rates: Sequence[float], attribute: str | None
) -> Iterator[Callable[[int, float], None]]:
    """See `functrain.trainer.adapter.Sweep`: all parameter groups have the rate, and no scheduler steps."""
    name = type(module).__name__
    if not is_automatic(module, flags):
        raise ConfigurationError(
            f"lr_find: {name} steps its optimizers itself (automatic_optimization=False), so when a rate is to change "
            "is not known; try the rates in a loop of your own."
        )
    made: list[Optimizer] = []
    last: list[float] = []
    configure = module.configure_optimizers

    def configure_optimizers() -> Any:
        configured = parse_optimizers(configure(), name)
        if len(configured.optimizers) != 1:
            raise ConfigurationError(
                f"lr_find: {name}.configure_optimizers returns {len(configured.optimizers)} optimizers; the rates of "
                "one alone can be tried."
            )
        made[:] = configured.optimizers
        return made[0]

    def set_rate(update: int, rate: float) -> None:
        for group in made[0].param_groups:
            if last and float(group["lr"]) != _as_kept(last[0], group["lr"]):
                raise ConfigurationError(
                    f"lr_find: something in {name} sets the learning rate too (to {float(group['lr'])}), so that of "
                    f"the test does not hold; leave out in {name}.optimizer_step or in the hook what sets it."
                )
            _set(group, rate)
        last[:] = [rate]

    with standing_in(module, "configure_optimizers", configure_optimizers):
        yield set_rate


def _as_kept(rate: float, kept: Any) -> float:
    """Return the rate as it reads where it is kept."""
    return float(torch.tensor(rate, dtype=kept.dtype)) if isinstance(kept, torch.Tensor) else rate


def _set(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
