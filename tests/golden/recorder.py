"""Records the order in which hooks are called: a module and a callback that override every hook there is.

Knows no framework. A line says whose method was called and with which plain arguments, as in
`module on_train_batch_start batch_idx=0 dataloader_idx=0`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.hook_table import CALLBACK, DATA, HOOKS, MODULE

HERE = Path(__file__).parent

# What a module defines beside the hooks; the documents' pseudo-code names these too.
STEPS: dict[str, tuple[str, ...]] = {
    "training_step": ("batch", "batch_idx"),
    "training_step_end": ("outputs",),
    "validation_step": ("batch", "batch_idx"),
    "validation_step_end": ("outputs",),
    "test_step": ("batch", "batch_idx"),
    "test_step_end": ("outputs",),
    "predict_step": ("batch", "batch_idx"),
    "train_dataloader": (),
    "val_dataloader": (),
    "test_dataloader": (),
    "predict_dataloader": (),
}


def hooks_of(owner: str) -> dict[str, tuple[str, ...]]:
    """The hooks that such an owner may define, with their arguments."""
    return {hook.name: hook.args for hook in HOOKS if owner in hook.owners}


def recorded(cls: type, lines: list[str], owner: str = MODULE, without: Collection[str] = ()) -> type:
    """A subclass of a module's or data module's class that records every hook, step and loader, and then
    does what the class does."""
    names = {name: args for name, args in {**hooks_of(owner), **STEPS}.items() if name not in without}
    members = {name: _recording(cls, owner, name, args, lines) for name, args in names.items() if hasattr(cls, name)}
    return type(f"Recorded{cls.__name__}", (cls,), members)


def recording_callback(lines: list[str], without: Collection[str] = ()) -> Callback:
    """A callback that records every hook."""
    hooks = {"on_init_start": ("trainer",), "on_init_end": ("trainer",)}
    for name, args in hooks_of(CALLBACK).items():
        hooks.setdefault(name, ("trainer", "pl_module", *args))
    hooks = {name: args for name, args in hooks.items() if name not in without}
    members = {name: _recording(Callback, CALLBACK, name, args, lines) for name, args in hooks.items()}
    return type("Recording", (Callback,), members)()


def _recording(cls: type, owner: str, name: str, names: tuple[str, ...], lines: list[str]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        lines.append(line(owner, name, names, args))
        return getattr(cls, name)(self, *args[: len(names)])

    return method


def line(owner: str, name: str, names: tuple[str, ...], args: tuple[Any, ...]) -> str:
    """One call. Numbers and words are told, arrays and objects are not."""
    told = [f"{key}={value}" for key, value in zip(names, args, strict=False) if isinstance(value, int | str)]
    return " ".join([owner, name, *told])


def name_of(line: str) -> str:
    """The hook that a line is about."""
    return line.split()[1]


def only(lines: Iterable[str], owner: str, names: Iterable[str]) -> list[str]:
    """The names of the calls of one owner, in order, of those hooks that are asked for."""
    wanted = set(names)
    return [name_of(each) for each in lines if each.split()[0] == owner and name_of(each) in wanted]


def golden(name: str) -> list[str]:
    """The lines of a golden file; titles of its parts left out."""
    text = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    return [each for each in text.splitlines() if each and not each.startswith("#")]


__all__ = ["DATA", "MODULE", "golden", "hooks_of", "line", "name_of", "only", "recorded", "recording_callback"]
