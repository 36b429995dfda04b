"""The three backends, asked for the same things: the oracle's parts in, numpy arrays out. A law that takes one of them
holds for all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functrain.kernel import Accumulator, LossScale, Player, Rule, TrainState
from functrain.kernel.host import HostBackend
from tests.oracle import SGD, AdamW, NumpyBackend, Part, bits
from tests.oracle.forward import OF
from tests.oracle.trees import Arrays

Rules = tuple[Rule, ...]


class Kind(Protocol):
    """A backend's kind: what a law needs of it."""

    name: str
    examples: int
    """Of a law with drawn arguments."""

    def backend(self, *parts: Part) -> Any:
        """The backend that trains these players."""
        ...

    def init(self, backend: Any, params: Arrays, rules: Rules, vars: Any = None) -> TrainState:
        """Its first state, which shares no memory with `params`."""
        ...

    def leaves(self, state: TrainState) -> list[Any]:
        """Every array of a state, as it lies in memory: parameters, optimizers, gradients, vars."""
        ...

    def shared(self, a: Any, b: Any) -> bool:
        """Do two leaves share memory?"""
        ...


def array(value: Any) -> Any:
    """A number or an array of any of them as numpy's."""
    return value.detach().numpy().copy() if hasattr(value, "detach") else np.array(value)


def params(state: TrainState) -> Arrays:
    """The parameters, copied."""
    return {name: array(p) for name, p in state.params.items()}


def bits_of(kind: Kind, state: TrainState) -> Any:
    """Everything in a state, in bits."""
    players = [(array(p.acc.loss), array(p.acc.weight), int(p.acc.count), int(p.updates)) for p in state.players]
    scales = [None if p.scale is None else [float(x) for x in p.scale] for p in state.players]
    clock = [int(n) for n in state.clock]
    return bits([[array(leaf) for leaf in kind.leaves(state)], players, scales, clock])


class Numpy:
    """The oracle."""

    name, examples = "numpy", 60

    def backend(self, *parts: Part) -> Any:
        return NumpyBackend(*parts)

    def init(self, backend: Any, params: Arrays, rules: Rules, vars: Any = None) -> TrainState:
        return backend.init(params, rules, vars=vars)

    def leaves(self, state: TrainState) -> list[Any]:
        parts = [(player.opt, player.acc.grads) for player in state.players]
        return _arrays_in((state.params, *parts, state.vars))

    def shared(self, a: Any, b: Any) -> bool:
        return np.shares_memory(a, b)


def _arrays_in(tree: Any) -> list[Any]:
    if isinstance(tree, dict | tuple):
        values = tree.values() if isinstance(tree, dict) else tree
        return [leaf for value in values for leaf in _arrays_in(value)]
    return [tree] if isinstance(tree, np.ndarray) else []


class Torch:
    """functrain_torch's backend, with its own optimizers, and its freezing of the players that do not play."""

    name, examples = "torch", 25

    def backend(self, *parts: Part) -> Any:
        import torch

        from functrain_torch.strategy import OneDevice
        from functrain_torch.surrounded import SurroundedBackend
        from functrain_torch.toggle import Toggle

        def forward(state: TrainState, batch: Any, player: int) -> Any:
            return OF[parts[player].loss](torch, state.params, _mapped(torch.as_tensor, batch), state)

        class Backend(SurroundedBackend):
            def accumulate(self, state: TrainState, batch: Any, player: int, closes: Any = False) -> TrainState:
                if len(parts) > 1:
                    self.toggle = Toggle([player.opt for player in state.players])
                return super().accumulate(state, batch, player, closes)

        backend: Any = Backend(forward, None, OneDevice())
        backend.parts = parts
        return backend

    def init(self, backend: Any, params: Arrays, rules: Rules, vars: Any = None) -> TrainState:
        import torch

        own = {name: torch.tensor(p).requires_grad_() for name, p in params.items()}
        moved = [tuple(own[name] for name in part.names or own) for part in backend.parts]
        optimizers = [self.optimizer(p.optimizer, mine) for p, mine in zip(backend.parts, moved, strict=True)]
        scales = [None if rule.scale is None else LossScale(rule.scale.init) for rule in rules]
        players = zip(optimizers, map(Accumulator, moved), scales, strict=True)
        return TrainState(own, tuple(Player(*player) for player in players), _mapped(torch.tensor, vars))

    def optimizer(self, given: Any, mine: Any) -> Any:
        import torch

        if isinstance(given, SGD):
            return torch.optim.SGD(mine, given.lr, momentum=given.momentum)
        betas = (given.b1, given.b2)
        return torch.optim.AdamW(mine, given.lr, betas, given.eps, given.weight_decay)

    def leaves(self, state: TrainState) -> list[Any]:
        found = list(state.params.values())
        for player in state.players:
            for kept in player.opt.state.values():
                found += [value for value in kept.values() if hasattr(value, "shape")]
            found += [p.grad for p in player.acc.grads if p.grad is not None]
        return [*found, *(state.vars or {}).values()]

    def shared(self, a: Any, b: Any) -> bool:
        return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


class Jax:
    """functrain_jax's backend in double precision: the verbs over arrays compiled one by one, its loops Python's, which
    would be compiled again for every example. That they are the same is a law of its own."""

    name, examples = "jax", 12

    def backend(self, *parts: Part) -> Any:
        return _jax_backend(parts)

    def init(self, backend: Any, params: Arrays, rules: Rules, vars: Any = None) -> TrainState:
        return backend.init(params, vars=vars, scales=tuple(rule.scale for rule in rules))

    def leaves(self, state: TrainState) -> list[Any]:
        import jax

        parts = [(player.opt, player.acc.grads) for player in state.players]
        return jax.tree.leaves((state.params, parts, state.vars))

    def shared(self, a: Any, b: Any) -> bool:
        return a.unsafe_buffer_pointer() == b.unsafe_buffer_pointer()


@cache
def _compiled() -> type:
    import jax

    from functrain_jax.backend import JaxBackend

    # The backend, and what is no array, are a part of the program.
    accumulate = jax.jit(JaxBackend.accumulate, static_argnums=(0, 3))
    norm = jax.jit(JaxBackend.norm, static_argnums=(0, 2))
    apply = jax.jit(JaxBackend.apply, static_argnums=(0, 2, 5))

    class Compiled(HostBackend, JaxBackend):
        def accumulate(self, state: TrainState, batch: Any, player: int, closes: Any = False) -> TrainState:
            return accumulate(self, state, batch, player)

        def norm(self, grads: Any, p: float) -> Any:
            return norm(self, grads, p)

        def apply(
            self, state: TrainState, player: int, grads: Any, factor: Any, limit: float | None, finite: Any
        ) -> TrainState:
            return apply(self, state, player, grads, factor, limit, finite)

    return Compiled


@cache
def _jax_backend(parts: tuple[Part, ...]) -> Any:
    import jax.numpy as jnp
    import optax

    from functrain_jax.precision import policy_of

    def loss(params: Any, state: TrainState, rng: Any, batch: Any, player: int) -> Any:
        given = OF[parts[player].loss](jnp, params, batch, state)
        carried = state._replace(vars=given.get("vars", state.vars), hidden=given.get("hiddens"))
        return given["loss"], given.get("weight", 1.0), carried

    def optimizer(given: Any) -> Any:
        if isinstance(given, AdamW):
            return optax.adamw(given.lr, given.b1, given.b2, given.eps, weight_decay=given.weight_decay)
        return optax.sgd(given.lr, momentum=given.momentum or None)

    optimizers = tuple(optimizer(part.optimizer) for part in parts)
    return _compiled()(loss, optimizers, tuple(part.names for part in parts), policy_of("64"))


def _mapped(convert: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with this done to every array."""
    if isinstance(tree, dict):
        return {name: _mapped(convert, value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return type(tree)(*(_mapped(convert, value) for value in tree))
    return convert(tree) if isinstance(tree, np.ndarray) else tree


KINDS: tuple[Kind, ...] = (Numpy(), Torch(), Jax())
on_every_backend = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def law(*drawn: st.SearchStrategy[Any], more: int = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A law for every backend and for drawn arguments: `test(kind, *arguments)`, in as many examples as the kind
    affords."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def on_kind(kind: Kind) -> None:
            def check(arguments: tuple[Any, ...]) -> None:
                test(kind, *arguments)

            check.__module__, check.__qualname__ = test.__module__, test.__qualname__
            settings(max_examples=kind.examples * more)(given(st.tuples(*drawn))(check))()

        on_kind.__name__, on_kind.__doc__, on_kind.__module__ = test.__name__, test.__doc__, test.__module__
        return on_every_backend(on_kind)

    return decorate
