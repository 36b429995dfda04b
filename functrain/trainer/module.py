"""What the modules of all frameworks share: logging, properties that look to the Trainer. Imports no framework."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from functrain.trainer.context import Context
from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.module_hooks import ModuleHooks
from functrain.trainer.overriding import default


class ModuleBase(ModuleHooks):
    """`self.log`, and the properties by which a module sees its run.

    Attributes:
        automatic_optimization: False hands zero_grad, backward and step to `training_step`.
        truncated_bptt_steps: cut batches along time into pieces of so many steps.
        example_input_array: a batch that a summary, a graph or an export may run.
        _trainer: the Trainer that runs it; None before.
        _context: where the position is read and `log` puts values: the run's, or, while an adapter traces, the
            trace's; None where nobody runs it.
        _of_a_run: the attributes that a copy of the module leaves behind.
    """

    automatic_optimization: bool = True
    truncated_bptt_steps: int | None = None
    example_input_array: Any = None

    _trainer: Any = None
    _context: Context | None = None
    _warned_of_no_run: bool = False
    _of_a_run: tuple[str, ...] = ("_trainer", "_context", "_logged_objects")

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the module is the model; the run it was in stays behind.
        return {key: value for key, value in vars(self).items() if key not in self._of_a_run}

    @default
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """One batch of prediction; by default the forward pass."""
        forward: Any = self
        return forward(batch)

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        sync_dist: bool = False,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
        log: bool | None = None,
    ) -> None:
        """Log one scalar under a name.

        Args:
            value: a number, a scalar array, or a metric object that accumulates by itself.
            prog_bar: show it in the progress bar.
            logger: send it to the loggers. `log` is its older name.
            on_step: keep each step's value; default: in training_step. In an evaluation every batch's goes to the
                loggers, with the number of that loader's batches in the run as its step.
            on_epoch: reduce over the epoch; default: everywhere else. Where both are asked the names end in _step and
                _epoch.
            reduce_fx: 'mean' (weighted by batch size), 'sum', 'min' or 'max'.
            batch_size: the weight of this value in the epoch's mean; default: the length of the first tensor that is
                found in the batch.
            sync_dist: with several processes, the value in loggers and at the epoch's end is that of all of them,
                brought together by `reduce_fx`; otherwise each has its own, and the loggers get process 0's. A metric
                object of torchmetrics has the epoch's value of all in any case, unless it was made with
                sync_on_compute=False.
            rank_zero_only: log it in process 0 alone.
            add_dataloader_idx: with several loaders, add `/dataloader_idx_N` to the name, after _step and _epoch.

        Each hook has its own values under a name; the name reads the later hook's.

        Raises:
            ValueError: the value is not a scalar, or the hook logs the name with other options too.
        """
        context = self._context
        if context is None:
            self._warn_of_no_run(name)
            return
        if rank_zero_only and self.global_rank:
            return
        context.log(
            name,
            value,
            prog_bar,
            logger if log is None else log,
            on_step,
            on_epoch,
            reduce_fx,
            batch_size,
            add_dataloader_idx,
            sync_dist,
        )

    def _warn_of_no_run(self, name: str) -> None:
        if not self._warned_of_no_run:
            object.__setattr__(self, "_warned_of_no_run", True)
            warnings.warn(
                f"self.log({name!r}, ...): no Trainer is running this {type(self).__name__}, so nobody keeps the "
                "value; what steps and hooks log within trainer.fit, validate, test or predict is kept.",
                UserWarning,
                stacklevel=3,
            )

    def log_dict(self, dictionary: Mapping[str, Any], *args: Any, **options: Any) -> None:
        """Log several values at once, with the same options; see `log`."""
        if not hasattr(dictionary, "items"):
            raise TypeError(
                f"self.log_dict({dictionary!r}): {kind(dictionary)} has no names; give a dict {{name: value}}."
            )
        for name, value in dictionary.items():
            self.log(name, value, *args, **options)

    @property
    def trainer(self) -> Any:
        """The Trainer that runs this module; None before a run."""
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self._trainer = trainer

    def _run(self, what: str) -> Any:
        if self._trainer is None:
            raise ConfigurationError(
                f"{type(self).__name__}.{what}: no Trainer runs this module yet; call trainer.fit(module)."
            )
        return self._trainer

    @property
    def current_epoch(self) -> int:
        """Epochs finished; 0 without a Trainer."""
        if self._context is not None:
            return self._context.clock().epoch
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Updates done; 0 without a Trainer."""
        if self._context is not None:
            return self._context.clock().update
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """This process among all of the run's."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """This process among its node's."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def logger(self) -> Any:
        """The run's first logger; None without one."""
        return self._trainer.logger if self._trainer is not None else None

    @property
    def loggers(self) -> list[Any]:
        """The run's loggers."""
        return self._trainer.loggers if self._trainer is not None else []

    @property
    def precision(self) -> Any:
        """The Trainer's precision flag; 32 without a Trainer."""
        return self._trainer.precision if self._trainer is not None else 32

    @property
    def use_amp(self) -> bool:
        """Is a lower precision mixed in?"""
        return str(self.precision) in ("16", "bf16", "16-mixed", "bf16-mixed")

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once, not from every process, and without breaking the progress bar."""
        if self._trainer is None:
            print(*args, **kwargs)
        else:
            self._trainer.print(*args, **kwargs)


def print_evaluating(trainer: Any, module: Any, parts: Sequence[str]) -> None:
    """One line that says which parts of the module, by path, do not train with it; nothing where there are none."""
    if not parts:
        return
    outer = [path for path in parts if not any(path.startswith(f"{other}.") for other in parts)]
    named = f"{', '.join(outer[:5])}{' and more' if len(outer) > 5 else ''}"
    number, verb = ("1 part", "stays") if len(parts) == 1 else (f"{len(parts)} parts", "stay")
    trainer.print(f"{number} of {type(module).__name__} in evaluation mode before the fit {verb} so: {named}.")


def set_context(module: ModuleBase, context: Context | None) -> None:
    """Have the module read its position from, and log into this; None for nobody's."""
    module._context = context  # pyright: ignore[reportPrivateUsage]


def runner_of(module: ModuleBase) -> tuple[Any, Context | None]:
    """Return who is running the module, in whose hook another run of it begins: the Trainer and its context."""
    trainer, context = module._trainer, module._context  # pyright: ignore[reportPrivateUsage]
    return (trainer, context) if getattr(trainer, "_busy", False) else (None, None)


def give_back(module: ModuleBase, trainer: Any, context: Context | None) -> None:
    """A run of the module is over: it is that of the run around it again, or nobody's."""
    set_context(module, context)
    if context is not None:
        module.trainer = trainer
