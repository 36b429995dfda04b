"""Which parts of the module train and which evaluate, around a fit and around an evaluation. A part of the torch
engine."""

from __future__ import annotations

from typing import Any

import torch

from functrain.trainer.module import tell_evaluating
from functrain.trainer.run import Run
from functrain_torch import metric_states


class Modes:
    """What the engine needs to know of modes.

    Attributes:
        metrics_before: the states of metrics before the evaluation under way.
        resumed_modes: the parts that evaluate, as the checkpoint that the run continues from has it.
    """

    run: Run
    module: Any
    _modes: dict[str, bool]
    _grad = True
    metrics_before: dict[str, Any]
    resumed_modes: set[str] | None = None
    facts: dict[str, dict[str, str]]

    def into_training(self) -> None:
        """Training mode, in which parts that evaluate stay as they are; in a run that continues, as the checkpoint
        has it.

        A module that evaluates as a whole was left so by somebody: all of it trains.
        """
        parts = dict(self.module.named_modules())
        evaluating = {path for path, part in parts.items() if not part.training and self.module.training}
        if not self.module.training and self.resumed_modes is None:
            self.run.print(
                f"{type(self.module).__name__} was in evaluation mode as a whole: all of its parts are put into "
                "training mode. Parts that shall stay in evaluation mode: call their eval() in on_train_start."
            )
        self.module.train()  # the module's own may choose
        for path, part in parts.items():
            part.training = part.training and path not in evaluating
        self.facts["kept"] |= {f"evaluation mode of {path}": "yes" for path, p in parts.items() if not p.training}
        if self.resumed_modes is not None:
            for path, part in parts.items():
                part.training = path not in self.resumed_modes
        tell_evaluating(self.run, self.module, [path for path, part in parts.items() if not part.training])

    def eval_mode(self, stage: str) -> None:
        self._modes = {path: m.training for path, m in self.module.named_modules()}
        self._grad = torch.is_grad_enabled()
        self.metrics_before = metric_states.states(self.module, copied=True)
        hook = getattr(self.run.hooks, f"on_{stage}_model_eval")
        self.module.eval() if hook is None else hook()
        torch.set_grad_enabled(False)

    def train_mode(self, stage: str) -> None:
        hook = getattr(self.run.hooks, f"on_{stage}_model_train")
        self.put_back_modes() if hook is None else hook()
        self._modes = {}
        torch.set_grad_enabled(self._grad)

    def put_back_modes(self) -> None:
        """Every part of the module trains or evaluates as it did before `eval_mode`."""
        for path, module in self.module.named_modules():
            module.training = self._modes.get(path, module.training)

    def training_modes(self) -> dict[str, bool]:
        """Which parts of the module are in training mode, by path; during an evaluation, which will be after it."""
        return {path: bool(self._modes.get(path, m.training)) for path, m in self.module.named_modules()}
