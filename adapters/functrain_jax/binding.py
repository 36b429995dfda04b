"""What of a user's module is state: its nnx modules, `self.params` and `self.vars`. Collects them, binds
others in their place.

Touches the module's attributes: `bound` for the time of a call, `publish` for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.nnx import graphlib
from jax.core import Tracer

from functrain.kernel.state import Tree
from functrain.trainer.errors import ConfigurationError
from functrain_jax.device import check_one_device
from functrain_jax.loops import arrays

MODES = ("deterministic", "use_running_average")
"""The attributes by which flax tells evaluation from training."""

PLAIN = ("params", "vars")
UNSET = object()
OWN = (
    "_trainer", "_context", "_logged_objects", "_told_to_run", "_step", "_hparams", "_hparams_initial", "_programs",
    "trainer",
)  # fmt: skip


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
        _, _, rest = nnx.split(self.nodes(), nnx.Param, ...)
        # Their draws are told apart by batch in an evaluation, whose state is not kept.
        self.counts = frozenset(
            (self.names[int(str(path[0]))], *path[1:])
            for path, v in nnx.to_flat_state(rest)
            if isinstance(v, nnx.RngCount)
        )
        self.kept: tuple[str, ...] = ()
        """The attributes whose parameters no optimizer moves: they count among the vars, and a step may write them."""
        self._variables = self._in_order()

    def leave(self, names: Iterable[str]) -> None:
        """From here on the parameters of these attributes are no optimizer's."""
        self.kept = tuple(names)
        self._variables = self._in_order()

    def _in_order(self) -> list[Any] | None:
        """The user's variables in the order of the leaves of `collect`; None where some cannot be told by its path."""
        by_path = {
            (self.names[int(str(path[0]))], *path[1:]): part
            for path, part in nnx.iter_graph(self.nodes())
            if isinstance(part, nnx.Variable)
        }
        leaves = jax.tree_util.tree_leaves_with_path([self._nets(tree) for tree in self.collect()])
        places = [tuple(getattr(key, "key", key) for key in path[1:]) for path, _ in leaves]
        return [by_path[place] for place in places] if all(place in by_path for place in places) else None

    def _nets(self, tree: dict[str, Tree]) -> dict[str, Tree]:
        return {name: inner for name, inner in tree.items() if name in self.names}

    def nodes(self) -> tuple[Any, ...]:
        """The user's nnx modules, as the attributes hold them now."""
        return tuple(vars(self.module)[name] for name in self.names)

    def set_mode(self, training: bool) -> None:
        """Put the user's nnx modules into training or evaluation mode. A compiled step keeps the mode of its
        trace."""
        for name in self.names:
            _set_mode(vars(self.module)[name], training)

    def modes(self) -> list[tuple[Any, str, Any]]:
        """Which mode every part of the user's nnx modules is in: (part, attribute, value)."""
        parts = [part for _, part in nnx.iter_graph(self.nodes()) if isinstance(part, nnx.Module)]
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
        nodes = [(list(map(str, path)), part) for path, part in nnx.iter_graph(self.nodes()) if path]
        return {id(part): ".".join((self.names[int(path[0])], *path[1:])) for path, part in nodes}

    def collect(self) -> tuple[dict[str, Tree], dict[str, Tree]]:
        """(params, vars): what is trained, and what the forward pass may change; both by attribute.

        Raises:
            ConfigurationError: an array is spread over several devices.
        """
        trained, others = self._present()
        for name in self.plain:
            tree = trained if name in trained else others
            tree[name] = arrays(tree[name])
        for path, leaf in jax.tree_util.tree_leaves_with_path((trained, others)):
            check_one_device(leaf, "self." + jax.tree_util.keystr(path[1:], simple=True, separator="."))
        return trained, others

    def _present(self) -> tuple[dict[str, Tree], dict[str, Tree]]:
        _, params, rest = nnx.split(self.nodes(), nnx.Param, ...)
        trained, others = self._by_name(params), self._by_name(rest)
        for name, tree in zip(PLAIN, (trained, others), strict=True):
            if name in self.plain:
                tree[name] = vars(self.module)[name]
        for name in self.kept:
            others[name] = _joined(others.get(name), trained.pop(name))
        return trained, others

    def parameters(self, params: dict[str, Tree], vars_: dict[str, Tree]) -> dict[str, Tree]:
        """All parameters by attribute, those that no optimizer moves too."""
        return {**params, **{name: self._only_parameters(name, vars_[name]) for name in self.kept}}

    def _only_parameters(self, name: str, tree: Tree) -> Tree:
        if name in self.plain:
            return tree
        _, params, _ = nnx.split(self.nodes(), nnx.Param, ...)
        return _like(tree, self._by_name(params)[name], name)

    def cast(self, vars_: dict[str, Tree], cast: Callable[[Tree], Tree], but: Iterable[str] = ()) -> dict[str, Tree]:
        """The vars with the parameters among them cast as those of optimizers are, but for these attributes'."""
        names = [name for name in self.kept if name not in but]
        return {**vars_, **{n: _joined(vars_[n], cast(self._only_parameters(n, vars_[n]))) for n in names}}

    def _by_name(self, state: Any) -> dict[str, Tree]:
        return {self.names[int(i)]: tree for i, tree in nnx.to_pure_dict(state).items()}

    def _by_index(self, trees: dict[str, Tree]) -> dict[int, Tree]:
        return {i: trees[name] for i, name in enumerate(self.names) if name in trees}

    @contextmanager
    def bound(self, params: dict[str, Tree], vars_: dict[str, Tree], dtype: Any = None) -> Iterator[None]:
        """Within the block the module's attributes hold these values; afterwards what they held before.

        Args:
            dtype: what layers give that would give full precision whatever goes into them; None leaves them.

        Raises:
            ConfigurationError: an attribute was set to a traced value, which would be lost.
        """
        attributes = vars(self.module)
        before = dict(attributes)
        nodes = nnx.merge(nnx.split(self.nodes())[0], self._by_index(params), self._by_index(vars_))
        if dtype is not None:
            _set_dtype(nodes, dtype)
        attributes.update(zip(self.names, nodes, strict=True))
        contents = {name: copy(v) for name, v in before.items() if isinstance(v, list | dict | set)}
        # A tree of their own, since a step may put other leaves into it.
        attributes.update({name: jax.tree.map(lambda x: x, (params | vars_)[name]) for name in self.plain})
        try:
            yield
            self._check_attributes(before, contents)
        finally:
            attributes.update({name: before[name] for name in (*self.names, *self.plain)})
            for name in [n for n, value in attributes.items() if n not in before and is_traced(value)]:
                del attributes[name]

    def _check_attributes(self, before: dict[str, Any], contents: dict[str, Any]) -> None:
        """A step that sets an attribute does so once, while it is traced."""
        owner, state = type(self.module).__name__, (*self.names, *self.plain, *OWN)
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

    def present(self, params: dict[str, Tree]) -> dict[str, Tree]:
        """Within `bound`: these parameters as the step has left them.

        Raises:
            ConfigurationError: their structure is another.
        """
        now = {name: tree for name, tree in self._present()[0].items() if name in params}
        if jax.tree.structure(now) != jax.tree.structure(params):
            raise ConfigurationError(
                f"{type(self.module).__name__}: the step has changed the structure of its parameters, from "
                f"{jax.tree.structure(params)} to {jax.tree.structure(now)}."
            )
        return now

    def with_kept(self, new: dict[str, Tree], old: dict[str, Tree], but: Iterable[str]) -> dict[str, Tree]:
        """The new vars with the old parameters among them, but for these attributes'."""
        names = [name for name in self.kept if name not in but]
        return {**new, **{n: _joined(new[n], self._only_parameters(n, old[n])) for n in names}}

    def moved_vars(self, vars_: dict[str, Tree]) -> dict[str, Tree]:
        """Within `bound`: the vars as the forward pass has left them; new ones (captured intermediates) are
        dropped."""
        moved = self._present()[1]
        return {name: _like(moved.get(name), tree, name) for name, tree in vars_.items()}

    def publish(self, params: dict[str, Tree], vars_: dict[str, Tree]) -> None:
        """Leave these values in the user's module."""
        if self._variables is not None:
            leaves = jax.tree.leaves([self._nets(params), self._nets(vars_)])
            for variable, leaf in zip(self._variables, leaves, strict=True):
                variable.set_raw_value(leaf)
        else:
            for tree in (params, vars_):
                nnx.update(self.nodes(), self._by_index(tree))
        for name in self.plain:
            setattr(self.module, name, (params | vars_)[name])

    def is_published(self, params: dict[str, Tree], vars_: dict[str, Tree]) -> bool:
        """Does the user's module still hold these very arrays? Not where a hook has put others there."""
        if any(not _identical(vars(self.module)[name], (params | vars_)[name]) for name in self.plain):
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


def _joined(a: Tree, b: Tree) -> Tree:
    """Two trees of one part: the leaves of both, b's where both have one."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return b
    return {**a, **{key: _joined(a.get(key), tree) for key, tree in b.items()}}


def _alike(a: Any, b: Any) -> bool:
    """The same object, or another of the same value; containers by what they hold."""
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


def _identical(a: Tree, b: Tree) -> bool:
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(x is y for x, y in zip(left, right, strict=True))


def _set_dtype(nodes: Any, dtype: Any) -> None:
    """Layers whose statistics stay in full precision would have all that comes after them computed in it; so would an
    Embed, which takes its table's type for its own where it is told none."""
    layers = [part for _, part in nnx.iter_graph(nodes) if isinstance(part, nnx.Module)]
    for layer in layers:
        keeps = any(isinstance(value, nnx.BatchStat) for value in vars(layer).values())
        untold = isinstance(layer, nnx.Embed) and layer.dtype == layer.param_dtype
        if untold or (keeps and getattr(layer, "dtype", dtype) is None):
            layer.dtype = dtype  # pyright: ignore[reportAttributeAccessIssue]


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
