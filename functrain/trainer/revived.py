"""Hyperparameters as `__init__` was given them, of the plain values that a checkpoint keeps: Namespaces, dataclasses,
members of an Enum, paths. What they are is told by the class's own annotations, and by where objects stood."""

from __future__ import annotations

import dataclasses
import types
import typing
from argparse import Namespace
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

from functrain.trainer.narrow import class_of, is_dict, is_list, is_mapping, is_sequence

Places = list[list[Any]]
"""Where objects with attributes stood, each by the keys that lead there."""


def objects_in(value: Any, place: Sequence[Any] = ()) -> Places:
    """Return where Namespaces and dataclasses stand among hyperparameters; the inner ones first."""
    if isinstance(value, Namespace):
        inside: Any = vars(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif is_mapping(value):
        inside = value
    else:
        inside = dict(enumerate(value)) if is_sequence(value) else {}
    found = [each for key, item in inside.items() for each in objects_in(item, (*place, key))]
    return found if not place or is_mapping(value) or is_sequence(value) or not inside else [*found, list(place)]


def revived(cls: type, plain: Mapping[str, Any], objects: Any) -> dict[str, Any]:
    """Return hyperparameters as the class's `__init__` takes them.

    Args:
        plain: the values by name.
        objects: what `objects_in` has returned of them; anything else tells nothing.
    """
    values = dict(plain)
    for place in objects if is_list(objects) else []:
        if is_list(place) and place:
            _to_namespace(values, place)
    wanted = _annotations(cls)
    return {name: _as_wanted(value, wanted.get(name)) for name, value in values.items()}


def _to_namespace(values: Any, place: Sequence[Any]) -> None:
    """Put a Namespace in place of the dict that stands there, if one does."""
    *way, last = place
    for key in way:
        try:
            values = values[key]
        except (LookupError, TypeError):
            return
    within = is_dict(values) or is_list(values)
    known = within and (last in values if is_dict(values) else isinstance(last, int) and last < len(values))
    if known and is_dict(values[last]) and all(isinstance(name, str) for name in values[last]):
        values[last] = Namespace(**values[last])


def _annotations(cls: Any) -> dict[str, Any]:
    """Return what `__init__` says of its arguments' types, as far as that can be found out."""
    known: dict[str, Any] = {}
    for base in reversed(class_of(cls).__mro__ if not isinstance(cls, type) else cls.__mro__):
        init = vars(base).get("__init__")
        try:
            known |= typing.get_type_hints(init)
        except (NameError, TypeError, AttributeError, SyntaxError):
            known |= {k: v for k, v in getattr(init, "__annotations__", {}).items() if not isinstance(v, str)}
    return known


def _as_wanted(value: Any, wanted: Any) -> Any:
    """Return the value as an annotation wants it; unchanged where it wants nothing of the kind, or cannot have it."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        for one in typing.get_args(wanted):
            made = _as_wanted(value, one)
            if made is not value:
                return made
        return value
    if not isinstance(wanted, type):
        return value
    fields = vars(value) if isinstance(value, Namespace) else value
    if dataclasses.is_dataclass(wanted) and is_dict(fields):
        return _dataclass_of(wanted, fields, value)
    if wanted is Namespace and is_dict(value) and all(isinstance(name, str) for name in value):
        return Namespace(**value)
    if issubclass(wanted, PurePath) and isinstance(value, str):
        return wanted(value)
    return _member_of(wanted, value) if issubclass(wanted, Enum) and not isinstance(value, Enum) else value


def _dataclass_of(wanted: Any, given: Mapping[Any, Any], value: Any) -> Any:
    known = {field.name for field in dataclasses.fields(wanted) if field.init}
    needed = {
        field.name
        for field in dataclasses.fields(wanted)
        if field.init and field.default is field.default_factory is dataclasses.MISSING
    }
    if not needed <= given.keys() <= {field.name for field in dataclasses.fields(wanted)}:
        return value
    try:
        inner = typing.get_type_hints(wanted)
    except (NameError, TypeError):
        inner = dict[str, Any]()
    return wanted(**{name: _as_wanted(item, inner.get(name)) for name, item in given.items() if name in known})


def _member_of(wanted: type[Enum], value: Any) -> Any:
    return next((member for member in wanted if member.value == value), value)
