"""`Module`: a model, its steps and its optimizers in one class, for flax nnx, linen or plain functions.

Its steps are traced and compiled; while that happens the attributes that hold state hold traced values, and
the properties that tell the position are traced too.
"""

from __future__ import annotations

import os
from typing import Any, Self

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.hparams import HyperparametersMixin
from functrain.trainer.module import ModuleBase
from functrain.trainer.module_hooks import TransferHooks
from functrain.trainer.overriding import default
from functrain_jax.context import StepContext
from functrain_jax.in_step import TracedTrainer
from functrain_jax.keys import STREAM
from functrain_jax.step import cut_time


class Module(HyperparametersMixin, TransferHooks, ModuleBase):
    """A model with the code that trains it.

    What it holds as state is found in its attributes: flax nnx modules (and lists and dicts of them), linen modules
    through `functrain_jax.from_linen`, a tree of arrays in `self.params` that is trained, and one in `self.vars` that a
    step may replace. Every other attribute is a constant of the compiled steps; where a hook sets another value, they
    are compiled anew.

    Define `training_step(self, batch, batch_idx)` and `configure_optimizers(self)`; where wanted `validation_step`,
    `test_step`, `predict_step`, the loaders and any hook of the table of hooks. Steps are pure but for `self.log` and
    that state: no Python branch on a traced value, no attribute set to one. `batch_idx`, `self.current_epoch` and
    `self.global_step` are traced within a step. `training_step_end`, `validation_step_end` and `test_step_end` get what
    the step returned, and are part of it.

    `training_step` returns a scalar loss, or a dict with 'loss' and, where it has them, 'weight' (how many
    samples or tokens the loss is a mean of) and 'hiddens' (with truncated_bptt_steps).

    Example:
        >>> class Classifier(functrain_jax.Module):
        ...     def __init__(self):
        ...         self.net = nnx.Linear(64, 10, rngs=nnx.Rngs(0))
        ...     def training_step(self, batch, batch_idx):
        ...         x, y = batch
        ...         loss = optax.softmax_cross_entropy_with_integer_labels(self.net(x), y).mean()
        ...         self.log("loss", loss)
        ...         return loss
        ...     def configure_optimizers(self):
        ...         return optax.adam(1e-3)
    """

    _step: StepContext | None = None
    _of_a_run = (*ModuleBase._of_a_run, "_step", "_programs", "device")
    device: Any = None
    """The device that the run puts arrays on; None before."""

    # what a user may call or read

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`."""
        return self.forward(*args, **kwargs)

    @default
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; `predict_step` calls it with the batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, ...), which was called.")

    @default
    def tbptt_split_batch(self, batch: Any, split_size: int) -> list[Any]:
        """Cut a batch along time, its second axis, into pieces of `split_size` steps. Traced."""
        return cut_time(batch, split_size)

    @property
    def trainer(self) -> Any:
        """The Trainer that runs this module; None before a run. Within a step its position is traced."""
        run, step = self._trainer, self._step
        return run if step is None or run is None else TracedTrainer(run, step.clock, step.reads)

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def training(self) -> bool:
        """Is this a training step? A Python bool: branching on it is decided while tracing."""
        return self._step is not None and self._step.training

    def next_key(self) -> Any:
        """Return a fresh random key: within a step another one at every call and batch, elsewhere the next of the
        seeded stream."""
        return self._step.keys() if self._step is not None else STREAM.next()

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Return the module of a checkpoint: `cls(**hyperparameters)` with the checkpoint's weights.

        Args:
            checkpoint_path: what `trainer.save_checkpoint` wrote.
            overrides: arguments of `__init__` that stand in place of the saved hyperparameters, or beside
                them.

        Raises:
            CheckpointError: it cannot be read, or its weights do not fit the module; says what differs.
        """
        from functrain_jax.load import load_module

        return load_module(cls, checkpoint_path, overrides)

    def freeze(self) -> None:
        """Not available: say {'attribute': None} in `configure_optimizers` instead."""
        raise ConfigurationError(
            f"{type(self).__name__}.freeze(): under JAX the optimizer decides what moves; "
            "return {'net': tx, 'frozen': None} from configure_optimizers, or use optax.masked / optax.multi_transform."
        )
