"""What a trace of the training step shows before it is compiled: its names, its outputs, what it writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from functrain.kernel import TrainState
from functrain.trainer.entries import Key
from functrain.trainer.errors import ConfigurationError
from functrain_jax.collect import Logged
from functrain_jax.dataflow import handed_through
from functrain_jax.device import looking
from functrain_jax.loops import slow_in_loops
from functrain_jax.module import Module
from functrain_jax.trace import Call, Tracer


class Discovery(NamedTuple):
    """What a trace of the training step shows before it is compiled.

    Attributes:
        logged: what it logs, over all players.
        names: what each player logs, by hook and name.
        outputs: what each player's step returns, as shapes.
        drew: whether it asks for random keys.
        pieces: into how many pieces a batch is cut along time, each of which is an update.
        slow: whether a loop around it would make it slow, or hide which operation gave a NaN that JAX looks for.
        moves: the attributes without an optimizer whose parameters it writes.
        worked: leaves of a batch that are cast, and whose rounding is seen elsewhere than in a product with weights.
    """

    logged: Logged
    names: tuple[tuple[Key, ...], ...]
    outputs: tuple[Any, ...]
    drew: bool
    pieces: int = 1
    slow: bool = False
    moves: tuple[str, ...] = ()
    worked: frozenset[int] = frozenset()


class Steps(Protocol):
    """The training step of every player, to be traced. See `functrain_jax.programs.Training`."""

    tracer: Tracer
    pieces: int | None

    def traced(self, given: tuple[Any, Any], state: TrainState, key: Any, batch: Any, player: int, moves: bool) -> Call:
        """Call a player's step on traced values."""
        ...

    def cut(self, given: tuple[Any, Any], state: TrainState, batch: Any) -> Call:
        """Return a batch in pieces along time."""
        ...


def discover(training: Steps, state: TrainState, batch: Any, platform: str) -> Discovery:
    """Trace every player's step once, compiling nothing."""
    pieces, drawn = 1, False
    if training.pieces is not None:
        calls: list[Call] = []

        def cut(given: tuple[Any, Any], state: TrainState, batch: Any) -> Any:
            calls.append(training.cut(given, state, batch))
            return calls[-1].output

        rest = state._replace(params=None, vars=None)
        all_pieces = shapes_of(cut, (state.params, state.vars), rest, batch)[1]
        pieces, batch, drawn = len(all_pieces), all_pieces[0], calls[-1].drew
    cast, binding = training.tracer.policy.cast, training.tracer.binding
    params = cast(state.params)
    worked: set[int] = set()
    whole = training.pieces is None

    def look(player: int, moves: tuple[str, ...]) -> tuple[Call, Any, bool, tuple[str, ...]]:
        """Return the call, what it returns as shapes, is it slow in loops, and the attributes without an optimizer that
        it writes."""
        calls: list[Call] = []

        def output_of(weights: Any, state: TrainState, batch: Any, key: Any) -> Any:
            call = training.traced(weights, state, key, batch, player, whole)
            return call.output, [record.value for record in call.records], call.vars

        def run(given: tuple[Any, Any], state: TrainState, batch: Any, key: Any) -> Any:
            batch = training.tracer.policy.cast_batch(lambda w, b: output_of(w, state, b, key), given, batch, worked)
            calls.append(training.traced(given, state, key, batch, player, whole))
            return (calls[0].params, binding.parameters({}, calls[0].vars)), calls[0].output

        given = params, binding.cast(state.vars, cast, moves)
        rest = state._replace(params=None, vars=None)
        jaxpr, (after, output) = shapes_of(run, given, rest, batch, state.rng)
        written = _written(given, after, jaxpr)
        _check_written(training.tracer.module, [path[1:] for path in written if path[0].idx == 0])
        slow = jaxpr is not None and (looking() or slow_in_loops(jaxpr, platform))
        return calls[0], output, slow, tuple(path[1].key for path in written)

    looks = [look(player, binding.kept) for player in range(len(state.players))]
    moves = tuple(name for name in binding.kept if any(name in written for *_, written in looks))
    if moves != binding.kept and training.tracer.policy.compute is not None:
        looks = [look(player, moves) for player in range(len(state.players))]
    records = [call.records for call, *_ in looks]
    logged = Logged.of([record for player in records for record in player])
    names = tuple(tuple(dict.fromkeys(r.key for r in player)) for player in records)
    drew = drawn or any(call.drew for call, *_ in looks)
    slow = any(slow for *_, slow, _ in looks)
    outputs = tuple(output for _, output, *_ in looks)
    return Discovery(logged, names, outputs, drew, pieces, slow, moves, frozenset(worked))


def shapes_of(f: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """Return the jaxpr of f, and what it returns, as shapes. Where the user has told JAX to compile nothing f is
    called, and returns arrays and no jaxpr."""
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        return None, jax.tree.map(jnp.asarray, f(*args))
    return jax.make_jaxpr(f, return_shape=True)(*args)


def _written(given: Any, after: Any, jaxpr: Any) -> list[Any]:
    """Return the paths of those leaves of `after` that are not what was given there; by the jaxpr, so that what only
    went through a transformation of nnx counts as it is."""
    before, now = jax.tree_util.tree_leaves_with_path(given), jax.tree_util.tree_leaves_with_path(after)
    if jaxpr is None:
        old = dict(before)
        return [path for path, leaf in now if leaf is not old[path]]
    place = {path: i for i, (path, _) in enumerate(before)}
    origins = handed_through(jaxpr.jaxpr)[: len(now)]
    return [path for (path, _), origin in zip(now, origins, strict=True) if origin != place[path]]


def _normalized(module: Module) -> set[str]:
    """Return the parameters that nnx.WeightNorm and SpectralNorm normalize, and write so into their layers, where it
    computes with them. The optimizer moves what was there, and the gradient is that of the normalization too: nothing
    is lost."""
    found: set[str] = set()
    for attribute, net in vars(module).items():
        if not isinstance(net, nnx.Module):
            continue
        own: set[int] = set()
        for _, node in nnx.iter_graph(net):
            if isinstance(node, nnx.WeightNorm | nnx.SpectralNorm):
                own.update(id(x) for path, x in nnx.iter_graph(node.layer_instance) if _normalizes(node, path, x))
        paths = [path for path, node in nnx.iter_graph(net) if id(node) in own]
        found.update(".".join(map(str, (attribute, *path))) for path in paths)
    return found


def _normalizes(norm: nnx.WeightNorm | nnx.SpectralNorm, path: Any, node: Any) -> bool:
    if not isinstance(node, nnx.Variable):
        return False
    return norm.variable_filter(path, node) if isinstance(norm, nnx.WeightNorm) else len(node.shape) > 1


def _check_written(module: Module, paths: list[Any]) -> None:
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]
    if names:
        normalized = _normalized(module)
        names = [name for name in names if name not in normalized]
    if not names:
        return
    name = names[0]
    raise ConfigurationError(
        f"{type(module).__name__}.training_step writes into self.{name}, which an optimizer moves: what is written "
        "there would be lost. If it is the step's to write (a target network, say), give it to no optimizer: return a "
        f"dict of optimizers by attribute from configure_optimizers, with {{{name.split('.')[0]!r}: None}}. What "
        "changes beside the parameters belongs into self.vars or an nnx.Variable."
    )
