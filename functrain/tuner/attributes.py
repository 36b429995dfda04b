"""The attribute that a tuner sets: where it is, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.hparams import HyperParameters


class Attribute:
    """An attribute of a module or data module, or a hyperparameter of one, by its name; all that have it are set.

    Args:
        name: what it is called.
        owners: the module and the data module, or None in place of one.
    """

    def __init__(self, name: str, *owners: object) -> None:
        self.name = name
        self._attributes = [owner for owner in owners if owner is not None and _has(owner, name)]
        self._items = [each for each in map(_hparams, owners) if each is not None and name in each]

    @property
    def is_there(self) -> bool:
        """Does anybody have it?"""
        return bool(self._attributes or self._items)

    def get(self) -> Any:
        """Return its value; an attribute's before a hyperparameter's."""
        if self._attributes:
            return getattr(self._attributes[0], self.name)
        return self._items[0][self.name]

    def set(self, value: object) -> None:
        """Set it wherever it is."""
        for owner in self._attributes:
            setattr(owner, self.name, value)
        for hparams in self._items:
            hparams[self.name] = value

    def __str__(self) -> str:
        places = [f"{type(owner).__name__}.{self.name}" for owner in self._attributes]
        return ", ".join(places or [f"hparams.{self.name}"])


def find(what: str, names: Sequence[str], module: object, datamodule: object) -> Attribute:
    """Return the attribute of the first of these names that is there.

    Args:
        what: who looks for it, for the message.

    Raises:
        ConfigurationError: there is none.
    """
    found = [Attribute(name, module, datamodule) for name in names]
    attribute = next((each for each in found if each.is_there), None)
    if attribute is not None:
        return attribute
    known = [*vars(module), *(_hparams(module) or ())]
    near = nearest(names[0], known) if len(names) == 1 else ""
    raise ConfigurationError(
        f"{what}: neither {type(module).__name__} nor its hparams{' nor the data module' if datamodule else ''} have "
        f"{' or '.join(map(repr, names))}; set it in __init__, and use it in what is to follow it.{near}"
    )


def _has(owner: object, name: str) -> bool:
    """Return whether it is an attribute that can be set."""
    member = getattr(type(owner), name, None)
    is_fixed = isinstance(member, property) and member.fset is None
    return hasattr(owner, name) and not is_fixed


def _hparams(owner: object) -> HyperParameters | None:
    hparams = getattr(owner, "hparams", None)
    return hparams if isinstance(hparams, HyperParameters) else None


@contextmanager
def standing_in(module: Any, name: str, method: Callable[..., Any]) -> Generator[None]:
    """Within it a method of a module is another one; afterwards what stood on the very object is there again."""
    had = {key: value for key, value in vars(module).items() if key == name}
    object.__setattr__(module, name, method)
    try:
        yield
    finally:
        vars(module).pop(name, None)
        vars(module).update(had)
