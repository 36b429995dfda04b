"""Random generators that objects hold among their attributes, however deep: found by their paths, their states as text.

Knows Python's and numpy's; an adapter adds its framework's.
"""

from __future__ import annotations

import json
import random
import sys
import types
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple
from weakref import WeakSet

from functrain.seed import rng_state, set_rng_state
from functrain.trainer.errors import CheckpointError
from functrain.trainer.narrow import class_of, is_dict, is_mapping

MANY = 256
"""A longer container holds data, not parts."""

MOST = 200_000
"""Objects that are looked at; a larger graph of them is data."""

ATOMS = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray, type, types.ModuleType))
CONTAINERS: tuple[type[Any], ...] = (dict, list, tuple, set, frozenset, deque, OrderedDict)
ELSEWHERE = ("_trainer", "trainer", "_context", "_iterator")
"""Attributes that lead out of an object, into the run or into an iterator under way. Nor is looked into what is called
a cache: it can be made anew."""


class Kind(NamedTuple):
    """How the state of one class of generators is read and set, as what JSON can hold."""

    get: Callable[[Any], Any]
    put: Callable[[Any, Any], None]


def _set_python(generator: random.Random, state: Any) -> None:
    version, words, gauss = state
    generator.setstate((version, tuple(words), gauss))


_kinds: dict[type, Kind] = {random.Random: Kind(random.Random.getstate, _set_python)}


def register_kind(kind: type, get: Callable[[Any], Any], put: Callable[[Any, Any], None]) -> None:
    """Have generators of this class found; the same class replaces."""
    _kinds[kind] = Kind(get, put)


def _known() -> dict[type, Kind]:
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and numpy.random.Generator not in _kinds:
        register_kind(numpy.random.Generator, lambda g: g.bit_generator.state, _set_numpy)
        register_kind(numpy.random.RandomState, lambda g: g.get_state(legacy=False), lambda g, s: g.set_state(s))
    return _kinds


def _set_numpy(generator: Any, state: Any) -> None:
    generator.bit_generator.state = state


def held(owner: Any, without: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Return the generators that the owner's attributes lead to, by path: through objects, containers, closures,
    partials.

    Args:
        without: objects that are not looked into.
    """
    kinds, seen = tuple(_known()), {id(other) for other in without}
    found: dict[str, Any] = {}
    todo: list[tuple[tuple[str, ...], Any]] = [((), owner)]
    while todo and len(seen) < MOST:
        path, value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, kinds):
            found[".".join(path)] = value
        else:
            todo.extend(((*path, name), part) for name, part in reversed(list(_parts(value))))
    return found


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    for name, part in _inside(value):
        kind = class_of(part)
        holds_nothing = kind in ATOMS or (kind in CONTAINERS and not part)
        leads_out = name in ELSEWHERE or name.endswith("cache")
        if holds_nothing or leads_out:
            continue
        if name == "_modules":
            yield from part.items()  # torch keeps a module's parts there; their own names say more
        elif name not in ("_parameters", "_buffers"):
            yield name, part


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    kind = class_of(value)
    if issubclass(kind, CONTAINERS):
        if len(value) <= MANY:
            items = value.items() if is_dict(value) else enumerate(value)
            yield from [(str(key), item) for key, item in items]
    elif kind is types.FunctionType:
        yield from _closure(value)
    elif kind is types.MethodType:
        yield "__self__", value.__self__
    elif kind is partial:
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    slots, array = _form(kind)
    if array:
        return
    attributes = getattr(value, "__dict__", None)
    if is_dict(attributes):
        yield from list(attributes.items())
    for name in slots:
        if hasattr(value, name):
            yield name, getattr(value, name)


@cache
def _form(kind: type) -> tuple[tuple[str, ...], bool]:
    """Return the slots of a class, and whether it is one of arrays."""
    slots = tuple(name for base in kind.__mro__ for name in _slots(base))
    return slots, hasattr(kind, "shape") and hasattr(kind, "dtype")


def _closure(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not set yet


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))


def states(generators: Mapping[str, Any]) -> dict[str, str]:
    """Return the state of every generator, as text."""
    return {path: json.dumps(_kind(g).get(g), default=lambda array: array.tolist()) for path, g in generators.items()}


def load_states(generators: Mapping[str, Any], saved: Mapping[str, str]) -> None:
    """Take `states` back, of those that are there."""
    for path, generator in generators.items():
        if path in saved:
            _kind(generator).put(generator, json.loads(saved[path]))


def _kind(generator: Any) -> Kind:
    return next(kind for base, kind in _known().items() if isinstance(generator, base))


# of loaders


def of_loader(loader: Any) -> dict[str, Any]:
    """Return the generators that a loader holds, by path; without those of a data set that worker processes read, as
    they have copies of it."""
    return held(loader, (loader.dataset,) if _by_workers(loader) else ())


def _by_workers(loader: Any) -> bool:
    return bool(getattr(loader, "num_workers", 0)) and hasattr(loader, "dataset")


def loader_rng(loader: Any) -> dict[str, str] | None:
    """Return the states of the generators that the loader, its samplers and its data set hold, by their paths; None
    without.

    A data set that worker processes read is left out: they have copies of it.
    """
    return states(of_loader(loader)) or None


def set_loader_rng(loader: Any, saved: Mapping[str, str]) -> None:
    """Take `loader_rng` back.

    Raises:
        CheckpointError: the loader has other generators now.
    """
    generators = of_loader(loader)
    are_renamed = is_mapping(saved) and len(generators) == len(saved) and generators.keys() != saved.keys()
    if are_renamed:
        # The same loader within another, or without it.
        saved = dict(zip(generators, saved.values(), strict=True))
    if not is_mapping(saved) or generators.keys() != saved.keys():
        raise CheckpointError(
            f"the loader had {len(saved)} random generators of its own ({', '.join(map(str, saved))[:200]}), and this "
            f"{type(loader).__name__} has {len(generators)} ({', '.join(generators) or 'none'}); continue with the "
            "same loader."
        )
    load_states(generators, saved)


_warned: WeakSet[Any] = WeakSet()


def warn_of_copies(loader: Any, what: str) -> None:
    """Say, once a loader, that worker processes draw from copies of generators, where no checkpoint can see them."""
    if not _by_workers(loader) or loader in _warned:
        return
    copied = held(loader.dataset)
    if copied:
        _warned.add(loader)
        warnings.warn(
            f"{what}: its data set holds random generators ({', '.join(list(copied)[:5])}), and num_workers="
            f"{loader.num_workers} processes draw from copies of them that a checkpoint cannot hold: a run that "
            "continues from this one draws other numbers there. Draw from the global generators (torch's, numpy's, "
            "Python's), which are seeded for every batch, or set num_workers=0.",
            UserWarning,
            stacklevel=2,
        )


# of all


def set_known_rng_state(state: Mapping[str, Any]) -> None:
    """Set the generators of a checkpoint that are there; nobody draws from one of a framework that is not loaded."""
    known = rng_state().keys()
    set_rng_state({name: value for name, value in state.items() if name in known})
