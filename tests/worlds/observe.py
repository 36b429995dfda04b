"""What can be seen of a run, as a list of events: hooks with the position, rows of loggers, results, files, errors."""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.worlds.program import CALLBACK_ONLY, MODULE_ONLY, Program


@dataclass(frozen=True)
class Event:
    """One thing that was seen: in words that must agree, and numbers that must be close."""

    what: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = [f"{name}={np.array2string(np.asarray(v), precision=6)}" for name, v in self.values.items()]
        return " ".join([self.what, *told]).replace("\n", "")


class Planned(Exception):
    """The error that a program raises on purpose."""


class Record:
    """What was seen of one run, in order."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.events: list[Event] = []
        self.calls: dict[str, int] = {}
        self.saved: str | None = None

    def see(self, what: str, values: Mapping[str, Any] | None = None) -> None:
        """Something happened."""
        self.events.append(Event(what, {} if values is None else flat(values)))

    def hook(
        self, owner: str, name: str, trainer: Any, arguments: Mapping[str, Any], weights: Callable[[], Any]
    ) -> None:
        """A hook was called."""
        arguments = {key: getattr(value, "value", value) for key, value in arguments.items()}
        plain = [f"{key}={value}" for key, value in arguments.items() if isinstance(value, int | str)]
        values: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        if "outputs" in arguments:
            values["outputs"] = arguments["outputs"]
        if self.program.looks:
            values["metrics"] = trainer.callback_metrics
            values["logged"] = trainer.logged_metrics
            values["bar"] = trainer.progress_bar_metrics
            values["weights"] = weights()
        self.see(" ".join([owner, name, *plain]), values)

    def act(self, hook: str, trainer: Any, folder: str) -> Any:
        """What the program does at this call of the callback's hook."""
        nth = self.calls[hook] = self.calls.get(hook, -1) + 1
        for act in self.program.acts:
            if (act.hook, act.nth) == (hook, nth):
                self.see(f"act {act.what}")
                if act.what == "skip":
                    return -1
                ACTS[act.what](self, trainer, folder)
        return None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Errors and warnings are things seen, too."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                yield
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                self.see(f"error {type(error).__name__}: {plain_text(error)}")
        for text in sorted({f"{w.category.__name__}: {plain_text(w.message)}" for w in told}):
            self.see(f"warning {text}")


def _stop(record: Record, trainer: Any, folder: str) -> None:
    trainer.should_stop = True


def _raise(record: Record, trainer: Any, folder: str) -> None:
    raise Planned("as the program says")


def press_ctrl_c(*_: Any) -> None:
    """As if somebody had pressed it."""
    signal.raise_signal(signal.SIGINT)


def _save(record: Record, trainer: Any, folder: str) -> None:
    record.saved = os.path.join(folder, "saved.ckpt")
    trainer.save_checkpoint(record.saved)


ACTS: dict[str, Callable[[Record, Any, str], None]] = {
    "stop": _stop, "raise": _raise, "ctrl-c": press_ctrl_c, "save": _save,
}  # fmt: skip


def plain_text(message: Any) -> str:
    """A message without what differs from run to run: paths and addresses."""
    text = re.sub(r"0x[0-9a-f]+", "<address>", str(message).split("\n")[0])
    return re.sub(r"'?(/[\w.+-]+){2,}/?'?", "<path>", text)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Numbers by a dotted name; what is no number by its type."""
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        items = [(str(i), value) for i, value in enumerate(values)]
    else:
        return {prefix: _number(values)}
    named = ((f"{prefix}.{key}" if prefix else key, value) for key, value in items)
    return {name: number for key, value in named for name, number in flat(value, key).items()}


def _number(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().cpu().clone().numpy()
    if value is None or isinstance(value, str):
        return value
    array = np.array(value)
    return array if array.dtype != object else type(value).__name__


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "setup": ("stage",), "teardown": ("stage",),
    "on_train_batch_start": ("batch", "batch_idx"), "on_train_batch_end": ("outputs", "batch", "batch_idx"),
    "on_save_checkpoint": ("checkpoint",), "on_load_checkpoint": ("checkpoint",), "on_exception": ("exception",),
    **{f"on_{s}_batch_start": ("batch", "batch_idx", "dataloader_idx") for s in ("validation", "test")},
    **{f"on_{s}_batch_end": ("outputs", "batch", "batch_idx", "dataloader_idx") for s in ("validation", "test")},
    **dict.fromkeys(MODULE_ONLY, ("outputs",)),
}  # fmt: skip


def hook_methods(
    owner: str, names: tuple[str, ...], record: Record, weights: Callable[[Any], Any], folder: str
) -> dict[str, Callable[..., Any]]:
    """Methods that record each call of these hooks, for a module's class or a callback's."""
    if owner == "module":
        names = tuple(name for name in names if name not in CALLBACK_ONLY)
        return {name: _module_hook(name, record, weights) for name in names}
    names = tuple(name for name in names if name not in MODULE_ONLY)
    return {name: _callback_hook(name, record, weights, folder) for name in names}


def with_signature(names: tuple[str, ...], call: Callable[..., Any]) -> Callable[..., Any]:
    """A method of exactly these arguments, as some frameworks look at the names: `call(self, {name: value})`."""
    given = ", ".join(f"{name!r}: {name}" for name in names)
    taken = [f"{name}=0" if name == "dataloader_idx" else name for name in names]
    scope: dict[str, Any] = {"call": call}
    exec(f"def method({', '.join(['self', *taken])}): return call(self, {{{given}}})", scope)
    return scope["method"]


def _module_hook(name: str, record: Record, weights: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(self: Any, arguments: dict[str, Any]) -> None:
        record.hook("module", name, self.trainer, arguments, lambda: weights(self))
        if hasattr(self, "log_all"):
            self.log_all(name, {})

    return with_signature(ARGUMENTS.get(name, ()), call)


def _callback_hook(name: str, record: Record, weights: Callable[[Any], Any], folder: str) -> Callable[..., Any]:
    def call(self: Any, arguments: dict[str, Any]) -> Any:
        trainer, module = arguments.pop("trainer"), arguments.pop("pl_module")
        record.hook("callback", name, trainer, arguments, lambda: weights(module))
        return record.act(name, trainer, folder)

    return with_signature(("trainer", "pl_module", *ARGUMENTS.get(name, ())), call)


def recording_logger(base: type, record: Record) -> Any:
    """A logger of this API that records its rows."""
    members = {
        "name": property(lambda self: "recording"),
        "version": property(lambda self: 0),
        "may_lag": True,
        "log_metrics": lambda self, metrics, step=None: record.see("row", {"step": step, **metrics}),
        "log_hyperparams": lambda self, params, *args: record.see("hyperparameters"),
    }
    return type("Recording", (base,), members)()
