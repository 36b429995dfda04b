"""All state of a module: the bindings of its attributes composed, with what is the same for every kind.

Touches the module's attributes: `bound` for the time of a call, `publish` for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from functrain.kernel.state import Tree
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.module import ModuleBase
from functrain_jax.binding.nnx import NnxBinding
from functrain_jax.binding.plain import PlainBinding
from functrain_jax.binding.protocol import Binding, Mode, Trees
from functrain_jax.binding.trees import like, merged, without
from functrain_jax.device import check_one_device

UNSET = object()
OWN = (
    "_trainer", "_context", "_logged_objects", "_warned_of_no_run", "_step", "_hparams", "_hparams_initial",
    "_programs", "trainer",
)  # fmt: skip
"""Attributes that belong to the run, and are never state."""

_kinds: list[type[Binding]] = [PlainBinding, NnxBinding]


def register(kind: type[Binding]) -> type[Binding]:
    """Have this kind of binding claim attributes of modules, before all kinds that were registered before it."""
    _kinds.append(kind)
    return kind


class Called(NamedTuple):
    """What a call with other values returned, and the values as it left them."""

    output: Any
    params: Trees
    vars: Trees


class Bindings:
    """One module's state, as trees of arrays by attribute.

    Attributes:
        parts: the bindings of the kinds that have an attribute, in the order of their registration.
        names: the attributes that hold state.
        kept: the attributes whose parameters no optimizer moves: they count among the vars, and a step may write them.
    """

    def __init__(self, module: ModuleBase) -> None:
        self.module = module
        claimed: dict[type[Binding], list[str]] = {kind: [] for kind in _kinds}
        for name, value in vars(module).items():
            kind = next((kind for kind in reversed(_kinds) if kind.claims(name, value)), None)
            if name not in OWN and kind is not None:
                claimed[kind].append(name)
        self.parts = tuple(kind(module, tuple(names)) for kind, names in claimed.items() if names)
        self.names = tuple(name for part in self.parts for name in part.names)
        self.leave(())

    def leave(self, names: Iterable[str]) -> None:
        """From here on the parameters of these attributes are no optimizer's."""
        self.kept: tuple[str, ...] = tuple(names)
        self._trained: dict[str, Tree] = {}
        self._changed: set[str] = set()
        for part in self.parts:
            params, vars_ = part.collect()
            self._trained |= {name: jax.tree.map(lambda _: True, params[name]) for name in self.kept if name in params}
            self._changed |= vars_.keys()
            part.prepare(params, vars_)

    # values out of the module and into it

    def collect(self) -> tuple[Trees, Trees]:
        """Return (params, vars): what is trained, and what the forward pass may change.

        Raises:
            ConfigurationError: an array is spread over several devices.
        """
        params, vars_ = self._assembled([part.collect() for part in self.parts])
        for path, leaf in jax.tree_util.tree_leaves_with_path((params, vars_)):
            check_one_device(leaf, "self." + jax.tree_util.keystr(path[1:], simple=True, separator="."))
        return params, vars_

    def _present(self) -> tuple[Trees, Trees]:
        return self._assembled([part.split(part.held()) for part in self.parts])

    def _assembled(self, found: Sequence[tuple[Trees, Trees]]) -> tuple[Trees, Trees]:
        params = {name: tree for trees, _ in found for name, tree in trees.items()}
        vars_ = {name: tree for _, trees in found for name, tree in trees.items()}
        for name in self.kept:
            vars_[name] = merged(vars_.get(name), params.pop(name))
        return params, vars_

    def publish(self, params: Trees, vars_: Trees) -> None:
        """Leave these values in the user's module."""
        for part in self.parts:
            part.publish(*self._of(part, params, vars_))

    def published(self, params: Trees, vars_: Trees) -> bool:
        """Return whether the user's module still holds these very arrays. It does not where a hook has put others
        there."""
        return all(part.published(*self._of(part, params, vars_)) for part in self.parts)

    def _of(self, part: Binding, params: Trees, vars_: Trees) -> tuple[Trees, Trees]:
        """Return the share of one part, in the form in which it returned it."""
        if len(self.parts) == 1 and not self.kept:
            return params, vars_
        own = {name: params[name] for name in part.names if name in params}
        others = {name: vars_[name] for name in part.names if name in vars_}
        for name in [name for name in self.kept if name in others]:
            tree = others.pop(name)
            own[name] = like(tree, self._trained[name], name)
            if name in self._changed:
                others[name] = without(tree, self._trained[name])
        return own, others

    # calls on other values

    def call(
        self, method: Callable[..., Any], params: Trees, vars_: Trees, *args: Any, dtype: Any = None
    ) -> Called:  # fmt: skip
        """Call a method of the module with these values in the place of its own.

        New vars (captured intermediates) are dropped.

        Args:
            dtype: what layers return that would return full precision whatever goes into them; None leaves them.

        Raises:
            ConfigurationError: an attribute was set to a traced value, which would be lost, or the structure of the
                parameters is another afterwards.
        """
        with self.bound(params, vars_, dtype):
            output = method(*args)
            now, moved = self._present()
            vars_ = {name: like(moved.get(name), tree, name) for name, tree in vars_.items()}
            return Called(output, self._same_structure(now, params), vars_)

    def _same_structure(self, now: Trees, before: Trees) -> Trees:
        now = {name: tree for name, tree in now.items() if name in before}
        if jax.tree.structure(now) != jax.tree.structure(before):
            raise ConfigurationError(
                f"{type(self.module).__name__}: the step has changed the structure of its parameters, from "
                f"{jax.tree.structure(before)} to {jax.tree.structure(now)}."
            )
        return now

    @contextmanager
    def bound(self, params: Trees, vars_: Trees, dtype: Any = None) -> Iterator[None]:
        """Within the block the module's attributes hold these values; afterwards what they held before.

        Raises:
            ConfigurationError: an attribute was set to a traced value, which would be lost.
        """
        attributes = vars(self.module)
        before = dict(attributes)
        contents = {name: copy(v) for name, v in before.items() if isinstance(v, list | dict | set)}
        for part in self.parts:
            attributes.update(part.joined(*self._of(part, params, vars_), dtype))
        try:
            yield
            self._check_attributes(before, contents)
        finally:
            attributes.update({name: before[name] for name in self.names})
            for name in [n for n, value in attributes.items() if n not in before and is_traced(value)]:
                del attributes[name]

    def _check_attributes(self, before: dict[str, Any], contents: dict[str, Any]) -> None:
        """A step that sets an attribute does so once, while it is traced."""
        owner, state = type(self.module).__name__, (*self.names, *OWN)
        for name, value in vars(self.module).items():
            if name in state:
                continue
            old = before.get(name, getattr(type(self.module), name, UNSET))
            if value is not old and is_traced(value):
                self.module.__dict__.update({name: before.get(name)})
                raise ConfigurationError(
                    f"{owner}: self.{name} was set to a value of the compiled step, which ends with the step. Log it "
                    "with self.log, return it, or keep it in self.vars or in an nnx.Variable."
                )
            inside = name in contents and not _alike(value, contents[name])
            if inside or (old is not UNSET and not _alike(value, old)):
                self.module.__dict__.update({name: contents.get(name, old)})
                change = "changed" if inside else f"set from {old!r:.40} to {value!r:.40}"
                raise ConfigurationError(
                    f"{owner}: self.{name} was {change} inside a compiled step, which Python runs only when it is "
                    "traced: this would count traces, not batches. Keep it in self.vars, whose arrays a step may "
                    "replace, in an nnx.Variable, compute it from self.global_step, or set it in a hook."
                )

    # parameters among the vars

    def parameters(self, params: Trees, vars_: Trees) -> Trees:
        """Return all parameters by attribute, those that no optimizer moves too."""
        return {**params, **{name: like(vars_[name], self._trained[name], name) for name in self.kept}}

    def cast(self, vars_: Trees, cast: Callable[[Tree], Tree], but: Iterable[str] = ()) -> Trees:
        """Return the vars with the parameters among them cast as those of optimizers are, but for these
        attributes'."""
        names = [name for name in self.kept if name not in but]
        return {**vars_, **{n: merged(vars_[n], cast(like(vars_[n], self._trained[n], n))) for n in names}}

    def with_kept(self, new: Trees, old: Trees, but: Iterable[str]) -> Trees:
        """Return the new vars with the old parameters among them, but for these attributes'."""
        names = [name for name in self.kept if name not in but]
        return {**new, **{n: merged(new[n], like(old[n], self._trained[n], n)) for n in names}}

    # training and evaluation mode

    def modes(self) -> list[Mode]:
        """Return which mode every part of the user's networks is in."""
        return [mode for part in self.parts for mode in part.modes()]

    def set_mode(self, training: bool) -> None:
        """Put the user's networks into training or evaluation mode."""
        for part in self.parts:
            part.set_mode(training)

    def set_evaluating(self, evaluating: set[str]) -> None:
        """Have the parts at these paths evaluate, and all others train."""
        for mode in self.modes():
            setattr(mode.part, mode.attribute, mode.path in evaluating)

    # what programs depend on

    def structure(self) -> tuple[Any, ...]:
        """Return what must be the same for a compiled program to fit."""
        return self.kept, *[(type(part), part.names, part.structure()) for part in self.parts]

    def networks(self) -> list[Any]:
        """Return the objects whose classes have code that a step runs."""
        return [inner for part in self.parts for inner in part.parts()]

    def shifted(self, vars_: Trees, batch_idx: Any) -> Trees:
        """Return the vars for batch `batch_idx` of an evaluation."""
        for part in self.parts:
            own = {name: vars_[name] for name in part.names if name in vars_}
            vars_ = {**vars_, **part.shifted(own, batch_idx)}
        return vars_


def restore(modes: Sequence[Mode]) -> None:
    """Put parts back into the modes that `Bindings.modes` told."""
    for mode in modes:
        setattr(mode.part, mode.attribute, mode.value)


def evaluating(modes: Sequence[Mode]) -> list[str]:
    """Return the paths of the parts that evaluate, each once."""
    return list(dict.fromkeys(mode.path for mode in modes if mode.value))


def is_traced(value: Any) -> bool:
    """Return whether any leaf belongs to a trace."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def _alike(a: Any, b: Any) -> bool:
    """Return whether two values are one object, or of the same value; containers by what they hold."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple | dict):
        keys = a.keys() if isinstance(a, dict) else range(len(a))
        return (
            len(a) == len(b)
            and all(k in b if isinstance(b, dict) else True for k in keys)
            and all(_alike(a[k], b[k]) for k in keys)
        )
    try:
        return bool(np.all(a == b))
    except (TypeError, ValueError, jax.errors.ConcretizationTypeError):
        return False
