"""Random programs from a seed: the same number is the same program, for ever.

A generator of its own rather than hypothesis': every seed is a program unlike the last, where hypothesis spends most of
its examples on variations of one; a run costs too much for that. `shrink` makes up for what is lost.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.worlds.program import (
    CALLBACK_ONLY,
    EACH_BATCH,
    SELDOM,
    Act,
    Checkpoint,
    EarlyStop,
    Loader,
    Log,
    Optimizer,
    Program,
)

ALL_HOOKS = (*SELDOM, *EACH_BATCH, *CALLBACK_ONLY)
ACTED = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_validation_end",
    "on_train_epoch_start",
)
HOOK_LOGS = ("on_train_epoch_start", "training_epoch_end", "on_train_epoch_end", "on_validation_epoch_end")


class Dice:
    """Draws of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *values: Any) -> Any:
        """One of these."""
        return self.random.choice(values)

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return self.random.random() < share

    def few(self, values: Sequence[Any], most: int) -> tuple[Any, ...]:
        """Up to so many of these, each once."""
        return tuple(self.random.sample(list(values), min(len(values), self.random.randint(0, most))))


def any_program(seed: int) -> Program:
    """A program of any kind that all worlds have."""
    dice = Dice(seed)
    model = dice.one("linear", "linear", "mlp", "mlp", "recurrent")
    train = _loader(dice, model)
    val = tuple(_loader(dice, model) for _ in range(dice.one(1, 1, 2))) if dice.chance(0.6) else ()
    flags = _flags(dice, train, bool(val))
    if model == "recurrent":
        flags["truncated_bptt_steps"] = dice.one(2, 3, 5)
        flags.pop("accumulate_grad_batches", None)
    optimizers = _optimizers(dice, model)
    logs = _logs(dice, bool(val))
    hooks = [hook for hook in ALL_HOOKS if val or ("validation" not in hook and "test" not in hook)]
    called_back, overridden = (dice.few(hooks, 4) if dice.chance(0.7) else () for _ in range(2))
    return Program(
        model=model,
        returns=dice.one("loss", "dict", "weighted"),
        optimizers=optimizers,
        train=train,
        val=val,
        given=dice.one("fit", "fit", "module"),
        logs=logs,
        module_hooks=tuple(dict.fromkeys([*overridden, *(log.hook for log in logs if log.hook in HOOK_LOGS)])),
        callback_hooks=called_back,
        looks=dice.chance(0.5),
        acts=_acts(dice, called_back),
        early_stop=_early_stop(dice, logs),
        checkpoint=_checkpoint(dice, logs),
        flags=flags,
        then=dice.few(("validate", "test", "predict"), 2) if val else (),
        seed=dice.random.randint(0, 9),
    )


def _loader(dice: Dice, model: str) -> Loader:
    """One to five batches, the last one often shorter."""
    n, size = dice.one(1, 2, 3, 4, 5), dice.one(2, 3)
    batch = dice.one("tuple", "dict") if model == "recurrent" else dice.one("tuple", "dict", "odd")
    return Loader((size,) * (n - 1) + (dice.one(1, size),), dice.one("list", "sized", "unsized"), batch)


def _logs(dice: Dice, validates: bool) -> tuple[Log, ...]:
    """Up to five calls of log, each with a name of its own."""
    hooks = ["training_step", *(["validation_step", "test_step"] if validates else [])]
    names = {"training_step": "loss", "validation_step": "val", "test_step": "test"}
    made = [_variant(dice, Log(hook, names[hook])) for hook in hooks if dice.chance(0.8)]
    for i in range(dice.one(0, 0, 1, 2)):
        hook = dice.one(*hooks, *(hook for hook in HOOK_LOGS if validates or "validation" not in hook))
        value = "epoch" if hook in HOOK_LOGS else dice.one("mean", "index", "loss")
        made.append(_variant(dice, Log(hook, f"more{i}", value)))
    return tuple(made)


def _variant(dice: Dice, log: Log) -> Log:
    in_step = log.hook.endswith("_step")
    forms = [(None, None), (None, None), (False, True), *([(True, True), (True, False)] if in_step else [])]
    on_step, on_epoch = dice.one(*forms)
    return replace(
        log,
        on_step=on_step,
        on_epoch=on_epoch,
        reduce_fx=dice.one(None, None, None, "max", "min", "sum") if in_step else None,
        prog_bar=dice.chance(0.3),
        logger=dice.chance(0.8),
        batch_size=dice.one(None, None, 3) if in_step else None,
    )


def _flags(dice: Dice, train: Loader, validates: bool) -> dict[str, Any]:
    """Flags that fit the loader."""
    made: dict[str, Any] = {"max_epochs": dice.one(1, 2, 3), "log_every_n_steps": dice.one(1, 1, 2, 3)}

    def maybe(name: str, *values: Any, share: float = 0.25) -> None:
        if values and dice.chance(share):
            made[name] = dice.one(*values)

    batches, sized = len(train.sizes), train.kind != "unsized"
    maybe("accumulate_grad_batches", 2, 3, {0: 1, 1: 2}, {0: 3, 2: 1}, share=0.4)
    maybe("gradient_clip_val", 0.5, 0.0625, share=0.3)
    if "gradient_clip_val" in made:
        maybe("gradient_clip_algorithm", "value", share=0.5)
    maybe("max_steps", 1, 2, 3, 4, 6)
    maybe("precision", 64, share=0.5)
    maybe("limit_train_batches", 2, 3, *((0.5,) if sized and batches > 1 else ()))
    maybe("min_epochs", 1, made["max_epochs"])
    maybe("min_steps", *(n for n in (1, 2, 4) if n <= made.get("max_steps", 9)))
    maybe("reload_dataloaders_every_n_epochs", 1, 2)
    maybe("fast_dev_run", 1, 2, True, share=0.06)
    if validates:
        limit = made.get("limit_train_batches", batches)
        seen = max(1, int(batches * limit)) if isinstance(limit, float) else min(batches, limit)
        maybe("num_sanity_val_steps", 0, 1, -1, share=0.5)
        maybe("check_val_every_n_epoch", 2)
        maybe("limit_val_batches", 1, 2)
        maybe("val_check_interval", *(n for n in (1, 2, 3) if n <= seen), *((0.5,) if sized else ()), share=0.4)
    return made


def _optimizers(dice: Dice, model: str) -> tuple[Optimizer, ...]:
    def one(frequency: int | None) -> Optimizer:
        kind, rate = dice.one("sgd", "momentum", "adam"), dice.one(0.125, 0.03125)
        if dice.chance(0.3):
            return Optimizer(kind, rate, 0.5, "step", dice.one(1, 2), frequency)
        return Optimizer(kind, rate, frequency=frequency)

    if model != "mlp" or dice.chance(0.6):
        return (one(None),)
    return tuple(one(n) for n in dice.one((None, None), (1, 1), (2, 1), (1, 2)))


def _acts(dice: Dice, hooks: tuple[str, ...]) -> tuple[Act, ...]:
    at = [hook for hook in hooks if hook in ACTED]
    if not at:
        return ()
    hook = dice.one(*at)
    kinds = ["stop", "raise", "ctrl-c", *(["skip", "skip"] if hook == "on_train_batch_start" else [])]
    return (Act(hook, dice.one(0, 1, 2, 3), dice.one(*kinds)),)


def _monitors(logs: tuple[Log, ...]) -> list[str]:
    return [log.name for log in logs if log.hook in ("training_step", "validation_step")]


def _early_stop(dice: Dice, logs: tuple[Log, ...]) -> EarlyStop | None:
    names = _monitors(logs)
    if not names or dice.chance(0.75):
        return None
    return EarlyStop(dice.one(*names), dice.one(0, 1), dice.one("min", "max"))


def _checkpoint(dice: Dice, logs: tuple[Log, ...]) -> Checkpoint | None:
    if dice.chance(0.7):
        return None
    interval = dice.one({}, {"every_n_epochs": 2}, {"every_n_train_steps": 1}, {"every_n_train_steps": 2})
    monitor = dice.one(None, *_monitors(logs))
    top = dice.one(1, 2, -1) if monitor is not None else dice.one(1, -1)
    return Checkpoint(monitor, dice.one("min", "max"), top, dice.chance(0.5), **interval)


def program_in_lightning_too(seed: int) -> Program:
    """A program within what pytorch-lightning 2.6 documents as well."""
    program = any_program(seed)
    while program.several or program.model == "recurrent":
        seed += 1_000_000
        program = any_program(seed)
    train, *val = (_for_lightning(each) for each in (program.train, *program.val))
    dice = Dice(seed)
    optimizer = program.optimizers[0]
    if optimizer.decay is not None and dice.chance(0.5):
        optimizer = replace(optimizer, interval="epoch")
    return replace(
        program,
        returns="loss" if program.returns == "weighted" else program.returns,
        optimizers=(optimizer,),
        train=train,
        val=tuple(val),
        logs=tuple(log for log in program.logs if log.hook in LIGHTNING_HOOKS or log.hook.endswith("_step")),
        module_hooks=tuple(hook for hook in program.module_hooks if hook in LIGHTNING_HOOKS),
        callback_hooks=tuple(hook for hook in program.callback_hooks if hook in LIGHTNING_HOOKS),
        acts=tuple(act for act in program.acts if act.hook in LIGHTNING_HOOKS and act.what != "ctrl-c"),
    )


def _for_lightning(loader: Loader) -> Loader:
    batch = "dict" if loader.batch == "odd" else loader.batch
    return replace(loader, batch=batch, kind="sized" if loader.kind == "list" else loader.kind)


LIGHTNING_HOOKS = (
    "setup", "on_fit_start", "on_train_start", "on_train_epoch_start", "on_validation_start",
    "on_validation_epoch_start", "on_validation_epoch_end", "on_validation_end", "on_train_epoch_end", "on_train_end",
    "on_fit_end", "teardown", "on_test_start", "on_test_epoch_end", "on_test_end", "on_train_batch_start",
    "on_train_batch_end", "on_validation_batch_start", "on_validation_batch_end", "on_test_batch_start",
    "on_test_batch_end", "on_sanity_check_start", "on_sanity_check_end", "on_exception",
)  # fmt: skip
"""Hooks that both have."""
