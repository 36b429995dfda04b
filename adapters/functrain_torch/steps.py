"""The user's steps as calls of a fixed form: resolved once, with those of the documented arguments that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrain.kernel.state import TrainState
from functrain.trainer.configured import require
from functrain.trainer.overriding import overrides
from functrain.trainer.signatures import adapt, leading
from functrain_torch.backend import Forward
from functrain_torch.module import LightningModule

TRAINING = ("batch", "batch_idx", "optimizer_idx", "hiddens")
EVALUATION = ("batch", "batch_idx", "dataloader_idx")


def training_forward(module: LightningModule) -> Forward:
    """Return the module's training step as the kernel's forward pass; the usual forms are called directly."""
    name, step = f"{type(module).__name__}.training_step", module.training_step
    count = leading(step, TRAINING, name)

    def of_batch(state: TrainState, batch: Any, player: int) -> Any:
        return step(batch)

    def of_batch_and_number(state: TrainState, batch: Any, player: int) -> Any:
        return step(batch, state.clock.batch)

    if count == 1:
        forward: Forward = of_batch
    elif count == 2:
        forward = of_batch_and_number
    else:
        adapted = adapt(step, TRAINING, name)
        forward = lambda state, batch, player: adapted(batch, state.clock.batch, player, state.hidden)  # noqa: E731
    if not overrides(module, "training_step_end"):
        return forward
    end = module.training_step_end
    return lambda state, batch, player: end(forward(state, batch, player))


def evaluation_step(module: LightningModule, stage: str) -> Callable[..., Any]:
    """Return the module's step of 'validation', 'test' or 'predict', as a function of batch, its number and its
    loader's.

    Raises:
        ConfigurationError: it has none.
    """
    name = f"{stage}_step"
    if stage != "predict":
        require(module, name, by=f"the {stage} loop")
    step = adapt(getattr(module, name), EVALUATION, f"{type(module).__name__}.{name}")
    if not overrides(module, f"{name}_end"):
        return step
    end = getattr(module, f"{name}_end")
    return lambda *args: end(step(*args))
