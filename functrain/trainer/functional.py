"""A training step as a function: what `functional` and `make_step` of an adapter return, what their calls report, and
which flags concern a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from functrain.kernel.state import Report, Scalar, TrainState
from functrain.trainer.combined import Batches, CombinedLoader
from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.flags import Flags
from functrain.trainer.loader_forms import as_loader
from functrain.trainer.module import ModuleBase
from functrain.trainer.narrow import is_count
from functrain.trainer.parsing import parse


class StepReport(NamedTuple):
    """What the step of one batch has to tell.

    Attributes:
        updates: one a player, what the update of its window has to tell; None where no window of it closed. A batch
            that is cut along time makes several updates, which are the first axis of each field then.
        logged: what `self.log` was given in this step, by name; of `make_step` what the loss function returned beside
            the loss.
        rates: the learning rates that the updates of this step used, by name, as far as they can be known.
        closed: did any window close with this batch?
    """

    updates: tuple[Report | None, ...]
    logged: Mapping[str, Any] = {}
    rates: Mapping[str, Any] = {}
    closed: Scalar = True

    @property
    def update(self) -> Report:
        """What the update of the only player has to tell.

        Raises:
            ConfigurationError: there are several players, or no window closed.
        """
        if len(self.updates) != 1:
            raise ConfigurationError(
                f"this step has {len(self.updates)} optimizers, each with a report of its own: see report.updates."
            )
        if self.updates[0] is None:
            raise ConfigurationError(
                "no update was made with this batch, since its window is open still: see report.closed."
            )
        return self.updates[0]

    @property
    def loss(self) -> Scalar:
        """The weighted mean loss of the window."""
        return self.update.loss

    @property
    def loss_sum(self) -> Scalar:
        """The sum of weight * loss over the window."""
        return self.update.loss_sum

    @property
    def weight(self) -> Scalar:
        """The sum of the weights."""
        return self.update.weight

    @property
    def norm(self) -> Scalar | None:
        """The norm of the mean gradient before clipping; None where no rule asked for it."""
        return self.update.norm

    @property
    def finite(self) -> Scalar:
        """False where the update was skipped."""
        return self.update.finite


class EpochReport(NamedTuple):
    """What an epoch has to tell.

    Attributes:
        steps: the report of every step: a list, or one whose fields have the steps as their first axis.
        metrics: the values of the epoch, as the Trainer publishes them.
    """

    steps: Any
    metrics: Mapping[str, Any] = {}


class LossStep(NamedTuple):
    """A training step that `make_step` made of a loss function and an optimizer.

    Attributes:
        init: `init(params, vars=None) -> state`, of copies of what it is given.
        step: `step(state, batch) -> (state, report)`: one window and its update.
        epoch: `epoch(state, batches) -> (state, reports)`: one step after another.
    """

    init: Callable[..., TrainState]
    step: Callable[[TrainState, Any], tuple[TrainState, Any]]
    epoch: Callable[[TrainState, Any], tuple[TrainState, Any]]


class Step(NamedTuple):
    """A training step that `functional` made of a module.

    Attributes:
        init: `init(seed=None) -> state`: the first state, of copies of what the module holds.
        step: `step(state, batch, last=False) -> (state, report)`. The epoch ends with the batch that is the `last`: a
            shorter window closes, and the position turns to the next one.
        epoch: `epoch(state, batches) -> (state, report)`: all batches of an epoch, and what is due at its end.
        evaluate: `evaluate(state, batches, stage="validation") -> metrics`. The state stays as it is.
        load: `load(checkpoint) -> state`: the state of a checkpoint of the Trainer, a path or what stands in it.
    """

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, StepReport]]
    epoch: Callable[..., tuple[TrainState, Any]]
    evaluate: Callable[..., dict[str, Any]]
    load: Callable[..., TrainState]


def step_of(module: Any, flags: Mapping[str, Any], functional: Callable[..., Step]) -> Step:
    """Return the step of a module with these flags; a step that was made already as it is.

    Raises:
        ConfigurationError: such a step is given flags.
    """
    if not isinstance(module, Step):
        return functional(module, **flags)
    if flags:
        raise ConfigurationError(
            f"load_state({', '.join(f'{name}={value!r}' for name, value in flags.items())}): the step has its flags "
            "already; give them to functional(module, ...)."
        )
    return module


def is_module_of(module: Any, package: str) -> bool:
    """Return whether it is an instance of a module class of this package."""
    packages = {base.__module__.partition(".")[0] for base in type(module).__mro__}
    return isinstance(module, ModuleBase) and package in packages


def check_module(module: Any, package: str) -> None:
    """Raises ConfigurationError where something else than a module for this package is given for one."""
    if not is_module_of(module, package):
        raise ConfigurationError(
            f"functional({module!r}): give a module of {package}, an instance; for a loss function there is make_step."
        )


def check_loss_step(loss_fn: Any, optimizer: Any, has: str, **counts: int | None) -> None:
    """Check the arguments of `make_step` that both worlds have.

    Args:
        has: what an optimizer has, as one attribute; '__call__' for what makes one.

    Raises:
        ConfigurationError: one of them cannot be; names it.
    """
    if not callable(loss_fn):
        raise ConfigurationError(f"make_step({loss_fn!r}, ...): give a loss function, called with (params, batch).")
    if isinstance(optimizer, str) or not hasattr(optimizer, has):
        wanted = "a function of the parameters that makes one" if has == "__call__" else "an optax transformation"
        raise ConfigurationError(
            f"make_step(optimizer={optimizer!r}): {kind(optimizer)} is no optimizer; give {wanted}."
        )
    for name, value in counts.items():
        if value is not None and not is_count(value, 1):
            raise ConfigurationError(f"make_step({name}={value!r}): must be an int >= 1.")


def check_state(state: Any) -> None:
    """Raises ConfigurationError where something else than a state is given for one."""
    if not isinstance(state, TrainState):
        raise ConfigurationError(
            f"{type(state).__name__} is no state of functional(module): make one by init() or load_state(...)."
        )


def moved_state(clock: object = None, to: object = None) -> ConfigurationError:
    """Return the error of a state that was given to a step before, and is dead since: of where it stood, and where the
    step has moved it, as far as that is known."""
    where = "" if clock is None else f", of {clock},"
    how = "in a step before" if to is None else f"to {to}"
    return ConfigurationError(
        f"this state{where} was moved {how}: go on with the state that the step returned, or keep old ones alive by "
        "functional(module, donate=False)."
    )


EVALUATED = {"validation": "validate", "test": "test"}
"""The stages that a step evaluates, and the Trainer's methods that do the same."""


def check_stage(stage: str) -> None:
    """Raises ConfigurationError where there is nothing to evaluate of that name."""
    if stage not in EVALUATED:
        raise ConfigurationError(f"evaluate(stage={stage!r}): must be {' or '.join(map(repr, EVALUATED))}.")


def check_batches(batches: Any, function: str) -> Any:
    """Return the one loader, or list of batches, that a function of a step was given.

    Raises:
        ConfigurationError: it is one batch, several loaders, or cannot be iterated over.
    """
    given = f"{function}(state, {type(batches).__name__})"
    if isinstance(batches, str | bytes | Mapping) or hasattr(batches, "shape"):
        raise ConfigurationError(f"{given}: this is one batch; give a list of batches, or a loader.")
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise ConfigurationError(f"{given}: give a list of batches, or a loader.")
    loader = as_loader(batches, given)
    if not isinstance(loader, CombinedLoader):
        return loader
    if function == "evaluate" and loader.mode == "sequential":
        raise ConfigurationError(
            f"{given}: its mode is 'sequential', which is several loaders one after another; evaluate each by itself."
        )
    return Batches(loader)


def no_batch(batches: Any, function: str) -> ConfigurationError:
    """Return the error of batches of which there was none."""
    given = f"{function}(state, {type(batches).__name__})"
    return ConfigurationError(f"{given}: there was no batch. Is it an iterator that is used up?")


def check_saved(saved: Any) -> None:
    """Raises ConfigurationError where something else than a checkpoint is given for one."""
    if not isinstance(saved, str | os.PathLike | Mapping):
        raise ConfigurationError(
            f"load({saved!r}): give the path of a checkpoint of the Trainer, or the dict that stands in it; the first "
            "state of a module is init()."
        )


def check_donate(donate: Any) -> None:
    """Raises ConfigurationError where something else than True or False is given."""
    if not isinstance(donate, bool):
        raise ConfigurationError(f"functional(donate={donate!r}): must be True or False.")


OF_A_STEP = (
    "accelerator", "accumulate_grad_batches", "automatic_optimization", "benchmark", "detect_anomaly", "deterministic",
    "devices", "gpus", "gradient_clip_algorithm", "gradient_clip_val", "max_epochs", "max_steps", "precision",
    "strategy", "terminate_on_nan", "track_grad_norm", "truncated_bptt_steps",
)  # fmt: skip
"""The Trainer's flags that say something of a single step, or that a module may configure its optimizers by."""


def flags_of_step(given: Mapping[str, Any]) -> Flags:
    """Return the flags of a step, checked as the Trainer checks them.

    Raises:
        ConfigurationError: one is unknown, has an impossible value, or says nothing of a step.
    """
    try:
        flags = parse(given)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("Trainer(", "functional(", 1)) from None
    pointless = [name for name in given if name not in OF_A_STEP]
    if pointless:
        raise ConfigurationError(
            f"functional({pointless[0]}={given[pointless[0]]!r}): this flag says nothing of a single step; leave it "
            "out, and give it to the Trainer."
        )
    return flags
