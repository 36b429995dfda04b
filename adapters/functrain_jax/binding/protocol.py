"""`Binding`: how the state in one kind of objects becomes trees of arrays, and trees of arrays such objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from functrain.kernel.state import Tree
from functrain.trainer.module import ModuleBase
from functrain_jax.binding.trees import by_path

Trees: TypeAlias = dict[str, Tree]
"""Trees of arrays by attribute."""


class Mode(NamedTuple):
    """Whether a part of a network evaluates: its path, as `net.norm`, the part, and the attribute that says it."""

    path: str
    part: Any
    attribute: str
    value: Any


class Binding(Protocol):
    """The attributes of one module that hold one kind of objects.

    A subclass writes `claims`, `split`, `joined` and `publish`; the other methods have defaults for objects that are
    nothing but arrays. The trees that it takes and returns hold arrays alone, by attribute; the places in them are the
    names of the values in checkpoints.

    Args:
        module: the user's module.
        names: the attributes that this kind claims.
    """

    module: ModuleBase
    names: tuple[str, ...]

    def __init__(self, module: ModuleBase, names: tuple[str, ...]) -> None:
        self.module = module
        self.names = names

    @classmethod
    def claims(cls, name: str, value: Any) -> bool:
        """Return whether an attribute of this name and value is of this kind."""
        ...

    def split(self, held: Mapping[str, Any]) -> tuple[Trees, Trees]:
        """Return (params, vars) of these objects: what is trained, and what the forward pass may change.

        Args:
            held: objects by attribute: the user's own, or what `joined` returned.
        """
        ...

    def joined(self, params: Trees, vars_: Trees, dtype: Any) -> dict[str, Any]:
        """Return objects like the user's, by attribute, with these values, for the time of one traced call. The user's
        own are left as they are.

        Args:
            dtype: what layers return that would return full precision whatever goes into them; None leaves them.
        """
        ...

    def publish(self, params: Trees, vars_: Trees) -> None:
        """Leave these values in the user's own objects."""
        ...

    def collect(self) -> tuple[Trees, Trees]:
        """Return (params, vars) of the user's own objects, as arrays of JAX."""
        return self.split(self.held())

    def held(self) -> dict[str, Any]:
        """Return what the attributes hold now."""
        return {name: vars(self.module)[name] for name in self.names}

    def published(self, params: Trees, vars_: Trees) -> bool:
        """Return whether the user's objects still hold these very arrays. They do not where a hook has put others
        there."""
        own, given = by_path(*self.collect()), by_path(params, vars_)
        return own.keys() == given.keys() and all(own[path] is given[path] for path in own)

    def prepare(self, params: Trees, vars_: Trees) -> None:
        """Get ready for a run, in which `publish` gets trees of this form."""

    def modes(self) -> Sequence[Mode]:
        """Return which parts of the user's objects train, and which evaluate."""
        return ()

    def set_mode(self, training: bool) -> None:
        """Put the user's objects into training or evaluation mode. A compiled step keeps the mode of its trace."""

    def parts(self) -> Sequence[Any]:
        """Return the objects whose classes have code that a step runs, and whose attributes beside the state are
        settings: where one of them changes, steps are compiled anew."""
        return ()

    def structure(self) -> Any:
        """Return what compiled programs depend on beside the settings of the parts: a value that can be compared."""
        return None

    def shifted(self, vars_: Trees, batch_idx: Any) -> Trees:
        """Return the vars for batch `batch_idx` of an evaluation, which draws other random numbers for every batch and
        keeps no state."""
        return vars_
