"""Methods with those of the documented arguments that their own signatures take. Touches nothing.

Arguments are matched by name, older names of an argument included, or by their place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

_also: dict[str, str] = {}


def also_known_as(names: Mapping[str, str]) -> None:
    """Have parameters of these names stand for the documented arguments that they are mapped to."""
    _also.update(names)


def adapt(method: Callable[..., Any], args: tuple[str, ...], what: str = "", rest: bool = True) -> Callable[..., Any]:
    """Return a function of the documented arguments, by position, that hands `method` those that its signature takes.

    Args:
        args: the documented names, in order. A method's own names are matched to them; a first
            argument of another name is matched by position (`def training_step(self, x, i)`).
        rest: a method with `*args` takes all of them, or those of the user's method that it overrides; else only those
            that it names, where it names any.

    Raises:
        TypeError: the method asks for a required argument that the hook does not have.
    """
    picks = _taken(method, args, what, rest)
    if picks is None or [*range(len(args))] == _places(picks):
        return method
    by_place = tuple(index for name, index in picks if name is None)
    by_name = tuple((name, index) for name, index in picks if name is not None)
    return _picker(method, by_place, by_name)


def leading(method: Callable[..., Any], args: tuple[str, ...], what: str = "") -> int | None:
    """Return how many of the documented arguments, from the first on and by position, are all that a method takes; None
    where it takes others. See `adapt`."""
    picks = _taken(method, args, what, rest=True)
    if picks is None:
        return len(args)
    return len(picks) if _places(picks) == [*range(len(picks))] else None


def named(method: Callable[..., Any], args: tuple[str, ...], what: str) -> set[str]:
    """Return those of the documented arguments that a method has parameters for, `*args` aside."""
    return {args[index] for _, index in _picks(list(inspect.signature(method).parameters.values()), args, what)}


def _places(picks: list[tuple[str | None, int]]) -> list[int] | None:
    """Return the documented arguments by index, where all of them are taken by position."""
    return [index for _, index in picks] if all(name is None for name, _ in picks) else None


def _taken(
    method: Callable[..., Any], args: tuple[str, ...], what: str, rest: bool
) -> list[tuple[str | None, int]] | None:
    """Return which of the documented arguments each parameter of a method stands for; None where it is to be given
    all."""
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in (parameters if rest else parameters[:1])):
        above = _overridden(method)
        return None if above is None else _picks(above, args, what or method.__qualname__)
    return _picks(parameters, args, what or method.__qualname__)


def _overridden(method: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the parameters of the user's method that one with `*args` overrides and hands on to; None where that
    takes `*args` too, or is a base class's own, which takes all."""
    owner, function = getattr(method, "__self__", None), getattr(method, "__func__", None)
    found = [vars(base).get(getattr(method, "__name__", "")) for base in type(owner).__mro__]
    defined = [each for each in found if inspect.isfunction(each)]
    for above in defined[defined.index(function) + 1 :] if function in defined else ():
        parameters = list(inspect.signature(above).parameters.values())[1:]
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return None if getattr(above, "_functrain_default", False) else parameters
    return None


def _picks(parameters: list[inspect.Parameter], args: tuple[str, ...], what: str) -> list[tuple[str | None, int]]:
    """Return which of the documented arguments each parameter stands for, by index; with its name where it is
    keyword-only."""
    picks: list[tuple[str | None, int]] = []
    taken: set[int] = set()
    for place, p in enumerate(parameters):
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        index = _index_of(p.name, args, place, taken)
        if index is None:
            if p.default is p.empty:
                known = ", ".join(args) or "none"
                raise TypeError(f"{what}: argument {p.name!r} is not one of this hook's ({known}).")
            continue
        taken.add(index)
        picks.append((p.name if p.kind is p.KEYWORD_ONLY else None, index))
    return picks


def _index_of(name: str, args: tuple[str, ...], place: int, taken: set[int]) -> int | None:
    name = _also.get(name, name)
    if name in args:
        return args.index(name)
    is_at_its_place = place < len(args) and place not in taken and args[place] not in OPTIONAL
    if is_at_its_place:
        return place
    return None


# Arguments that a signature asks for by name only: a parameter of another name at their place is not meant for them.
OPTIONAL = {
    "dataloader_idx",
    "optimizer_idx",
    "hiddens",
    "optimizer_closure",
    "on_tpu",
    "using_native_amp",
    "using_lbfgs",
}


def _picker(
    method: Callable[..., Any], by_place: tuple[int, ...], by_name: tuple[tuple[str, int], ...]
) -> Callable[..., Any]:
    if by_name:
        return lambda *args: method(*(args[i] for i in by_place), **{name: args[i] for name, i in by_name})
    if by_place == tuple(range(len(by_place))):
        n = len(by_place)
        return lambda *args: method(*args[:n])
    return lambda *args: method(*[args[i] for i in by_place])
