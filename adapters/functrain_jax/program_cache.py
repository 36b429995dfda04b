"""Compiled programs stay with their module, so that a second run compiles nothing; and are found again only where all
that was constant while they were traced is still so.

A module's plain attributes are such constants. Which of them a step reads is noted while it is traced.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from flax import nnx

from functrain.trainer.module import ModuleBase
from functrain_jax.binding import Bindings
from functrain_jax.binding.composite import OWN
from functrain_jax.context import Surroundings
from functrain_jax.frozen import DEPTH, frozen, of_library

SETS, VERSIONS = 8, 8
"""So many sets of programs, for other flags or optimizers, and versions of one, for other constants, are kept."""

M = TypeVar("M")

TRAINER = "trainer."
"""Begins the names of what a step reads of its Trainer."""

OFTEN = 3
"""A constant that has changed so many times is told."""


class CachedProgram(NamedTuple):
    """A program, what was found when it was traced, and the constants that it was traced with."""

    program: Callable[..., Any]
    found: Any
    reads: tuple[str, ...]
    values: tuple[Any, ...]
    inside: tuple[Any, ...]


class ProgramCache:
    """All programs of one module. Copies and pickles of the module begin without."""

    def __init__(self, owner: ModuleBase | None = None) -> None:
        self.owner = None if owner is None else weakref.ref(owner)
        self.sets: list[tuple[Any, Programs[Any]]] = []
        self.changed: dict[str, int] = {}
        self.surroundings: list[Surroundings] = []
        """Of the runs of the module that are under way: a run within a run is the last."""

    def __reduce__(self) -> Any:
        return ProgramCache, ()

    @classmethod
    def of(cls, module: ModuleBase) -> ProgramCache:
        """The module's own."""
        kept = vars(module).get("_programs")
        if kept is None or kept.owner is None or kept.owner() is not module:
            kept = vars(module)["_programs"] = cls(module)
        return kept

    def programs(self, key: Any, make: Callable[[], M]) -> Programs[M]:
        """Return the programs of this key; the first time with what `make` returns as their maker."""
        for i, (known, programs) in enumerate(self.sets):
            if known == key:
                self.sets.insert(0, self.sets.pop(i))
                return programs
        programs = Programs(make(), self.changed)
        self.sets = [(key, programs), *self.sets[: SETS - 1]]
        return programs


class Programs(Generic[M]):
    """The programs that one maker has made, by the form of what they are called with.

    Args:
        maker: what traces and compiles them.
        changed: how often each constant was found changed.
    """

    def __init__(self, maker: M, changed: dict[str, int]) -> None:
        self.maker = maker
        self.changed = changed
        self.entries: dict[Any, list[CachedProgram]] = {}

    def find(self, form: Any, constants: Constants) -> CachedProgram | None:
        """Return the program of this form that was traced with the constants of now."""
        versions = self.entries.get(form, ())
        for entry in versions:
            if entry.inside == constants.inside() and entry.values == constants.values(entry.reads):
                return entry
        if versions:
            self._tell(versions[0], constants)
        return None

    def add(
        self, form: Any, program: Callable[..., Any], found: Any, reads: set[str], constants: Constants
    ) -> CachedProgram:
        """Keep a program that was traced just now."""
        names = constants.plain(reads)
        entry = CachedProgram(program, found, names, constants.values(names), constants.inside())
        self.entries[form] = [entry, *self.entries.get(form, ())[: VERSIONS - 1]]
        return entry

    def _tell(self, last: CachedProgram, constants: Constants) -> None:
        now = constants.values(last.reads)
        for name, before, after in zip(last.reads, last.values, now, strict=True):
            if before == after:
                continue
            self.changed[name] = self.changed.get(name, 0) + 1
            if self.changed[name] == OFTEN:
                value = str(constants.value(name))[:40]
                warnings.warn(
                    f"{type(constants.module).__name__}.{name} is read by a compiled step and has changed {OFTEN} "
                    f"times (now {value}): every change compiles the step anew. Keep it in self.vars, where a hook may "
                    f"set it (self.vars = {{{name!r}: jnp.float32(...)}}, read as self.vars[{name!r}]), or compute it "
                    "from self.global_step or self.current_epoch within the step.",
                    UserWarning,
                    stacklevel=2,
                )


class Constants:
    """What a module holds beside its state."""

    def __init__(self, binding: Bindings) -> None:
        self.module = binding.module
        self.state = {*binding.names, *OWN} - {"_hparams"}
        parts = [vars(part) for part in binding.networks()]
        simple = (type(None), bool, int, float, str, FunctionType, type)
        self.places = [(part, key) for part in parts for key, value in part.items() if type(value) in simple]
        known = {(id(part), key) for part, key in self.places}
        self.holders = [
            (part, key) for part in parts for key, v in part.items() if (id(part), key) not in known and _described(v)
        ]

    def inside(self) -> tuple[Any, ...]:
        """Return the settings of the networks, such as a rate of dropout or the mode."""
        values = [part.get(key) for part, key in self.places]
        return (*values, *[frozen(part.get(key), DEPTH) for part, key in self.holders])

    def plain(self, reads: set[str]) -> tuple[str, ...]:
        """Return those of the names that are attributes with a value of their own."""
        own = vars(self.module)
        names = reads | own.keys() if "__dict__" in reads else reads
        held = [name for name in names if name not in self.state and self._holds(name)]
        return tuple(sorted(held + [name for name in reads if name.startswith(TRAINER)]))

    def _holds(self, name: str) -> bool:
        if name in vars(self.module):
            return True
        value = next((vars(c)[name] for c in type(self.module).__mro__ if name in vars(c)), None)
        return not hasattr(value, "__get__") and not name.startswith("__")

    def values(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        """Their values, described so that they can be compared."""
        return tuple([frozen(self.value(name), DEPTH) for name in names])

    def value(self, name: str) -> Any:
        """Return what is now under the name."""
        own, module = vars(self.module), self.module
        if name.startswith(TRAINER):
            return getattr(module.trainer, name.removeprefix(TRAINER), None)
        return own[name] if name in own else getattr(type(module), name, None)


def _described(value: Any) -> bool:
    """Return whether it is a setting that stands in an object or container, and not a part of the network."""
    if isinstance(value, nnx.Variable | nnx.Module | jax.Array | nnx.RngStream | nnx.Rngs):
        return False
    return isinstance(value, tuple | list | dict | np.ndarray | np.generic | SimpleNamespace) or not of_library(
        type(value)
    )
