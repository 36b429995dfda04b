"""Which parts of the module train and which evaluate, around a fit and around an evaluation."""

from __future__ import annotations

from typing import Any

import torch

from functrain.trainer.module import print_evaluating
from functrain.trainer.run import Run
from functrain_torch import metric_states
from functrain_torch.module import LightningModule


class Modes:
    """The modes of a run's module.

    Attributes:
        resumed: the parts that evaluate, as the checkpoint that the run continues from has it; None for none.
        metrics_before: the states of metrics before the evaluation under way.
    """

    def __init__(self, run: Run, module: LightningModule) -> None:
        self.run = run
        self.module = module
        self.resumed: set[str] | None = None
        self.metrics_before: dict[str, Any] = {}
        self._before: dict[str, bool] = {}
        self._grad = True

    def start(self) -> list[str]:
        """Training mode, in which parts that evaluate stay as they are; in a run that continues, as the checkpoint has
        it. Returns the paths of the parts that evaluated by themselves.

        A module that evaluates as a whole was left so by somebody: all of it trains.
        """
        parts = dict(self.module.named_modules())
        evaluating = {path for path, part in parts.items() if not part.training and self.module.training}
        if not self.module.training and self.resumed is None:
            self.run.print(
                f"{type(self.module).__name__} was in evaluation mode as a whole: all of its parts are put into "
                "training mode. Parts that shall stay in evaluation mode: call their eval() in on_train_start."
            )
        self.module.train()  # the module's own may choose
        for path, part in parts.items():
            part.training = part.training and path not in evaluating
        kept = [path for path, part in parts.items() if not part.training]
        if self.resumed is not None:
            for path, part in parts.items():
                part.training = path not in self.resumed
        print_evaluating(self.run, self.module, [path for path, part in parts.items() if not part.training])
        return kept

    def evaluate(self, stage: str) -> None:
        """Evaluation mode, without gradients, or what the module's own hook does."""
        self._before = {path: part.training for path, part in self.module.named_modules()}
        self._grad = torch.is_grad_enabled()
        self.metrics_before = metric_states.states(self.module, copied=True)
        self.run.hooks.call_or(f"on_{stage}_model_eval", self.module.eval)
        torch.set_grad_enabled(False)

    def train(self, stage: str) -> None:
        """The modes from before the evaluation, or what the module's own hook does."""
        self.run.hooks.call_or(f"on_{stage}_model_train", self.restore)
        self._before = {}
        torch.set_grad_enabled(self._grad)

    def restore(self) -> None:
        """Every part of the module trains or evaluates as it did before the evaluation under way."""
        for path, part in self.module.named_modules():
            part.training = self._before.get(path, part.training)

    def training(self) -> dict[str, bool]:
        """Return which parts of the module are in training mode, by path; during an evaluation, which will be after
        it."""
        return {path: bool(self._before.get(path, part.training)) for path, part in self.module.named_modules()}
