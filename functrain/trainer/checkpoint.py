"""What a checkpoint holds beside the engine's part, and how it is put back.

Assembles plain values; the engine does the I/O.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from functrain.kernel.state import Clock
from functrain.trainer import loop_state, metrics_state, processes, setup
from functrain.trainer.callback import Checkpoint
from functrain.trainer.combined import leaves_of
from functrain.trainer.data import loaders_rng, set_loaders_rng
from functrain.trainer.entries import TRAIN
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.foreign import Stateful
from functrain.trainer.generators import warn_of_copies
from functrain.trainer.hooks import keyed
from functrain.trainer.hparams import storable
from functrain.trainer.logger_states import checkpoint_saved, rewind, states
from functrain.trainer.narrow import is_dict, is_mapping, is_sequence
from functrain.trainer.overriding import overrides
from functrain.trainer.planning import max_epochs
from functrain.trainer.random_states import random_state
from functrain.trainer.revived import objects_in
from functrain.trainer.run import Loop, Run
from functrain.trainer.saving import Saving
from functrain.trainer.signatures import adapt
from functrain.trainer.world import on_first
from functrain.version import __version__

FORMAT = 2
"""1: an epoch that is over was turned before its checkpoint, its metrics are still there, and they have no hooks."""

FOR_OTHERS = "callbacks_for_others"
"""Which states of callbacks stand there for another library."""


def save(run: Run, path: str, weights_only: bool) -> None:
    """Write the state of a run to a file; returns when it is there."""
    begin_save(run, path, weights_only)
    on_first(run.world, run.writes.settle)


def begin_save(
    run: Run, path: str, weights_only: bool, then: Callable[[BaseException | None], None] | None = None
) -> None:
    """Begin to write the state of a run to a file; returns when the state is copied, and the run may go on.

    What was written before is there first, since the state tells of it. So is what was logged: a kill cannot part them.
    Every process of the run calls it, and the hooks that take part are called in each; the first one writes.

    Args:
        then: called in the main thread when the file is there, or with the error where it could not be written.
    """
    run.span("save_checkpoint", _begin_save)(run, path, weights_only, then)


def _begin_save(run: Run, path: str, weights_only: bool, then: Callable[[BaseException | None], None] | None) -> None:
    run.writes.settle()
    for logger in run.writing_loggers:
        logger.save()
    before, state = run.saved, assemble(run, weights_only)
    if run.world.size > 1 and not weights_only:
        state = processes.with_others(run, state)
    under_way: list[Saving] = []
    on_first(run.world, lambda: under_way.append(run.checkpoints.save(path, state)))
    if not weights_only:
        run.saved = (path, run.clock)

    def over(error: BaseException | None) -> None:
        try:
            if error is not None:
                run.saved = before
            else:
                savers = [callback for callback in run.callbacks if isinstance(callback, Checkpoint)]
                checkpoint_saved(run.writing_loggers, path, savers)
        finally:
            if then is not None:
                then(error)

    if under_way:
        run.writes.add(path, under_way[0], over)
    else:
        over(None)


def assemble(run: Run, weights_only: bool) -> dict[str, Any]:
    """Return the whole state of a run as a dict of plain values and the framework's arrays, taken between two steps."""
    clock, module = run.clock, run.module
    going: dict[str, Any] = {}
    if not weights_only:
        going = {"clock": clock._asdict(), "loop": _loop_state(run), "rng": _rng(run)}
        going["metrics"] = metrics_state.state_dict(run.metrics)
    checkpoint: dict[str, Any] = {
        "functrain": {
            "format": FORMAT,
            "version": __version__,
            "weights_only": weights_only,
            **run.identity.state(clock.update),
        },
        "epoch": clock.epoch,
        "global_step": clock.update,
        **run.engine.state_dict(weights_only),
        **going,
    }
    for prefix, owner in (("", module), ("datamodule_", run.datamodule)):
        hparams = getattr(owner, "hparams", None)
        if hparams:
            checkpoint[f"{prefix}hyper_parameters"] = _hyper_parameters(hparams, type(owner).__name__)
            objects = objects_in(hparams)
            if objects:
                checkpoint[f"{prefix}hparams_objects"] = objects
        if getattr(owner, "_hparams_name", None) is not None:
            checkpoint[f"{prefix}hparams_name"] = owner._hparams_name
    if not weights_only:
        checkpoint["callbacks"] = callback_states(run, checkpoint)
        checkpoint["loggers"] = states(run.loggers)
        checkpoint["setup"] = setup.of_run(run)
        datamodule = run.datamodule
        if isinstance(datamodule, Stateful):
            checkpoint["datamodule"] = datamodule.state_dict()
    if run.others is not None:
        _name_for_others(checkpoint, run.others.named(checkpoint))
    for owner in (run.datamodule, module):
        if owner is not None and overrides(owner, "on_save_checkpoint"):
            owner.on_save_checkpoint(checkpoint)
    return checkpoint


def _name_for_others(checkpoint: dict[str, Any], more: dict[str, Any]) -> None:
    """Put in what another library looks for; what stands there already is ours."""
    callbacks = more.pop("callbacks", {})
    own: dict[str, Any] = checkpoint.setdefault("callbacks", {}) if callbacks else {}
    added = {key: state for key, state in callbacks.items() if key not in own}
    own.update(added)
    if added:
        checkpoint[FOR_OTHERS] = sorted(added)
    checkpoint.update({key: value for key, value in more.items() if key not in checkpoint})


def _loop_state(run: Run) -> dict[str, Any]:
    """Return the loop's part of a checkpoint, with what callbacks may still read."""
    loop = run.loop
    if loop is None:
        raise ConfigurationError("trainer.save_checkpoint: nothing was trained; use weights_only=True.")
    redone = run.redone
    for loader in leaves_of(run.val_loaders):
        if getattr(loader, "persistent_workers", False):
            warn_of_copies(loader, "val_dataloader")
    return {
        **loop.state(),
        **metrics_state.shown(run.metrics),
        "should_stop": run.stop.requested,
        "draws": dict(run.loaders.draws),
        "val_loaders": redone["val_loaders"] if redone else loaders_rng(run.loader_tools, run.val_loaders),
    }


def _rng(run: Run) -> dict[str, Any]:
    """Return the random state that a run continues with: the present one, or that of a validation which is done
    over."""
    if run.resumed_rng is not None:
        return run.resumed_rng
    redone = run.redone
    return redone["rng"] if redone else random_state(run)


def _hyper_parameters(hparams: Mapping[str, Any], owner: str) -> dict[str, Any]:
    plain, left_out = storable(hparams)
    if left_out:
        warnings.warn(
            f"hyperparameters {', '.join(left_out)} of {owner} are not plain values and are left out of the "
            "checkpoint: leave "
            f"them out with save_hyperparameters(ignore={left_out!r}), and give them to load_from_checkpoint.",
            UserWarning,
            stacklevel=2,
        )
    return plain


def callback_states(run: Run, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return every callback's state by its key: from `state_dict`, or what the older `on_save_checkpoint` returns."""
    states: dict[str, Any] = {}
    for key, callback in keyed(run.callbacks):
        state = callback.state_dict()
        if overrides(callback, "on_save_checkpoint"):
            call = adapt(callback.on_save_checkpoint, ("trainer", "pl_module", "checkpoint"))
            state = call(run.owner, run.module, checkpoint) or state
        if state:
            states[key] = state
    return states


def restore_callbacks(run: Run, checkpoint: Mapping[str, Any], path: str) -> None:
    """Hand every callback its state back. A state that nobody takes is said, not an error."""
    for_others = checkpoint.get(FOR_OTHERS, ())
    states = {key: state for key, state in checkpoint.get("callbacks", {}).items() if key not in for_others}
    for key, callback in keyed(run.callbacks):
        state = states.pop(key, None)
        if state is not None:
            with of_callback(key, path):
                callback.load_state_dict(state)
        if not overrides(callback, "on_load_checkpoint"):
            continue
        # The older form takes the callback's state alone, the newer (trainer, pl_module, checkpoint).
        call = callback.on_load_checkpoint
        if _takes_several(call):
            adapt(call, ("trainer", "pl_module", "checkpoint"))(run.owner, run.module, checkpoint)
        elif state is not None:
            with of_callback(key, path):
                call(state)
    if states:
        warnings.warn(
            f"the checkpoint has states of callbacks that this Trainer does not have: {', '.join(sorted(states))}.",
            UserWarning,
            stacklevel=2,
        )


@contextmanager
def of_callback(key: str, path: str) -> Generator[None]:
    """Errors of the block name the checkpoint, and the callback whose state was being put back.

    Raises:
        CheckpointError: the state does not fit it.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the state of {key} does not fit it ({type(error).__name__}: {error}); was it changed after it "
            "was written, or is this another callback of the same name?"
        ) from error


def _takes_several(method: Any) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return len(parameters) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


# The parts of a checkpoint that are dicts by name, whoever wrote it.
DICTS = (
    "functrain",
    "state_dict",
    "hyper_parameters",
    "datamodule_hyper_parameters",
    "callbacks",
    "clock",
    "loop",
    "rng",
)


def check_format(checkpoint: Any, path: str) -> dict[str, Any]:
    """Return the checkpoint, if this version can read it.

    Raises:
        CheckpointError: it is not a checkpoint, of a later format, or a part of it is not what it is called.
    """
    if not is_dict(checkpoint):
        raise CheckpointError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint.")
    for name in DICTS:
        part = checkpoint.get(name, {})
        if not is_mapping(part) or not all(isinstance(key, str) for key in part):
            what = "names that are no strings" if isinstance(part, Mapping) else f"a {type(part).__name__}"
            raise CheckpointError(f"{path}: its {name!r} holds {what} where a dict by name is needed; was it changed?")
    about = checkpoint.get("functrain", {})
    written = about.get("format", 0)
    if not isinstance(written, int):
        raise CheckpointError(f"{path}: its format is {written!r}, which is no number; was it changed?")
    if written > FORMAT:
        raise CheckpointError(
            f"{path}: written by functrain {about.get('version')} in format {written}; this is functrain "
            f"{__version__}, which reads up to {FORMAT}. Update functrain to read it."
        )
    return checkpoint


def clock_of(checkpoint: Mapping[str, Any]) -> Clock:
    """Return the position that a checkpoint was taken at.

    Raises:
        CheckpointError: the checkpoint holds weights only, or was not written by functrain.
    """
    if "functrain" not in checkpoint:
        raise CheckpointError(
            "was not written by functrain, so training cannot continue from it; load its weights with "
            "load_from_checkpoint."
        )
    if "clock" not in checkpoint:
        raise CheckpointError(
            "holds weights only, so training cannot continue from it; load them with load_from_checkpoint, or save "
            "with save_weights_only=False."
        )
    if "loop" not in checkpoint:
        raise CheckpointError(
            "has no 'loop', so training cannot continue from it; was it changed after it was written?"
        )
    loop_state.check(checkpoint["loop"])
    return loop_state.clock(checkpoint["clock"])


def load(run: Run, path: str | os.PathLike[str] | Mapping[str, Any], weights_only: bool) -> dict[str, Any]:
    """Read a checkpoint into the engine of a run.

    Raises:
        CheckpointError: it cannot be read, or is of another module; names the file.
    """
    saved, path = read(run, path, weights_only)
    with naming(path):
        if run.others is not None and not weights_only:
            saved = run.others.adopt(saved)
        clock = None if weights_only else clock_of(saved)
        if clock is not None:
            saved = processes.own(run.world, saved, path)
    for owner in (run.datamodule, run.module):
        if owner is not None and overrides(owner, "on_load_checkpoint"):
            owner.on_load_checkpoint(saved)
    with naming(path):
        if clock is not None and run.flags.fast_dev_run:
            saved, clock = between_epochs(saved), Clock()
        elif clock is not None:
            run.loaders.draws_then = dict(saved["loop"].get("draws", {}))
        if clock is not None:
            metrics_state.load_state(run.metrics, saved["metrics"])
        run.engine.load_state_dict(saved, weights_only)
    if clock is not None:
        run.clock = clock
    return saved


def read(
    run: Run, checkpoint: str | os.PathLike[str] | Mapping[str, Any], weights_only: bool
) -> tuple[dict[str, Any], str]:
    """Return a checkpoint that is given as a path, or as what stands in one, and its name."""
    if isinstance(checkpoint, str | os.PathLike):
        path = os.fspath(checkpoint)
        saved = run.checkpoints.load(path, partial(run.engine.state_dict, weights_only))
        return check_format(saved, path), path
    given: Any = dict(checkpoint) if is_mapping(checkpoint) else checkpoint
    return check_format(given, "the checkpoint"), "the checkpoint"


@contextmanager
def naming(path: str) -> Generator[None]:
    """Errors of the block name the checkpoint that was being put back.

    Raises:
        CheckpointError: it does not fit, or is not as it was written.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: cannot be put back ({type(error).__name__}: {error}); was it changed after it was written?"
        ) from error


def between_epochs(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checkpoint without what belongs to its position: a run of a few batches begins anew with its
    states."""
    players = [{**player, "window": None} for player in saved["players"]]
    return {
        **saved,
        "clock": Clock()._asdict(),
        "players": players,
        **{key: {} for key in ("grads", "metrics", "metric_states", "metric_links") if key in saved},
    }


def try_out(run: Run, saved: dict[str, Any], path: str) -> None:
    """Under fast_dev_run: the callbacks' and the data module's states too, and no position."""
    restore_callbacks(run, saved, path)
    if run.datamodule is not None and "datamodule" in saved:
        run.datamodule.load_state_dict(saved["datamodule"])
    run.print(
        f"fast_dev_run: the states of {path} are tried out from an epoch's start; where its run stood is left aside."
    )


def continue_from(run: Run, loop: Loop, saved: dict[str, Any], path: str) -> None:
    """Put the position, the loop, the callbacks and the random state back; the engine has its part already."""
    if run.flags.fast_dev_run:
        try_out(run, saved, path)
        return
    run.identity.continue_from(saved["functrain"], path)
    restore(run, loop, saved, path)
    with naming(path):
        setup.warn_of_changes(run, saved.get("setup"), path)
    rewind(run.writing_loggers, run.clock.update, saved.get("loggers"))
    restore_callbacks(run, saved, path)
    if run.datamodule is not None and "datamodule" in saved:
        run.datamodule.load_state_dict(saved["datamodule"])
    clock = run.clock
    run.saved = (path, clock)
    run.print(f"Continuing from {path}: epoch {clock.epoch}, batch {clock.batch}.")
    if loop.nothing_left():
        why = "a stop was asked for; to train on, set trainer.should_stop = False in on_train_start"
        if not run.stop.requested:
            why = f"the limits are reached: max_epochs={max_epochs(run.flags)}, max_steps={run.flags.max_steps}"
        run.print(f"Nothing is left to train there: {why}.")


def restore(run: Run, loop: Loop, saved: dict[str, Any], path: str) -> None:
    """Put back what is due in the loop, the metrics that are read by name, and random states."""
    with naming(path):
        state = saved["loop"]
        loop.load_state(state)
        metrics_state.load_shown(run.metrics, state)
        if saved["functrain"]["format"] == 1 and not run.clock.batch:
            run.metrics.reset(TRAIN)
        run.stop.request(state["should_stop"])
        set_loaders_rng(run.loader_tools, run.val_loaders, state["val_loaders"])
        run.resumed_rng = dict(saved["rng"])


def storable_outputs(outputs: list[Any]) -> list[Any] | None:
    """Return what the training steps of an epoch returned, if a checkpoint can hold it; else None, with a warning."""
    if all(is_storable(output) for output in outputs):
        return outputs
    warnings.warn(
        "training_step returns objects that a checkpoint cannot hold (only numbers, strings and arrays, in lists, "
        "tuples and dicts): a run that continues within this epoch will not find them in training_epoch_end.",
        UserWarning,
        stacklevel=2,
    )
    return None


def is_storable(value: Any) -> bool:
    """Return whether it is made of numbers, strings and arrays, in lists, tuples and dicts."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return True
    if is_mapping(value):
        return all(is_storable(item) for item in (*value.keys(), *value.values()))
    if is_sequence(value):
        return all(is_storable(item) for item in value)
    return hasattr(value, "shape") and hasattr(value, "dtype")
