"""Networks of flax nnx, and of linen as nnx modules: an attribute holds one, a variable, or a list, tuple or dict of
them. Parts that several attributes share stay shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from flax.nnx import graphlib

from functrain.trainer.module import ModuleBase
from functrain_jax.binding.protocol import Binding, Mode, Trees

MODES = ("deterministic", "use_running_average")
"""The attributes by which flax tells evaluation from training."""


class NnxBinding(Binding):
    """See `Binding`."""

    def __init__(self, module: ModuleBase, names: tuple[str, ...]) -> None:
        super().__init__(module, names)
        # Their draws are told apart by batch in an evaluation, whose state is not kept.
        self.counts = frozenset(path for path, v in self._variables_by_path().items() if isinstance(v, nnx.RngCount))
        self._in_order: list[Any] | None = None
        """The user's variables in the order of the leaves of the run's trees; None where some cannot be told by its
        path."""

    @classmethod
    def claims(cls, name: str, value: Any) -> bool:
        return holds_nnx(value)

    def _nodes(self) -> tuple[Any, ...]:
        return tuple(self.held().values())

    def _variables_by_path(self) -> dict[tuple[Any, ...], Any]:
        graph = nnx.iter_graph(self._nodes())
        return {self._named(path): part for path, part in graph if isinstance(part, nnx.Variable)}

    def _named(self, path: Sequence[Any]) -> tuple[Any, ...]:
        return (self.names[int(str(path[0]))], *path[1:])

    def _by_name(self, state: Any) -> Trees:
        return {self.names[int(i)]: tree for i, tree in nnx.to_pure_dict(state).items()}

    def _by_index(self, trees: Trees) -> dict[int, Any]:
        return {i: trees[name] for i, name in enumerate(self.names) if name in trees}

    # values

    def split(self, held: Mapping[str, Any]) -> tuple[Trees, Trees]:
        _, params, rest = nnx.split(tuple(held[name] for name in self.names), nnx.Param, ...)
        return self._by_name(params), self._by_name(rest)

    def joined(self, params: Trees, vars_: Trees, dtype: Any) -> dict[str, Any]:
        nodes = nnx.merge(nnx.split(self._nodes())[0], self._by_index(params), self._by_index(vars_))
        _have_modes(nodes)
        if dtype is not None:
            _set_dtype(nodes, dtype)
        return dict(zip(self.names, nodes, strict=True))

    def prepare(self, params: Trees, vars_: Trees) -> None:
        by_path = self._variables_by_path()
        leaves = jax.tree_util.tree_leaves_with_path([params, vars_])
        places = [tuple(getattr(key, "key", key) for key in path[1:]) for path, _ in leaves]
        found = all(place in by_path for place in places)
        self._in_order = [by_path[place] for place in places] if found else None

    def publish(self, params: Trees, vars_: Trees) -> None:
        if self._in_order is not None:
            for variable, leaf in zip(self._in_order, jax.tree.leaves([params, vars_]), strict=True):
                variable.set_raw_value(leaf)
        else:
            for tree in (params, vars_):
                nnx.update(self._nodes(), self._by_index(tree))

    def published(self, params: Trees, vars_: Trees) -> bool:
        if self._in_order is None:
            return super().published(params, vars_)
        pairs = zip(self._in_order, jax.tree.leaves([params, vars_]), strict=True)
        return all(variable.get_raw_value() is leaf for variable, leaf in pairs)

    def shifted(self, vars_: Trees, batch_idx: Any) -> Trees:
        def move(path: Any, leaf: Any) -> Any:
            if tuple(key.key for key in path) not in self.counts:
                return leaf
            return leaf + ((batch_idx + 1) * 4096).astype(leaf.dtype)

        return jax.tree_util.tree_map_with_path(move, vars_) if self.counts else vars_

    # modes

    def modes(self) -> list[Mode]:
        found = [(path, part) for path, part in nnx.iter_graph(self._nodes()) if isinstance(part, nnx.Module)]
        return [
            Mode(".".join(map(str, self._named(path))), part, attribute, getattr(part, attribute))
            for path, part in found
            for attribute in MODES
            if hasattr(part, attribute)
        ]

    def set_mode(self, training: bool) -> None:
        for value in self._nodes():
            _set_mode(value, training)

    # what programs depend on

    def parts(self) -> list[Any]:
        return [part for _, part in nnx.iter_graph(self._nodes()) if isinstance(part, nnx.Module)]

    def structure(self) -> Any:
        return nnx.split(self._nodes())[0]


def holds_nnx(value: Any) -> bool:
    """Return whether it is an nnx module, variable or stream, or a list, tuple or dict that holds one."""
    if isinstance(value, list | tuple):
        return any(holds_nnx(item) for item in value)
    if isinstance(value, dict):
        return any(holds_nnx(item) for item in value.values())
    return isinstance(value, nnx.Variable) or (graphlib.is_graph_node(value) and not isinstance(value, type))


def _set_dtype(nodes: Any, dtype: Any) -> None:
    """Layers whose statistics stay in full precision would have all that comes after them computed in it; so would an
    Embed, which takes its table's type for its own where it is told none."""
    layers = [part for _, part in nnx.iter_graph(nodes) if isinstance(part, nnx.Module)]
    for layer in layers:
        keeps = any(isinstance(value, nnx.BatchStat) for value in vars(layer).values())
        untold = isinstance(layer, nnx.Embed) and layer.dtype == layer.param_dtype
        if untold or (keeps and getattr(layer, "dtype", dtype) is None):
            layer.dtype = dtype  # pyright: ignore[reportAttributeAccessIssue]


def _have_modes(nodes: Any) -> None:
    """What was told no mode, as an attention with dropout, trains: an evaluation has told all parts theirs."""
    for _, part in nnx.iter_graph(nodes):
        for attribute in MODES:
            is_untold = isinstance(part, nnx.Module) and getattr(part, attribute, True) is None
            if is_untold:
                setattr(part, attribute, False)


def _set_mode(value: Any, training: bool) -> None:
    if isinstance(value, nnx.Module):
        value.train() if training else value.eval()
    elif isinstance(value, list | tuple):
        for item in value:
            _set_mode(item, training)
    elif isinstance(value, dict):
        for item in value.values():
            _set_mode(item, training)
