"""Which attributes of a module a step reads: while it is traced, that one object is of a class that notes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Quiet:
    """Stands before a user's class where `__init_subclass__` is looked up: nobody hears of the classes that note."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


@contextmanager
def reading(module: Any, names: set[str]) -> Iterator[None]:
    """Within the block every attribute of the module that is read is noted.

    No class is changed for that, and no other object. The module's own class becomes a subclass of what it was, of the
    same name, which says of itself that it is what it was; pickles and copies of the module are of the class it was.
    """
    was = type(module)
    noting = _noting(was, module.__class__, names)
    object.__setattr__(module, "__class__", noting)
    try:
        yield
    finally:
        object.__setattr__(module, "__class__", was)


def _noting(was: type, shown: type, names: set[str]) -> type:
    def note(self: Any, name: str) -> Any:
        names.add(name)
        return shown if name == "__class__" else super(noting, self).__getattribute__(name)

    def reduce(self: Any, protocol: Any) -> Any:
        object.__setattr__(self, "__class__", was)
        try:
            return self.__reduce_ex__(protocol)
        finally:
            object.__setattr__(self, "__class__", noting)

    space = {
        "__slots__": (),
        "__module__": was.__module__,
        "__qualname__": was.__qualname__,
        "__doc__": was.__doc__,
        "__getattribute__": note,
        "__reduce_ex__": reduce,
    }
    # The user's class is the only base, so that an object of it can become one of this class; `Quiet` is in its order.
    kind: Any = type(type(was).__name__, (type(was),), {"mro": lambda cls: [cls, Quiet, *was.__mro__]})
    noting: Any = kind(was.__name__, (was,), space)
    return noting
