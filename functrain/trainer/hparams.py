"""Hyperparameters of a module: collected from its `__init__`, kept, and stored as plain values.

May look at the frames of its callers; knows no framework.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Collection, Iterable, Sequence
from types import FrameType
from typing import Any

from functrain.trainer.errors import nearest
from functrain.trainer.narrow import is_dict
from functrain.trainer.plain import (
    as_dict,
    load_hparams_yaml,
    load_tags_csv,
    save_hparams_yaml,
    storable,
    to_plain,
)

__all__ = [
    "HyperParameters",
    "HyperparametersMixin",
    "load_hparams_yaml",
    "load_tags_csv",
    "save_hparams_yaml",
    "storable",
    "to_plain",
]


class HyperParameters(dict[str, Any]):
    """Hyperparameters by name, as items (`hparams["lr"]`) and as attributes (`hparams.lr`).

    A name that is also a method of dict (`items`, `keys`, ...) is reached as an item only.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no hyperparameter {name!r}{_known(name, self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"there is no hyperparameter {name!r}{_known(name, self)}") from None

    def __repr__(self) -> str:
        return "\n".join(f'"{name}": {value}' for name, value in self.items())


class HyperparametersMixin:
    """Gives a class `save_hyperparameters`, `hparams` and `hparams_initial`.

    Needs no `__init__` of its own, so it works before `super().__init__()` has run.
    """

    _log_hyperparams: bool = False
    """Whether the trainer is to send the hyperparameters to the loggers."""

    _hparams_name: str | None = None
    """The argument of `__init__` that took all hyperparameters as one object; None where there is none."""

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep arguments of `__init__` as hyperparameters. Call it there, before the arguments are rebound.

        Without `args` that is every argument of this `__init__` and of those that called it by
        `super().__init__()`, with what came by `**kwargs`; where two take the same name, the most derived
        class decides. A second call adds to the first.

        Args:
            args: names of arguments to keep; or ONE mapping, argparse.Namespace or dataclass instance that
                holds the hyperparameters itself.
            ignore: a name, or names, to leave out.
            frame: the frame of the `__init__`; found by itself.
            logger: whether the loggers of a run are to be given them.

        Raises:
            ValueError: a name that is no argument of `__init__`. The message has the nearest right one.
            TypeError: `args` is neither names nor one object of the kinds above.
            RuntimeError: it is not called from an `__init__`, and `args` are no values themselves.
        """
        ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
        init_args = _init_arguments(self, frame if frame is not None else sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
        chosen = self._chosen(args, init_args)
        current = self.hparams
        current.update((name, value) for name, value in chosen.items() if name not in ignored)
        _set(self, "_hparams_initial", HyperParameters(_copied(current)))
        _set(self, "_log_hyperparams", logger)

    @property
    def hparams(self) -> HyperParameters:
        """The hyperparameters. May be changed; `hparams_initial` keeps what was saved."""
        return self.__dict__.setdefault("_hparams", HyperParameters())

    @hparams.setter
    def hparams(self, value: Any) -> None:
        """What `save_hyperparameters(value)` is called today; replaces all."""
        as_dict(value, "hparams")
        self.__dict__.pop("_hparams", None)
        self.save_hyperparameters(value, frame=sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    @property
    def hparams_initial(self) -> HyperParameters:
        """The hyperparameters as they were saved: a copy that shares no container with `hparams`.

        Values other than containers, such as modules, are not copied.
        """
        return HyperParameters(_copied(self.__dict__.get("_hparams_initial", {})))

    def _chosen(self, args: Sequence[Any], init_args: dict[str, Any] | None) -> dict[str, Any]:
        if args and not any(isinstance(arg, str) for arg in args):
            return self._from_object(args, init_args or {})
        if init_args is None:
            raise RuntimeError(
                f"{type(self).__name__}.save_hyperparameters was not called from __init__, "
                "so there are no arguments to keep; call it there, or give it a dictionary"
            )
        if not args:
            return init_args
        for name in args:
            if not isinstance(name, str):
                raise TypeError(
                    f"save_hyperparameters was given names together with a {type(name).__name__}; "
                    "give either names or one object"
                )
            if name not in init_args:
                raise ValueError(
                    f"save_hyperparameters: {name!r} is no argument of {type(self).__name__}.__init__"
                    f"{_known(name, init_args)}"
                )
        return {name: init_args[name] for name in args}

    def _from_object(self, args: Sequence[Any], init_args: dict[str, Any]) -> dict[str, Any]:
        if len(args) > 1:
            kinds = ", ".join(type(arg).__name__ for arg in args)
            raise TypeError(f"save_hyperparameters was given several objects ({kinds}); give one, or names")
        values = as_dict(args[0], "the argument of save_hyperparameters")
        names = [name for name, value in init_args.items() if value is args[0]]
        _set(self, "_hparams_name", names[0] if names else None)
        return values


def _init_arguments(obj: object, frame: FrameType | None) -> dict[str, Any] | None:
    """Return the arguments of the running `__init__`s of `obj`, the most derived one first; None without any."""
    frames: list[FrameType] = []
    while frame is not None:
        if frame.f_code.co_name == "__init__" and _first_argument(frame) is obj:
            frames.append(frame)
        frame = frame.f_back
    if not frames:
        return None
    collected: dict[str, Any] = {}
    for init in reversed(frames):
        for name, value in _arguments(init).items():
            collected.setdefault(name, value)
    return collected


def _first_argument(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _arguments(frame: FrameType) -> dict[str, Any]:
    """Return what a call of an `__init__` was given, without `self` and `*args`; `**kwargs` one by one."""
    code, values = frame.f_code, frame.f_locals
    named = code.co_argcount + code.co_kwonlyargcount
    arguments = {name: values[name] for name in code.co_varnames[1:named] if name in values}
    if code.co_flags & inspect.CO_VARKEYWORDS:
        keywords = code.co_varnames[named + bool(code.co_flags & inspect.CO_VARARGS)]
        arguments.update(values.get(keywords, {}))
    return arguments


def _set(obj: object, name: str, value: Any) -> None:
    # Past any __setattr__ of a framework, which may refuse attributes before its own __init__ has run.
    object.__setattr__(obj, name, value)


def _copied(value: Any) -> Any:
    """`value` with new containers all the way down. Anything else may be a whole network: it is kept."""
    if is_dict(value):
        return {name: _copied(item) for name, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, argparse.Namespace):
        return argparse.Namespace(**_copied(vars(value)))
    return value


def _known(name: str, known: Collection[str]) -> str:
    return f"; there are {', '.join(map(repr, known))}.{nearest(name, known)}" if known else "; there are none"
