"""What of a user's module is state: its nnx modules, `self.params` and `self.vars`. Collects them, binds
others in their place.

Touches the module's attributes: `bound` for the time of a call, `publish` for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
from flax import nnx
from flax.nnx import graphlib
from jax.core import Tracer

from functrain.kernel.state import Tree
from functrain.trainer.errors import ConfigurationError
from functrain_jax.loops import arrays

MODES = ("deterministic", "use_running_average")
"""The attributes by which flax tells evaluation from training."""

PLAIN = ("params", "vars")
OWN = ("_trainer", "_sink", "_step", "_hparams", "_hparams_initial", "trainer")


class Binding:
    """One module's state, as trees of arrays by attribute.

    Attributes:
        names: the attributes that hold nnx modules (or lists and dicts of them), in the order of their
            definition.
        plain: those of `params` and `vars` that are plain trees of arrays.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        own = {name: value for name, value in vars(module).items() if name not in OWN}
        self.names = tuple(name for name, value in own.items() if holds_nnx(value))
        self.plain = tuple(name for name in PLAIN if own.get(name) is not None and name not in self.names)
        _, _, rest = nnx.split(self._nodes(), nnx.Param, ...)
        # Their draws are told apart by batch in an evaluation, whose state is not kept.
        self.counts = frozenset(
            (self.names[int(str(path[0]))], *path[1:])
            for path, v in nnx.to_flat_state(rest)
            if isinstance(v, nnx.RngCount)
        )
        self._variables = self._in_order()

    def _in_order(self) -> list[Any] | None:
        """The user's variables in the order of the leaves of `collect`; None where some cannot be told by its path."""
        by_path = {
            (self.names[int(str(path[0]))], *path[1:]): part
            for path, part in nnx.iter_graph(self._nodes())
            if isinstance(part, nnx.Variable)
        }
        leaves = jax.tree_util.tree_leaves_with_path([self._nets(tree) for tree in self.collect()])
        places = [tuple(getattr(key, "key", key) for key in path[1:]) for path, _ in leaves]
        return [by_path[place] for place in places] if all(place in by_path for place in places) else None

    def _nets(self, tree: dict[str, Tree]) -> dict[str, Tree]:
        return {name: inner for name, inner in tree.items() if name in self.names}

    def _nodes(self) -> tuple[Any, ...]:
        return tuple(vars(self.module)[name] for name in self.names)

    def set_mode(self, training: bool) -> None:
        """Put the user's nnx modules into training or evaluation mode. A compiled step keeps the mode of its
        trace."""
        for name in self.names:
            _set_mode(vars(self.module)[name], training)

    def modes(self) -> list[tuple[Any, str, Any]]:
        """Which mode every part of the user's nnx modules is in: (part, attribute, value)."""
        parts = [part for _, part in nnx.iter_graph(self._nodes()) if isinstance(part, nnx.Module)]
        return [(part, name, getattr(part, name)) for part in parts for name in MODES if hasattr(part, name)]

    def restore_modes(self, modes: Sequence[tuple[Any, str, Any]]) -> None:
        """Take `modes` back."""
        for part, name, value in modes:
            setattr(part, name, value)

    def evaluating(self, modes: Sequence[tuple[Any, str, Any]]) -> list[str]:
        """The parts that evaluate by these `modes`: their paths, as `net.norm`."""
        paths = self._paths()
        return list(dict.fromkeys(paths[id(part)] for part, _, evaluates in modes if evaluates))

    def set_evaluating(self, evaluating: set[str]) -> None:
        """Have the parts at these paths evaluate, and all others train."""
        paths = self._paths()
        for part, name, _ in self.modes():
            setattr(part, name, paths[id(part)] in evaluating)

    def _paths(self) -> dict[int, str]:
        nodes = [(list(map(str, path)), part) for path, part in nnx.iter_graph(self._nodes()) if path]
        return {id(part): ".".join((self.names[int(path[0])], *path[1:])) for path, part in nodes}

    def collect(self) -> tuple[dict[str, Tree], dict[str, Tree]]:
        """(params, vars): what is trained, and what the forward pass changes by itself; both by attribute."""
        _, params, rest = nnx.split(self._nodes(), nnx.Param, ...)
        trained, others = self._by_name(params), self._by_name(rest)
        for name, tree in zip(PLAIN, (trained, others), strict=True):
            if name in self.plain:
                tree[name] = arrays(vars(self.module)[name])
        return trained, others

    def _by_name(self, state: Any) -> dict[str, Tree]:
        return {self.names[int(i)]: tree for i, tree in nnx.to_pure_dict(state).items()}

    def _by_index(self, trees: dict[str, Tree]) -> dict[int, Tree]:
        return {i: trees[name] for i, name in enumerate(self.names) if name in trees}

    @contextmanager
    def bound(self, params: dict[str, Tree], vars_: dict[str, Tree]) -> Iterator[None]:
        """Within the block the module's attributes hold these values; afterwards what they held before.

        Raises:
            ConfigurationError: an attribute was set to a traced value, which would be lost.
        """
        attributes = vars(self.module)
        before = dict(attributes)
        nodes = nnx.merge(nnx.split(self._nodes())[0], self._by_index(params), self._by_index(vars_))
        attributes.update(zip(self.names, nodes, strict=True))
        attributes.update(
            {name: tree[name] for name, tree in zip(PLAIN, (params, vars_), strict=True) if name in self.plain}
        )
        try:
            yield
            self._check_leaks(before)
        finally:
            attributes.update({name: before[name] for name in (*self.names, *self.plain)})
            for name in [n for n, value in attributes.items() if n not in before and is_traced(value)]:
                del attributes[name]

    def _check_leaks(self, before: dict[str, Any]) -> None:
        for name, value in vars(self.module).items():
            known = name in self.names or name in self.plain or name in OWN
            if not known and value is not before.get(name) and is_traced(value):
                self.module.__dict__.update({name: before.get(name)})
                raise ConfigurationError(
                    f"{type(self.module).__name__}: self.{name} was set to a value of the compiled step, which ends "
                    "with the "
                    "step. Log it with self.log, return it, or keep it in self.vars or in an nnx.Variable."
                )

    def moved_vars(self, vars_: dict[str, Tree]) -> dict[str, Tree]:
        """Within `bound`: the vars as the forward pass has left them; new ones (captured intermediates) are
        dropped."""
        _, _, rest = nnx.split(self._nodes(), nnx.Param, ...)
        moved = self._by_name(rest)
        if "vars" in self.plain:
            moved["vars"] = self.module.vars
        return {name: _like(moved.get(name), tree, name) for name, tree in vars_.items()}

    def publish(self, params: dict[str, Tree], vars_: dict[str, Tree]) -> None:
        """Leave these values in the user's module."""
        if self._variables is not None:
            leaves = jax.tree.leaves([self._nets(params), self._nets(vars_)])
            for variable, leaf in zip(self._variables, leaves, strict=True):
                variable.set_raw_value(leaf)
        else:
            for tree in (params, vars_):
                nnx.update(self._nodes(), self._by_index(tree))
        for name, tree in zip(PLAIN, (params, vars_), strict=True):
            if name in self.plain:
                setattr(self.module, name, tree[name])

    def is_published(self, params: dict[str, Tree], vars_: dict[str, Tree]) -> bool:
        """Does the user's module still hold these very arrays? Not where a hook has put others there."""
        for name, tree in zip(PLAIN, (params, vars_), strict=True):
            if name in self.plain and not _identical(vars(self.module)[name], tree[name]):
                return False
        if self._variables is None:
            return _identical(self.collect(), (params, vars_))
        leaves = jax.tree.leaves([self._nets(params), self._nets(vars_)])
        pairs = zip(self._variables, leaves, strict=True)
        return all(variable.get_raw_value() is leaf for variable, leaf in pairs)

    def shifted(self, vars_: dict[str, Tree], batch_idx: Any) -> dict[str, Tree]:
        """The vars with every stream's count moved on to a place of this batch's own."""

        def move(path: Any, leaf: Any) -> Any:
            if tuple(key.key for key in path) not in self.counts:
                return leaf
            return leaf + ((batch_idx + 1) * 4096).astype(leaf.dtype)

        return jax.tree_util.tree_map_with_path(move, vars_) if self.counts else vars_


def holds_nnx(value: Any) -> bool:
    """Is it an nnx module, variable or stream, or a list, tuple or dict that holds one?"""
    if isinstance(value, list | tuple):
        return any(holds_nnx(item) for item in value)
    if isinstance(value, dict):
        return any(holds_nnx(item) for item in value.values())
    return isinstance(value, nnx.Variable) or (graphlib.is_graph_node(value) and not isinstance(value, type))


def _identical(a: Tree, b: Tree) -> bool:
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(x is y for x, y in zip(left, right, strict=True))


def _set_mode(value: Any, training: bool) -> None:
    if isinstance(value, nnx.Module):
        value.train() if training else value.eval()
    elif isinstance(value, list | tuple):
        for item in value:
            _set_mode(item, training)
    elif isinstance(value, dict):
        for item in value.values():
            _set_mode(item, training)


def is_traced(value: Any) -> bool:
    """Does any leaf belong to a trace?"""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def _like(new: Tree, old: Tree, where: str) -> Tree:
    """The part of `new` at the places of `old`."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return old if new is None else new
    missing = [key for key in old if key not in new]
    if missing:
        raise ConfigurationError(f"self.{where}: the step has removed {missing[0]!r}, which it must keep.")
    return {key: _like(new[key], tree, f"{where}.{key}") for key, tree in old.items()}
