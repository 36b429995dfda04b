"""The base class of callbacks: every documented hook, empty. Touches nothing.

An empty hook does not count as overridden, so a callback costs only what it defines. Beside the hooks a callback may
act at the Trainer's own events, in the fixed order observe, log, validate, checkpoint, stop; the plan is told when they
are due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from functrain.trainer.events import Moment
from functrain.trainer.overriding import default, hook


class Callback:
    """A piece of a run that is not the model: subclass it and define the hooks that you need.

    Each hook takes `(self, trainer, pl_module, ...)` and may leave out arguments that it does not use. See the table of
    hooks for their order and arguments.

    Beside the hooks, at the Trainer's own events:

    - `log_step(trainer, pl_module, metrics)`: step metrics are about to be written; may add to `metrics`. With
      `may_lag = True` a class says of its own that it looks at these, the position and the learning rates only, and
      stops nothing: so it may be called, as if it were then, when a compiled run is some steps further.
    - `observe(trainer, pl_module, moment)`: another so many updates are done, as `observes_every_n_updates()` asks.
      With `may_lag = True` a class says of its own the same as there, but that it looks at digests of the state
      (`trainer.run.digester`) too.
    - `checkpoint(trainer, pl_module, moment)`: the state is whole and may be saved; moment is 'steps', 'validation',
      'epoch' or 'interrupt', and knows by `before`, `now` and `passed(every)` where the run was.
    - `should_stop(trainer, pl_module, moment)`: after the checkpoint; moment is 'validation' or 'epoch'.
    - `tick(trainer, pl_module)`: the host has control anyway, at most every `tick_seconds`.
    - `every_n_updates()`: ask for the 'steps' moment every so many updates; None for never.
    - `wants_batch_indices`: True where `trainer.run.batch_indices` is asked for in hooks of a prediction's batches:
      the numbers of the batch's samples in their data set.
    - `accumulation()`: batches an update, by epoch, for a callback that decides them; None leaves it to the flag.
    """

    tick_seconds: float | None = None
    may_lag = False
    wants_batch_indices = False

    @default
    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        """Step metrics are about to be written."""

    @default
    def observe(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """The state may be observed, so many updates after the last time."""

    @default
    def checkpoint(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """The state is whole and may be saved."""

    @default
    def should_stop(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """May set `trainer.should_stop`; checkpoints of this moment are written."""

    @default
    def tick(self, trainer: Any, pl_module: Any) -> None:
        """The host has control anyway."""

    def every_n_updates(self) -> int | None:
        """Return the interval of the 'steps' moment, in updates."""
        return None

    def observes_every_n_updates(self) -> int | None:
        """Return the interval at which `observe` is called, in updates; None for never."""
        return None

    def accumulation(self) -> Mapping[int, int] | None:
        """{epoch: batches an update from that epoch on}; None leaves them to `accumulate_grad_batches`."""
        return None

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint; make it differ where several of a class are used."""
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback: plain values and arrays."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    # the hooks, in the order of their table

    @hook
    def on_init_start(self, trainer: Any) -> None:
        """The Trainer's construction begins."""

    @hook
    def on_init_end(self, trainer: Any) -> None:
        """The Trainer's construction ends."""

    @hook
    def on_before_accelerator_backend_setup(self, trainer: Any, pl_module: Any) -> None:
        """The device is about to be set up."""

    @hook
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """A fit begins."""

    @hook
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage begins: 'fit', 'validate', 'test' or 'predict'."""

    @hook
    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is being loaded."""

    @hook
    def on_pretrain_routine_start(self, trainer: Any, pl_module: Any) -> None:
        """The sanity check is about to be prepared."""

    @hook
    def on_pretrain_routine_end(self, trainer: Any, pl_module: Any) -> None:
        """All is set up for the sanity check."""

    @hook
    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """The sanity check begins."""

    @hook
    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """The sanity check ends."""

    @hook
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins."""

    @hook
    def on_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """A training epoch begins."""

    @hook
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """A training epoch begins."""

    @hook
    def on_batch_start(self, trainer: Any, pl_module: Any) -> None:
        """A training batch begins."""

    @hook
    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> int | None:
        """A training batch begins; return -1 to skip the rest of the epoch."""

    @hook
    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """The gradients are about to be cleared."""

    @hook
    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Backward is about to run; the loss is scaled as it will be differentiated."""

    @hook
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Backward has run; the optimizer has done nothing yet."""

    @hook
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any, optimizer_idx: int = 0) -> None:
        """The optimizer is about to step; the gradients are unscaled means, not clipped."""

    @hook
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A training batch ends; the outputs are the step's dict, or one with its loss as 'loss', and of several
        optimizers a list of those that played, which one whose step returned None did not."""

    @hook
    def on_batch_end(self, trainer: Any, pl_module: Any) -> None:
        """A training batch ends."""

    @hook
    def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
        """A training epoch ends; validation has run."""

    @hook
    def on_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch of any stage ends."""

    @hook
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is about to be written."""

    @hook
    def on_keyboard_interrupt(self, trainer: Any, pl_module: Any) -> None:
        """Ctrl-C or SIGTERM has stopped the run."""

    @hook
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """An error ends the run."""

    @hook
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Training ends."""

    @hook
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """A fit ends."""

    @hook
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage ends: 'fit', 'validate', 'test' or 'predict'."""

    @hook
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """The validation stage begins."""

    @hook
    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The validation epoch begins."""

    @hook
    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A validation batch begins; it is not yet on the device."""

    @hook
    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A validation batch ends."""

    @hook
    def on_validation_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
        """The validation epoch ends."""

    @hook
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The validation stage ends."""

    @hook
    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """The test stage begins."""

    @hook
    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The test epoch begins."""

    @hook
    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A test batch begins; it is not yet on the device."""

    @hook
    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A test batch ends."""

    @hook
    def on_test_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
        """The test epoch ends."""

    @hook
    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """The test stage ends."""

    @hook
    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """The predict stage begins."""

    @hook
    def on_predict_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The predict epoch begins."""

    @hook
    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A predict batch begins; it is not yet on the device."""

    @hook
    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A predict batch ends."""

    @hook
    def on_predict_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
        """The predict epoch ends."""

    @hook
    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """The predict stage ends."""


class Checkpoint(Callback):
    """A callback that saves checkpoints: it acts after all others, and `ckpt_path='best'` and 'last' ask it.

    Attributes:
        best_model_path: the best checkpoint that it has written; "" for none.
        last_model_path: the newest one; "" where it keeps none as such.
        best_model_score: what the best one was saved for; None where nothing is watched.
        best_k_models: the scores of those that are ranked, by path.
        save_top_k: how many it keeps of those; -1 for all.
        dirpath: where its checkpoints stand; None where it is not known.
    """

    best_model_path: str = ""
    last_model_path: str = ""
    best_model_score: float | None = None
    best_k_models: Mapping[str, float] = MappingProxyType({})
    save_top_k: int = 1
    dirpath: str | None = None

    def kept(self) -> Iterable[str]:
        """Return the checkpoints that it has written and not removed, beside the best and the last."""
        return ()

    def may_open_best(self) -> bool:
        """Return whether the best checkpoint was written by this run, or where the user pointed. Only then is it
        opened."""
        return True


class EarlyStop(Callback):
    """A callback that stops a fit early.

    Attributes:
        stopped_epoch: the epoch, from 0, in which it asked to stop; 0 before.
    """

    stopped_epoch: int = 0


class Progress(Callback):
    """A callback that shows on the terminal how far a run is; what is printed meanwhile goes through it.

    Attributes:
        refresh_rate: it looks at most every so many batches.
    """

    refresh_rate: int = 1

    def print(self, *args: Any, sep: str = " ", end: str = "\n", file: Any = None) -> None:
        """As `print`, without breaking what is shown."""
        print(*args, sep=sep, end=end, file=file)
