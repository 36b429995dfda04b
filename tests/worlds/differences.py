"""What differs between two worlds on purpose: a table, each row with its reason and a program that shows it.

A row says which programs it concerns; those are not compared, and `test_differences.py` asserts that its example really
differs, so that no row outlives its reason. What both worlds say, but in other words, is translated instead, event by
event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.worlds.program import Act, Checkpoint, EarlyStop, Loader, Log, Optimizer, Program


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        reason: why it is there.
        concerns: does it show in this program?
        example: a program in which it does.
    """

    reason: str
    concerns: Callable[[Program], bool]
    example: Program


def _batches(program: Program) -> int:
    """Training batches an epoch."""
    limit = program.flags.get("limit_train_batches", 1.0)
    seen = len(program.train.sizes)
    seen = int(seen * limit) if isinstance(limit, float) else min(seen, limit)
    return min(seen, int(program.flags.get("fast_dev_run", 0)) or seen)


def _accumulates(program: Program) -> bool:
    return "accumulate_grad_batches" in program.flags


def _open_window(program: Program) -> bool:
    """Is the last window of some epoch shorter?"""
    size = program.flags.get("accumulate_grad_batches", 1)
    return any(_batches(program) % n for n in (size.values() if isinstance(size, dict) else [size]))


def _limit_is_above(program: Program) -> bool:
    limit = program.flags.get("limit_train_batches", 1.0)
    return isinstance(limit, int) and limit > len(program.train.sizes)


def _cut(program: Program) -> bool:
    return "max_steps" in program.flags or program.early_stop is not None or bool(program.acts)


def _watches(program: Program, hook: str) -> bool:
    return hook in (*program.module_hooks, *program.callback_hooks)


def _nobody_logs_the_monitor(program: Program) -> bool:
    saver = program.checkpoint
    return saver is not None and saver.monitor not in (None, *(log.name for log in program.logs))


def _saves_by_steps(program: Program) -> bool:
    return program.checkpoint is not None and program.checkpoint.every_n_train_steps is not None


DISPATCH: tuple[Difference, ...] = ()
TORCH_AND_JAX: tuple[Difference, ...] = ()
BY_HAND: tuple[Difference, ...] = (
    Difference(
        "that a batch was the last is known of a loader without a length only when the next is asked for: the hook of "
        "the batch does not see the update of its open window",
        lambda program: program.train.kind == "unsized" and _open_window(program),
        Program(train=Loader(kind="unsized"), flags={"max_epochs": 1, "accumulate_grad_batches": 3}),
    ),
)

TORCH_AND_LIGHTNING: tuple[Difference, ...] = (
    Difference(
        "a list of batches is one loader; in pytorch-lightning each of its items is a loader",
        lambda program: any(loader.kind == "list" for loader in (program.train, *program.val)),
        Program(),
    ),
    Difference(
        "a last, shorter window divides by its own length, so that no sample counts less than others; "
        "pytorch-lightning divides it by accumulate_grad_batches",
        lambda program: _accumulates(program) and _open_window(program),
        Program(train=Loader((1, 1, 1), "sized"), flags={"max_epochs": 1, "accumulate_grad_batches": 2}),
    ),
    Difference(
        "accumulate_grad_batches may be a schedule; in pytorch-lightning 2 that is a callback",
        lambda program: isinstance(program.flags.get("accumulate_grad_batches"), dict),
        Program(train=Loader(kind="sized"), flags={"max_epochs": 1, "accumulate_grad_batches": {0: 1, 1: 2}}),
    ),
    Difference(
        "where nobody logs the monitor of a ModelCheckpoint, the state is saved before the error",
        _nobody_logs_the_monitor,
        Program(train=Loader(kind="sized"), checkpoint=Checkpoint(monitor="val")),
    ),
    Difference(
        "what validate and test give holds all that was logged; in pytorch-lightning not what loggers do not get",
        lambda program: bool(program.then) and any(not log.logger for log in program.logs),
        Program(
            train=Loader(kind="sized"),
            val=(Loader(kind="sized"),),
            logs=(Log("test_step", "test", logger=False),),
            then=("test",),
        ),
    ),
    Difference(
        "a ModelCheckpoint ranks a state by a value of its own epoch; pytorch-lightning takes a step's value for it",
        lambda program: _saves_by_steps(program) and program.checkpoint.monitor is not None,  # type: ignore[union-attr]
        Program(
            train=Loader(kind="sized"),
            logs=(Log(on_epoch=True),),
            checkpoint=Checkpoint(monitor="loss", every_n_train_steps=1),
        ),
    ),
    Difference(
        "'last' is written with every save; pytorch-lightning writes it at the end of a run too",
        lambda program: program.checkpoint is not None and program.checkpoint.save_last,
        Program(
            train=Loader((1,), kind="sized"),
            checkpoint=Checkpoint(save_last=True, every_n_train_steps=2),
        ),
    ),
    Difference(
        "on_train_batch_start gives -1 for whoever owns it; pytorch-lightning asks the module alone",
        lambda program: any(act.what == "skip" for act in program.acts),
        Program(
            train=Loader(kind="sized"),
            callback_hooks=("on_train_batch_start",),
            acts=(Act("on_train_batch_start", 0, "skip"),),
        ),
    ),
    Difference(
        "the end of a loader without a length is the end of an epoch for schedulers too, though the limit is above it",
        lambda program: program.train.kind == "unsized" and _limit_is_above(program),
        Program(
            optimizers=(Optimizer(decay=0.5, interval="epoch"),),
            train=Loader((1,), kind="unsized"),
            flags={"max_epochs": 3, "limit_train_batches": 2},
        ),
    ),
    Difference(
        "val_check_interval=1 is one batch, also for callbacks; pytorch-lightning's take it for 1.0",
        lambda program: bool(program.checkpoint or program.early_stop) and program.flags.get("val_check_interval") == 1,
        Program(
            train=Loader(kind="unsized"),
            val=(Loader(kind="sized"),),
            logs=(Log(),),
            checkpoint=Checkpoint(monitor="loss", save_top_k=2),
            flags={"max_epochs": 1, "val_check_interval": 1},
            seed=1,
        ),
    ),
    Difference(
        "an epoch that a limit or a stop cuts short has no epoch value to rank a state by",
        lambda program: program.checkpoint is not None and program.checkpoint.monitor is not None and _cut(program),
        Program(
            train=Loader(kind="sized"),
            logs=(Log(on_epoch=True),),
            checkpoint=Checkpoint(monitor="loss"),
            flags={"max_epochs": 3, "max_steps": 3},
            seed=7,
        ),
    ),
    Difference(
        "an EarlyStopping waits for a value that training logs; pytorch-lightning's fails at a validation before it",
        lambda program: program.early_stop is not None and bool(program.val),
        Program(
            train=Loader(kind="sized"),
            val=(Loader(kind="sized"),),
            logs=(Log(on_step=False, on_epoch=True),),
            early_stop=EarlyStop("loss"),
            flags={"max_epochs": 2, "val_check_interval": 2},
        ),
    ),
    Difference(
        "fast_dev_run writes no checkpoint, whoever gave the callback",
        lambda program: "fast_dev_run" in program.flags and program.checkpoint is not None,
        Program(
            train=Loader(kind="sized"),
            checkpoint=Checkpoint(save_last=True),
            flags={"max_epochs": 1, "fast_dev_run": 1},
        ),
    ),
    Difference(
        "on_fit_start comes before setup, as in the documents' pseudo-code",
        lambda program: _watches(program, "setup") and _watches(program, "on_fit_start"),
        Program(train=Loader(kind="sized"), module_hooks=("setup", "on_fit_start")),
    ),
    Difference(
        "should_stop waits for min_epochs, whose default is 1 as documented; pytorch-lightning 2 has no minimum",
        lambda program: any(act.what == "stop" for act in program.acts),
        Program(
            train=Loader(kind="sized"), callback_hooks=("on_train_batch_start",), acts=(Act("on_train_batch_start"),)
        ),
    ),
    Difference(
        "what was logged before an error is in callback_metrics",
        lambda program: any(act.what == "raise" and act.hook == "on_train_batch_end" for act in program.acts),
        Program(
            train=Loader(kind="sized"),
            logs=(Log(),),
            callback_hooks=("on_train_batch_end",),
            acts=(Act(what="raise"),),
        ),
    ),
    Difference(
        "a row of before the first update is of step 0; pytorch-lightning has the same number for the first update's",
        lambda program: _accumulates(program) and "val_check_interval" in program.flags,
        Program(
            train=Loader(kind="sized"),
            val=(Loader(kind="sized"),),
            logs=(Log("validation_step", "val"),),
            flags={"max_epochs": 1, "accumulate_grad_batches": 2, "val_check_interval": 1},
        ),
    ),
    Difference(
        "all loaders are asked for again in the same epochs; pytorch-lightning has a rule for each",
        lambda p: p.given == "module" and bool(p.val) and "reload_dataloaders_every_n_epochs" in p.flags,
        Program(
            train=Loader(kind="sized"),
            val=(Loader(kind="sized"),),
            given="module",
            logs=(Log("validation_step", "val"),),
            flags={"max_epochs": 2, "reload_dataloaders_every_n_epochs": 2, "check_val_every_n_epoch": 2},
        ),
    ),
    Difference(
        "hooks see the loss as the step gave it; pytorch-lightning's is divided by accumulate_grad_batches",
        lambda program: _accumulates(program) and _watches(program, "on_train_batch_end"),
        Program(
            train=Loader(kind="sized"),
            callback_hooks=("on_train_batch_end",),
            flags={"max_epochs": 1, "accumulate_grad_batches": 2},
        ),
    ),
    Difference(
        "a scheduler's frequency counts the updates of the run; pytorch-lightning counts the batches of each epoch",
        lambda program: any(o.decay is not None and o.every > 1 and o.interval == "step" for o in program.optimizers),
        Program(
            optimizers=(Optimizer(decay=0.5, every=2),),
            train=Loader((1, 1, 1), kind="sized"),
            flags={"max_epochs": 2},
        ),
    ),
    Difference(
        "teardown is called after an error too",
        lambda program: (
            _watches(program, "teardown") and bool(program.acts or program.early_stop or program.checkpoint)
        ),
        Program(
            train=Loader(kind="sized"),
            callback_hooks=("teardown", "on_train_epoch_end"),
            acts=(Act("on_train_epoch_end", 0, "raise"),),
        ),
    ),
    Difference(
        "a ModelCheckpoint without a monitor keeps the state of an epoch's end; pytorch-lightning's that of the last "
        "validation within the epoch",
        lambda program: (
            program.checkpoint is not None
            and program.checkpoint.monitor is None
            and not _saves_by_steps(program)
            and bool(program.val)
            and "val_check_interval" in program.flags
        ),
        Program(
            train=Loader(sizes=(1, 1, 1, 1, 1), kind="sized"),
            val=(Loader(kind="sized"),),
            checkpoint=Checkpoint(),
            flags={"max_epochs": 1, "val_check_interval": 0.5},
        ),
    ),
    Difference(
        "a state is ranked by a training metric at the end of each epoch; where validations are further apart than "
        "epochs, pytorch-lightning waits for one",
        lambda program: (
            program.checkpoint is not None
            and program.checkpoint.monitor in {log.name for log in program.logs if log.hook == "training_step"}
            and program.flags.get("check_val_every_n_epoch", 1) != 1
            and bool(program.val)
        ),
        Program(
            train=Loader(kind="sized"),
            val=(Loader(kind="sized"),),
            logs=(Log(on_step=False, on_epoch=True),),
            checkpoint=Checkpoint(monitor="loss"),
            flags={"max_epochs": 1, "check_val_every_n_epoch": 2},
        ),
    ),
    Difference(
        "a row of a single validation step carries the fit's step, so that a run that continues knows which rows it "
        "writes again; pytorch-lightning counts the steps of validations",
        lambda program: (
            bool(program.val) and any(log.hook == "validation_step" and log.on_step for log in program.logs)
        ),
        Program(
            train=Loader(kind="sized"),
            val=(Loader(kind="sized"),),
            logs=(Log("validation_step", on_step=True),),
        ),
    ),
)


def concerning(program: Program, table: tuple[Difference, ...]) -> Difference | None:
    """The first row that this program shows."""
    return next((row for row in table if row.concerns(program)), None)
