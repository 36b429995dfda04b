"""The compiled programs of a run: many micro-batches, or many evaluation steps, in one call. Traces the
user's module.

A program loops over a buffer of batches for as many as it is told, one body for any number of them; or it is that
body alone, where a loop would make it slow, called once a batch. So however a run is cut into dispatches it computes
the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functrain import kernel
from functrain.kernel import Action, Clock, Rules, TrainState
from functrain.kernel.step import Reports
from functrain.trainer.configured import require
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.overriding import overrides
from functrain.trainer.scopes import Record
from functrain.trainer.signatures import adapt
from functrain.trainer.step_outputs import parts_of
from functrain_jax import counting, noted_places
from functrain_jax.backend import JaxBackend, check_scalar, keep_form
from functrain_jax.collect import Logged, check_same
from functrain_jax.device import Guarded, debugging, looking
from functrain_jax.discovery import Discovery, discover, shapes_of
from functrain_jax.feed import LONGEST
from functrain_jax.module import Module
from functrain_jax.trace import Call, Tracer

WHOLE = 2**31 - 1
"""Folded into a key for what a batch draws as a whole, before its pieces."""

BAD_LOSS, BAD_PARAMETER = 1, 2
"""What of a batch was not finite, where that is watched."""


class Training:
    """The training step as the kernel wants it, and the program around it.

    Args:
        always: for each player, whether every batch is its turn.
        pieces: steps of time a piece, where batches are cut along time; else None.
        watch: end with the first batch whose loss is not finite, or that leaves a parameter so.
    """

    def __init__(
        self,
        tracer: Tracer,
        backend: JaxBackend,
        rules: Rules,
        always: tuple[bool, ...],
        pieces: int | None,
        watch: bool,
    ) -> None:
        module = tracer.module
        require(module, "training_step")
        step: Any = getattr(module, "training_step")  # noqa: B009
        names = ("batch", "batch_idx", "optimizer_idx", "hiddens")
        self.method = ended(module, "training", adapt(step, names, f"{type(module).__name__}.training_step"))
        self.tracer = tracer
        self.backend = backend
        self.rules = rules
        self.always = always
        self.pieces = pieces
        self.watch = watch

    def discover(self, state: TrainState, batch: Any, platform: str) -> Discovery:
        """Trace every player's step once, compiling nothing. `batch` is one of shapes and types, or of arrays where the
        step is to see values."""
        return discover(self, state, batch, platform)

    def traced(
        self, given: tuple[Any, Any], state: TrainState, key: Any, batch: Any, player: int, moves: bool = True
    ) -> Call:
        """One traced call for a player, with (params, vars) given."""
        args = (_batch_idx(state), player, state.hidden)
        return self.tracer.call("training_step", self.method, state.clock, key, given, batch, 0, *args, moves=moves)

    def call(
        self, params: Any, state: TrainState, key: Any, batch: Any, player: int, moves: tuple[str, ...],
        transfers: bool = True,
    ) -> Call:  # fmt: skip
        """One traced call. What no optimizer moves and no step writes is computed with as parameters are, and kept.

        Args:
            moves: the attributes without an optimizer whose parameters the step writes.
            transfers: the batch goes through `on_after_batch_transfer` first.
        """
        binding = self.tracer.binding
        given = params, binding.cast(state.vars, self.tracer.policy.cast, moves)
        call = self.traced(given, state, key, batch, player, transfers)
        return call._replace(vars=binding.with_kept(call.vars, state.vars, moves))

    def cut(self, given: tuple[Any, Any], state: TrainState, batch: Any) -> Call:
        """One traced call that gives a batch in pieces along time, moved as a whole before; (params, vars) are given.
        The keys that it draws are those of no piece."""
        key = None if state.rng is None else jax.random.fold_in(state.rng, WHOLE)
        module, size = self.tracer.module, self.pieces
        call = self.tracer.cut(state.clock, key, given, batch, lambda batch: module.tbptt_split_batch(batch, size))
        if not call.output:
            raise ConfigurationError(f"{type(module).__name__}.tbptt_split_batch gave no piece of the batch.")
        return call

    def stepping(self, found: Discovery, unit_windows: bool, outputs: bool = False) -> JaxBackend:
        """Return the backend of the steps: what they log, and with `outputs` what they return, is in the metrics of the
        state."""

        def loss(params: Any, state: TrainState, rng: Any, batch: Any, player: int) -> tuple[Any, Any, TrainState]:
            call = self.call(params, state, rng, batch, player, found.moves, self.pieces is None)
            check_same(found.logged, call.records)
            value, weight, hidden = read_output(call.output, type(self.tracer.module).__name__)
            metrics = found.logged.merged(state.metrics, call.records)
            if outputs:
                metrics["outputs"] = (
                    *metrics["outputs"][:player],
                    jax.tree.map(jnp.asarray, call.output),
                    *metrics["outputs"][player + 1 :],
                )
            if self.watch:
                metrics["bad"] = metrics["bad"] | jnp.where(jnp.isfinite(value), 0, BAD_LOSS)
            if "losses" in metrics:
                metrics["losses"] = metrics["losses"].at[player].set(value)
            hidden = hidden if self.pieces is not None else None
            return value, weight, state._replace(vars=call.vars, hidden=hidden, metrics=metrics)

        loss.__qualname__ = f"{type(self.tracer.module).__name__}.training_step"
        return replace(self.backend, loss=loss, open_windows=not unit_windows, branches=not found.slow)

    def program(
        self, found: Discovery, unit_windows: bool, outputs: bool, parts: bool, digests: bool
    ) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
        """`run(state, metrics, where, actions, buffers) -> (state, metrics)`, compiled at its first call.

        It trains on the first `where` batches of the buffers, whose `actions` are an array. Where loops are slow it
        trains on the one batch whose number `where` is, whose actions are tuples of Python bools, and any of them
        compiles a program of its own.

        Args:
            unit_windows: every batch is a window of one for every player; then `actions` is None.
            outputs: give what the steps return (of the last batch).
            parts: train in parts, and note in the metrics' 'noted' what `noted_places.seen` returns at the end of each;
                `where` is as `noted_places.places` makes it then.
            digests: note digests of the state too, where it is observed; `where` has `noted_places.observed` behind it
                then. Not where loops are slow: they would be computed together with the step, and change its bits.
        """

        backend = self.stepping(found, unit_windows, outputs)

        def run(state: TrainState, metrics: Any, where: Any, actions: Any, buffers: Any) -> Any:
            kept, noted, observed = state.rng, None, None
            if digests:
                where, observed = where
            if outputs:
                metrics = {**metrics, "outputs": jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), found.outputs)}
            if self.pieces is not None:
                metrics = {**metrics, "batch": jnp.int32(0)}
            state = state._replace(metrics=metrics, rng=kept if found.drew else None)

            def body(i: Any, state: TrainState, actions: Any) -> TrainState:
                batch = lax.optimization_barrier(jax.tree.map(lambda x: at(x, i), buffers))
                state, _ = self.move(backend, state, batch, actions)
                return self._marked(state) if self.watch else state

            def part(i: Any, both: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
                state = self._part(backend, body, at(where, i), at(where, i + 1), both[0], actions)
                whole = state if found.drew else state._replace(rng=kept)
                return state, noted_places.noted(both[1], i, found.logged, whole, digests and at(observed, i))

            if found.slow:
                state = body(where, state, actions)
                if parts:
                    noted = noted_places.noted(noted_places.room(found.logged, state, 1), 0, found.logged, state)
            elif parts:
                room = noted_places.room(found.logged, state._replace(rng=kept), len(where) - 2, digests)
                state, noted = lax.fori_loop(0, where[-1], part, (state, room))
            else:
                state = self._part(backend, body, 0, where, state, actions)
            metrics = {**state.metrics, "done": state.clock.batch + 0, "noted": noted}
            return state._replace(metrics=None, rng=state.rng if found.drew else kept), metrics

        # Where JAX looks for NaN it runs a step again, with the same state.
        donated, static = () if debugging() else 0, 3 if found.slow else None
        return Guarded(jax.jit(run, donate_argnums=donated, static_argnums=static), static)

    def move(self, backend: JaxBackend, state: TrainState, batch: Any, actions: Any) -> tuple[TrainState, Reports]:
        """One batch. `actions`: for each player whether it plays and whether its window closes; None where every batch
        is a window of one for every player. Traced."""
        players = len(self.rules)
        if self.pieces is not None:
            # All pieces belong to one batch, though each counts as one while they run.
            state = state._replace(metrics={**state.metrics, "batch": state.clock.batch})
            cut = self.cut((state.params, state.vars), state, batch)
            state = state._replace(vars=keep_form(cut.vars, state.vars))
            state, reports = kernel.tbptt(backend, self.rules, state, cut.output)
            return jax.tree.map(jnp.asarray, state), reports
        if actions is None:
            each, closes = (Action(True, True),) * players, True
        else:
            each = tuple(Action(self.always[i] or actions[i][0], actions[i][1]) for i in range(players))
            closes = actions[:, 1].any() if isinstance(actions, jax.Array) else any(action.closes for action in each)
        return kernel.micro_step(backend, self.rules, state, batch, each, closes)

    def looped(self, backend: JaxBackend, state: TrainState, batch: Any) -> tuple[TrainState, Reports]:
        """One batch that is a window of one for every player, in the very loop of `program`: alone the compiler makes
        other kernels of it, which may differ in the last bit. Traced."""
        buffers = lax.optimization_barrier(jax.tree.map(lambda x: jnp.stack([x, x]), batch))
        shapes = jax.eval_shape(lambda s: self.move(backend, s, batch, None)[1], state)
        reports = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def body(i: Any, state: TrainState) -> TrainState:
            batch = lax.optimization_barrier(jax.tree.map(lambda x: at(x, i), buffers))
            state, reports = self.move(backend, state, batch, None)
            metrics: Any = state.metrics
            state = state._replace(metrics={**metrics, "reports": jax.tree.map(jnp.asarray, reports)})
            return self._marked(state) if self.watch else state

        metrics: Any = state.metrics
        state = jax.tree.map(jnp.asarray, state._replace(metrics={**metrics, "reports": reports}))
        end = lax.optimization_barrier(jnp.int32(1))
        if self.watch:
            state = self._watched(lambda i, s, actions: body(i, s), 0, end, state, None)
        else:
            state = counting.updates(0, end, body, state, backend)
        metrics = state.metrics
        return state, metrics["reports"]

    def _marked(self, state: TrainState) -> TrainState:
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)]).all()
        bad = state.metrics["bad"] | jnp.where(finite, 0, BAD_PARAMETER)
        return state._replace(metrics={**state.metrics, "bad": bad})

    def _part(
        self,
        backend: JaxBackend,
        body: Callable[..., TrainState],
        start: Any,
        end: Any,
        state: TrainState,
        actions: Any,
    ) -> TrainState:
        """Return the batches from number `start` to before `end`; `actions` are None where every batch is a window of
        one."""
        if self.watch:
            return self._watched(body, start, end, state, actions)
        if actions is not None and self.by_windows:
            return self._windows(backend, body, start, end, state, actions)
        if actions is not None or self.pieces is not None:
            return lax.fori_loop(
                start, end, lambda i, s: body(i, s, None if actions is None else at(actions, i)), state
            )
        return counting.updates(start, end, lambda i, s: body(i, s, None), state, backend)

    def _watched(
        self, body: Callable[..., TrainState], start: Any, end: Any, state: TrainState, actions: Any
    ) -> TrainState:
        """Return a loop that ends with the first batch whose loss, or what it left in the parameters, is not finite."""

        def goes_on(both: tuple[Any, TrainState]) -> Any:
            return (both[0] < end) & (both[1].metrics["bad"] == 0)

        def one(both: tuple[Any, TrainState]) -> tuple[Any, TrainState]:
            i, state = both
            return i + 1, body(i, state, None if actions is None else at(actions, i))

        return lax.while_loop(goes_on, one, (jnp.int32(start), state))[1]

    def _windows(
        self, backend: JaxBackend, body: Callable[..., TrainState], start: Any, end: Any, state: TrainState, ends: Any
    ) -> TrainState:
        """Return the windows of one player: a loop over micro-batches within a loop over updates, and one over those of
        the window that stays open. One loop with a branch in it would copy the state at every micro-batch."""
        reads_loss = backend.reads_loss(state, 0)

        def micro(start: Any, end: Any, state: TrainState) -> TrainState:
            return counting.micro_batches(start, end, lambda i, s: body(i, s, ((True, False),)), state, reads_loss)

        def window(both: Any) -> Any:
            i, state = both
            closes = at(ends, i)
            state, _ = kernel.update(backend, self.rules, micro(i, closes, state), 0)
            return closes, state._replace(clock=state.clock._replace(update=state.clock.update + 1))

        i, state = lax.while_loop(lambda both: at(ends, both[0]) <= end, window, (jnp.int32(start), state))
        return micro(i, end, state)

    @property
    def by_windows(self) -> bool:
        """Does a program go from window to window? It is given the `window_ends` of the actions then."""
        return self.always == (True,) and not self.watch

    def metrics(self, found: Discovery, running: Any) -> dict[str, Any]:
        """Return what a dispatch begins with."""
        metrics: dict[str, Any] = {"last": found.logged.last, "running": running}
        if looking():  # what a program does not give, JAX does not look at
            metrics["losses"] = np.zeros(len(self.rules), np.float32)
        return {**metrics, "bad": np.int32(0)} if self.watch else metrics

    @cached_property
    def close_windows(self) -> Callable[..., TrainState]:
        """`run(state, flags) -> state`: the update of every player whose flag is set, with what its window
        holds."""
        backend = replace(self.backend, open_windows=True)

        def run(state: TrainState, flags: Any) -> TrainState:
            for i in range(len(self.rules)):
                state, _ = backend.when(flags[i], lambda s, i=i: kernel.update(backend, self.rules, s, i), state)
            return state

        return jax.jit(run, donate_argnums=0)


class Evaluation:
    """The programs of one evaluation step: 'validation', 'test' or 'predict'."""

    def __init__(self, tracer: Tracer, stage: str) -> None:
        module = tracer.module
        self.name = f"{stage}_step"
        if stage != "predict":
            require(module, self.name, by=f"the {stage} loop")
        method = getattr(module, self.name)
        names = ("batch", "batch_idx", "dataloader_idx")
        self.method = ended(module, stage, adapt(method, names, f"{type(module).__name__}.{self.name}"))
        self.tracer = tracer

    def _call(
        self, state: tuple[Any, Any], clock: Clock, key: Any, batch: Any, index: Any, loader: int, worked: set[int]
    ) -> Call:
        params, vars_ = state
        policy, binding = self.tracer.policy, self.tracer.binding
        shifted = binding.shifted(vars_, index)
        key = jax.random.fold_in(key, index)

        def call(given: tuple[Any, Any], batch: Any) -> Call:
            return self.tracer.call(self.name, self.method, clock, key, given, batch, loader, index, loader)

        def given_to_user(given: tuple[Any, Any], batch: Any) -> Any:
            made = call(given, batch)
            return 0.0, made.output, [record.value for record in made.records]

        given = policy.cast(params), binding.cast(shifted, policy.cast)
        return call(given, policy.cast_batch(given_to_user, given, batch, worked))

    def discover(self, state: TrainState, batch: Any, loader: int) -> tuple[Logged, Any, set[int]]:
        """Trace the step once, compiling nothing: what it logs, its output as shapes, and the leaves of the batch whose
        rounding is seen."""
        records: list[Record] = []
        worked: set[int] = set()

        def run(params: Any, vars_: Any, batch: Any, key: Any, index: Any) -> Any:
            clock = Clock(index, index, index, index)
            call = self._call((params, vars_), clock, key, batch, index, loader, worked)
            records.extend(call.records)
            return call.output

        _, output = shapes_of(run, state.params, state.vars, batch, state.rng, jnp.int32(0))
        return Logged.of(records), output, worked

    def program(
        self, logged: Logged, output: Any, loader: int, outputs: bool
    ) -> Callable[..., tuple[dict[str, Any], Any]]:
        """`run(params, vars, key, running, control, buffers) -> (metrics, output)`, compiled at its first
        call.

        It runs as many batches as `control` says. With `outputs` it returns the last one's output, whose shapes are
        `output`; else None. The step is the body of a loop either way, so that its bits are the same; it is alone where
        JAX looks for NaN.
        """

        def run(params: Any, vars_: Any, key: Any, running: Any, control: Any, buffers: Any) -> Any:
            clock = Clock(control[1], control[3], control[2], jnp.int32(0))

            def one(i: Any, both: tuple[Any, Any]) -> tuple[Any, Any]:
                metrics = both[0]
                batch = lax.optimization_barrier(jax.tree.map(lambda x: at(x, i), buffers))
                call = self._call((params, vars_), clock, key, batch, control[3] + i, loader, set())
                check_same(logged, call.records)
                given = jax.tree.map(jnp.asarray, call.output) if outputs else None
                return logged.merged(metrics, call.records, i), given

            size = next((x.shape[0] for x in jax.tree.leaves(buffers)), LONGEST)
            metrics = {"last": logged.last, "running": running, "rows": logged.rows(size)}
            empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), output) if outputs else None
            if looking():
                return one(0, (metrics, empty))
            return lax.fori_loop(0, control[0], one, (metrics, empty))

        return Guarded(jax.jit(run))


def _batch_idx(state: TrainState) -> Any:
    return state.clock.batch if state.metrics is None else state.metrics.get("batch", state.clock.batch)


def ended(module: Module, stage: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """Return the step with the module's `<stage>_step_end` behind it, where it has one."""
    name = f"{stage}_step_end"
    if not overrides(module, name):
        return step
    end = getattr(module, name)
    return lambda *args: end(step(*args))


def at(x: Any, i: Any) -> Any:
    """Element i of a stack of arrays."""
    return lax.dynamic_index_in_dim(x, i, keepdims=False)


def read_output(output: Any, owner: str) -> tuple[jax.Array, Any, Any]:
    """(loss, weight, hiddens) of what a training step returned.

    Raises:
        ValueError, TypeError: there is no loss, or it is not a floating scalar.
    """
    loss, weight, hidden, _ = parts_of(output, f"{owner}.training_step")
    try:
        return check_scalar(loss), weight, hidden
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{owner}.training_step: {error}") from None
