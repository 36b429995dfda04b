"""The composition root of torch: its Trainer, which knows the callbacks that are torch's alone."""

from __future__ import annotations

from functrain import assembly
from functrain.trainer.callback import Callback
from functrain_torch.callbacks import StochasticWeightAveraging


class Trainer(assembly.Trainer):
    """The Trainer for torch modules, with the present names of its flags."""

    def averaging(self) -> list[Callback]:
        """Return the callback that `stochastic_weight_avg` asks for, where the user gave none."""
        is_given = any(isinstance(callback, StochasticWeightAveraging) for callback in self.user_callbacks)
        return [] if is_given else [StochasticWeightAveraging()]
