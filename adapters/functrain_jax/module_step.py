"""`functional`: the step of a module as a pure function, without a Trainer: the very step that one would run.

Nothing here is a second way to compute: the step is that of `Training`, the evaluation that of `Evaluator`.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functrain import kernel
from functrain.kernel import plan as plans
from functrain.kernel.metrics import Running
from functrain.kernel.state import Clock, Report, TrainState
from functrain.trainer import metrics_state
from functrain.trainer.checkpoint import check_format, clock_of, naming
from functrain.trainer.entries import TRAIN, Declared, Entry, Key
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.functional import (
    EpochReport,
    Step,
    StepReport,
    check_batches,
    check_donate,
    check_module,
    check_saved,
    check_stage,
    flags_of_step,
    no_batch,
    step_of,
)
from functrain.trainer.hook_table import BY_NAME
from functrain.trainer.hooks import Hooks
from functrain.trainer.loop_state import ends_epoch
from functrain.trainer.metrics import Metrics
from functrain.trainer.overriding import overrides
from functrain.trainer.planning import windows_of
from functrain.trainer.replay import batch_of
from functrain.trainer.scopes import STEPS
from functrain.trainer.weights import ArraySpec, differences
from functrain_jax import checkpoint, snapshot
from functrain_jax.binding import Bindings
from functrain_jax.collect import MONOIDS
from functrain_jax.context import STEP_HOOKS, Surroundings
from functrain_jax.discovery import Discovery
from functrain_jax.evaluator import Evaluator, Modes
from functrain_jax.feed import LONGEST, Feed, preparing
from functrain_jax.identity import form
from functrain_jax.keys import first_key, is_key
from functrain_jax.loops import length, scan
from functrain_jax.module import Module
from functrain_jax.module_programs import ModulePrograms
from functrain_jax.order import ordered
from functrain_jax.parts import check_compiled, check_pieces, has_unit_windows, policy_of_flags, step_parts
from functrain_jax.placement import placement_of
from functrain_jax.rates import rate_of
from functrain_jax.snapshot import check_alive
from functrain_jax.trace import batch_size


def functional(module: Module, *, donate: bool = True, **flags: Any) -> Step:
    """The training step of a module, as a function: the very step that `Trainer(**flags).fit(module)` runs.

    State in, state out. The module is read, and never written; nothing global moves.

    Args:
        module: as for the Trainer. What is no state in it is a constant of the step from here on.
        donate: a call may reuse the old state's memory, so the old state is dead afterwards. False keeps it.
        flags: those of the Trainer that concern a step: accumulate_grad_batches, gradient_clip_val,
            gradient_clip_algorithm, precision, truncated_bptt_steps, accelerator, gpus.

    Returns:
        A `Step`. `init(seed)` also takes a key of `jax.random.key`; without one it is the key that the next run would
        begin with. `step` is compiled, and as traceable as any function: under `jit`, `vmap`, `lax.scan` and `grad`.
        `epoch` takes a list or another iterable of batches, or arrays with the batches along their first axis, which
        are one scan.

    Raises:
        ConfigurationError: a flag that is none or says nothing of a step, or a module that cannot be trained.
    """
    check_donate(donate)
    check_module(module, "functrain_jax")
    warn_of_hooks(module)
    made = _Functional(module, flags, donate)
    return Step(made.init, made.step, made.epoch, made.evaluate, made.load)


def load_state(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], module: Module | Step, **flags: Any
) -> TrainState:
    """The state that a checkpoint of the Trainer holds, for `step` and for `trainer.fit(module, state=state)`.

    Args:
        checkpoint: its path, or what stands in it.
        module: the module, or the `Step` that was made of it.
        flags: as `functional` takes them, where a module is given.

    Raises:
        CheckpointError: it cannot be read, holds weights only, or is of another module.
    """
    return step_of(module, flags, functional).load(checkpoint)


def failing_batch(path: str | os.PathLike[str]) -> Any:
    """The batch at which a run with `terminate_on_nan` has ended, from the checkpoint that its error names.

    It is made of lists, tuples and dicts: a named tuple comes back as a tuple, a dataclass and any other object as a
    dict of its fields.

    Raises:
        CheckpointError: it cannot be read, or holds no batch.
    """
    path = os.fspath(path)
    return batch_of(checkpoint.read(path), path)


class _Functional:
    """What the functions of a `Step` share. It holds no state of a run."""

    def __init__(self, module: Module, flags: Mapping[str, Any], donate: bool) -> None:
        self.module = module
        self.flags = flags_of_step(flags)
        self.hooks = Hooks(None, module, (), None, Metrics())
        check_compiled(module, self.flags, self.hooks, "functional")
        self.policy, self.placement = policy_of_flags(self.flags), placement_of(self.flags)
        self.binding = Bindings(module)
        self.parts = step_parts(
            module, self.flags, binding=self.binding, placement=self.placement, key=jax.random.key(0)
        )
        self.training = self.parts.training
        self.windows = windows_of(self.flags, ())
        self.unit_windows = has_unit_windows(self.windows, self.parts.specs)
        check_pieces(self.training.pieces, self.unit_windows, "functional")
        self.feed = Feed(preparing(self.hooks, self.placement.device), self.policy.name == "64")
        self.found: dict[Any, Discovery] = {}
        self.loaded: dict[Key, Declared] = {}
        """What checkpoints have brought into running epochs."""
        # No gradient goes backwards through a loop whose length is a value, so a gradient is that of the batch alone.
        self._differentiable = jax.custom_vjp(lambda state, batch, last: self._made(state, batch, last))
        self._differentiable.defvjp(self._forward, lambda pull, given: pull(given))
        old = (0,) if donate else ()
        self.compiled = jax.jit(self._step, donate_argnums=old)
        self.compiled_in_epoch = jax.jit(self._step_in_epoch, donate_argnums=old)
        self.scanned = jax.jit(self._scanned, donate_argnums=old)
        self.compiled_end = jax.jit(self._updated, donate_argnums=old, static_argnums=1)

    # what a user calls

    def init(self, seed: Any = None) -> TrainState:
        """Return the first state."""
        given = isinstance(seed, jax.Array) and is_key(seed)
        key: Any = seed if given else first_key(seed)
        state = self.parts.init(key)
        return jax.tree.map(jnp.asarray, self._formed(state))

    def _formed(self, state: TrainState) -> TrainState:
        return self.parts.backend.closed(state) if self.unit_windows else self.parts.backend.opened(state)

    def step(self, state: TrainState, batch: Any, last: Any = False) -> tuple[TrainState, StepReport]:
        """One batch, as the Trainer's loop hands it over."""
        check_alive(state)
        return self.compiled(state, self._taken(batch), last)

    def epoch(self, state: TrainState, batches: Any) -> tuple[TrainState, EpochReport]:
        """All batches of an epoch, and what is due at its end."""
        check_alive(state)
        if _is_stacked(batches):
            return self.scanned(state, ordered(batches))
        reports: list[StepReport] = []
        for batch, last in _with_last(check_batches(batches, "epoch")):
            taken = self._taken(batch)
            if not reports:
                state = self._begun(state, taken)
            state, report = self.compiled_in_epoch(state, taken, last)
            reports.append(report)
        if not reports:
            if not int(state.clock.batch):
                raise no_batch(batches, "epoch")
            state, reports = self._closed(state)
        return self._ended(state, reports)

    def evaluate(self, state: TrainState, batches: Iterable[Any], stage: str = "validation") -> dict[str, Any]:
        """Return what `Trainer.validate` or `Trainer.test` returns for this loader."""
        check_alive(state)
        check_stage(stage)
        self._check_fits(state)
        loader = check_batches(batches, "evaluate")
        if _is_spread(state):
            state, loader = self.placement.state(state), map(_on_host, loader)
        metrics = Metrics(sizes=batch_size)
        around = Surroundings(metrics, self.hooks.on_after_batch_transfer)
        kept = ModulePrograms(self.module, self.binding, self.policy, self.placement, None, around)
        modes = Modes(self.binding, self.hooks)
        clock = Clock(*(int(n) for n in state.clock))
        evaluator = Evaluator(metrics, lambda: clock, kept, self.placement, self.feed.prepare, self.policy.name == "64")
        kept.begin()
        modes.evaluate(stage)
        try:
            with metrics.scope(stage, step=True):
                drawn, n = iter(loader), 0
                while True:
                    done = evaluator.evaluate(state, stage, drawn, LONGEST, n, 0, False)
                    n += done.batches
                    if done.ended:
                        break
            if not n:
                raise no_batch(batches, "evaluate")
            metrics.end_epoch(stage)
        finally:
            modes.leave()
            kept.end()
        return {name: float(value) for name, value in metrics.results.items()}

    def load(self, saved: str | os.PathLike[str] | Mapping[str, Any]) -> TrainState:
        """Return the state of a checkpoint."""
        check_saved(saved)
        path = "the checkpoint" if isinstance(saved, Mapping) else os.fspath(saved)
        given = saved if isinstance(saved, Mapping) else checkpoint.read(path, self.placement.sharding)
        whole = check_format(dict(given), path)
        if overrides(self.module, "on_load_checkpoint"):
            # The module is never written, and the hook may write into it.
            copy.deepcopy(self.module).on_load_checkpoint(whole)
        with naming(path):
            clock = clock_of(whole)
            if ends_epoch(whole["loop"]):
                clock = clock.next_epoch()
            state = self._formed(self.parts.init(jax.random.key(0)))
            state = snapshot.restored(state, whole, type(self.module).__name__, self.parts.backend)
            numbers = Clock(*(jnp.int32(n) for n in clock))._replace(skipped=state.clock.skipped)
            metrics = self._running(whole["metrics"]) if clock.batch else None
        return self.placement.state(jax.tree.map(jnp.array, state._replace(clock=numbers, metrics=metrics)))

    def _running(self, metrics: Mapping[str, Any]) -> dict[Key, Running]:
        """Return the running values of the epoch under way, of those that the training step logs."""
        held = Metrics()
        metrics_state.load_state(held, metrics)
        entries = [e for e in held.entries.get(TRAIN, {}).values() if e.hook == STEPS[TRAIN] and e.options.on_epoch]
        declared = [Declared(STEPS[TRAIN], entry.base, entry.suffix, entry.options) for entry in entries]
        self.loaded.update({each.key: each for each in declared})
        values = [Running(*(jnp.asarray(x, self.policy.store) for x in entry.running)) for entry in entries]
        return {each.key: running for each, running in zip(declared, values, strict=True)}

    # states of others

    def _own(self, state: TrainState) -> TrainState:
        """The state, with room for the windows of these flags where it was made with others. Called where a step is
        traced, and so at no step."""
        self._check_fits(state)
        return state if self.unit_windows else self.parts.backend.opened(state)

    @cached_property
    def _own_form(self) -> TrainState:
        """The first state, of shapes and types alone."""
        return jax.eval_shape(self.parts.init, jax.random.key(0))

    def _check_fits(self, state: TrainState) -> None:
        """Raises ConfigurationError where a state is of another module, of other optimizers or another precision."""
        differs = _differing(state, self._own_form)
        if differs:
            raise ConfigurationError(
                f"this state is of another module, or of other flags, than functional({type(self.module).__name__}): "
                f"{differs}. Make one by init(), or read one by load(...)."
            )

    # one step, traced

    def _step(self, state: TrainState, batch: Any, last: Any) -> tuple[TrainState, StepReport]:
        state, report = self._step_in_epoch(state, batch, last)
        if state.metrics is not None:
            # What came together of the epoch ends with it.
            empty = self._begun(state._replace(metrics=None), batch).metrics
            state = state._replace(metrics=jax.tree.map(lambda a, b: jnp.where(last, a, b), empty, state.metrics))
        return state, report

    def _step_in_epoch(self, state: TrainState, batch: Any, last: Any) -> tuple[TrainState, StepReport]:
        state = self._own(state)
        state, report = self._differentiable(state, batch, jnp.asarray(last, bool))
        clock = state.clock
        turned = clock._replace(epoch=clock.epoch + jnp.asarray(last, jnp.int32), batch=jnp.where(last, 0, clock.batch))
        return state._replace(clock=turned), report

    def _forward(self, state: TrainState, batch: Any, last: Any) -> Any:
        return jax.vjp(partial(self._made, straight=True), state, batch, last)

    def _made(self, state: TrainState, batch: Any, last: Any, straight: bool = False) -> tuple[TrainState, StepReport]:
        found, training = self._discovered(state, batch), self.training
        unit = all(player.acc.grads is None for player in state.players)
        backend = training.stepping(found, unit)
        batch = lax.optimization_barrier(batch)
        actions = None if unit else self._actions(state.clock, last)
        rates, key, running, clock = self._rates(state), state.rng, state.metrics, state.clock
        empty = {key: _nothing(room) for key, room in found.logged.last.items()}
        metrics = {"last": empty, "running": running or {}}
        if training.pieces is not None:
            metrics["batch"] = jnp.int32(0)
        if training.watch:
            metrics["bad"] = jnp.int32(0)
        state = state._replace(metrics=metrics, rng=key if found.drew else None)
        in_the_loop = actions is None and training.pieces is None and not found.slow and not straight
        if in_the_loop:
            state, reports = training.looped(backend, state, batch)
        else:
            state, reports = training.move(backend, state, batch, actions)
        assert isinstance(state.metrics, dict)
        logged = {name: value for (_, name), value in state.metrics["last"].items()}
        kept = None if running is None else state.metrics["running"]
        state = state._replace(metrics=kept, rng=state.rng if found.drew else key)
        report = StepReport(reports, logged, rates, state.clock.update != clock.update)
        return jax.tree.map(jnp.asarray, (state, report))

    def _discovered(self, state: TrainState, batch: Any) -> Discovery:
        leaves, structure = jax.tree.flatten(batch)
        form = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        if form not in self.found:
            bare = state._replace(metrics=None)
            self.found[form] = self.training.discover(bare, batch, self.placement.platform)
        return self.found[form]

    def _actions(self, clock: Clock, last: Any) -> jax.Array:
        """Return for each player whether it plays and whether its window closes."""
        size: Any = self.windows.starts[-1][1]
        for start, each in reversed(self.windows.starts[:-1]):
            size = jnp.where(clock.epoch >= start, each, size)
        players = tuple(spec.plan for spec in self.parts.specs)
        actions = plans.actions_at(players, size, clock.batch, jnp.asarray(last, bool))
        return jnp.stack([jnp.stack([jnp.asarray(flag, bool) for flag in action]) for action in actions])

    def _rates(self, state: TrainState) -> dict[str, Any]:
        rates: dict[str, Any] = {}
        for spec, player in zip(self.parts.specs, state.players, strict=True):
            rate = rate_of(spec.learning_rate, spec.optimizer, player.opt, player.updates)
            if rate is not None:
                rates[f"lr-{spec.name}" if spec.name else "lr"] = jnp.asarray(rate, jnp.float32)
        return rates

    # an epoch

    def _begun(self, state: TrainState, batch: Any) -> TrainState:
        """The state with room for what comes together in the epoch."""
        if state.metrics is not None:
            return state
        store = self.policy.store
        metrics = self._discovered(state, batch).logged.metrics
        running = {
            key: Running(*(jnp.asarray(x, store) for x in MONOIDS[declared.options.reduce_fx].empty))
            for key, declared in metrics.items()
            if declared.options.on_epoch
        }
        return state._replace(metrics=running)

    def _ended(self, state: TrainState, reports: Any) -> tuple[TrainState, EpochReport]:
        assert isinstance(state.metrics, dict)
        values: dict[str, Any] = {}
        traced = {key: metric for found in self.found.values() for key, metric in found.logged.metrics.items()}
        known = {**self.loaded, **traced}
        for key, running in state.metrics.items():
            entry = Entry(TRAIN, *known[key], MONOIDS[known[key].options.reduce_fx])
            entry.at, entry.running = 1, running
            values[entry.epoch_name] = entry.epoch_value()
        return state._replace(metrics=None), EpochReport(reports, values)

    def _closed(self, state: TrainState) -> tuple[TrainState, list[StepReport]]:
        """The epoch has ended with the batch before: what its windows hold still counts."""
        open_ = tuple(player.acc.grads is not None and int(player.acc.count) > 0 for player in state.players)
        state, report = self.compiled_end(state, open_)
        return state, [report] if any(open_) else []

    def _updated(self, state: TrainState, open_: tuple[bool, ...]) -> tuple[TrainState, StepReport]:
        backend = replace(self.parts.backend, open_windows=True)
        rates, reports = self._rates(state), list[Report | None]()
        for player, holds in enumerate(open_):
            state, report = kernel.update(backend, self.parts.rules, state, player) if holds else (state, None)
            reports.append(report)
        clock = state.clock
        turned = clock.next_epoch()._replace(update=clock.update + any(open_))
        report = StepReport(tuple(reports), {}, rates, any(open_))
        return jax.tree.map(jnp.asarray, (state._replace(clock=turned), report))

    def _scanned(self, state: TrainState, batches: Any) -> tuple[TrainState, EpochReport]:
        n = length(batches)
        state = self._begun(self._own(state), jax.tree.map(lambda x: x[0], batches))

        def one(state: TrainState, item: tuple[Any, Any]) -> tuple[TrainState, StepReport]:
            return self._step_in_epoch(state, *item)

        state, reports = scan(one, state, (batches, jnp.arange(n) == n - 1))
        return self._ended(state, reports)

    # batches

    def _taken(self, batch: Any) -> Any:
        """The batch as arrays that JAX takes; one that is on a device, or traced, as it is."""
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(batch)):
            return ordered(batch)
        leaves, structure = self.feed.leaves(batch)
        return jax.tree.unflatten(structure, leaves)


def warn_of_hooks(module: Module) -> None:
    """Warn once of the hooks that a run would call, and functions of a module do not."""
    left = [name for name in BY_NAME if name not in CALLED_OR_OUTSIDE and overrides(module, name)]
    if left:
        warnings.warn(
            f"functional({type(module).__name__}): a run calls {', '.join(left)}, and a step as a function of JAX does "
            "not, since it is compiled: what they change or log is missing.",
            UserWarning,
            stacklevel=3,
        )


CALLED_OR_OUTSIDE = frozenset(
    {
        "configure_optimizers", "configure_callbacks", "on_before_batch_transfer", "transfer_batch_to_device",
        "on_after_batch_transfer", "on_init_start", "on_init_end",
        "on_validation_model_eval", "on_validation_model_train", "on_test_model_eval", "on_test_model_train",
        "on_load_checkpoint", "on_save_checkpoint", "prepare_data", "teardown", "on_fit_end", "on_train_end",
        "on_keyboard_interrupt", "on_exception",
        *STEP_HOOKS, *(hook for hook in BY_NAME if "predict" in hook or hook.endswith("dataloader")),
    }
)  # fmt: skip
"""The hooks that these functions call, or refuse, and those that say nothing of a step or an evaluation."""


def _differing(state: TrainState, own: TrainState) -> str | None:
    """Return in words what makes a state another's; None where it is the module's own, at another time."""
    weights = differences(_paths((state.params, state.vars)), _paths((own.params, own.vars)))
    if weights:
        return weights
    if len(state.players) != len(own.players):
        return f"it has {len(state.players)} optimizers, and not {len(own.players)}"
    for i, (given, player) in enumerate(zip(state.players, own.players, strict=True)):
        arrays = differences(_paths(given.opt), _paths(player.opt))
        if arrays or form(given.opt) != form(player.opt):
            return f"its optimizer {i} is another: {arrays or f'{form(given.opt)} instead of {form(player.opt)}'}"
        if (given.scale is None) != (player.scale is None):
            return f"it has {'no' if given.scale is None else 'a'} loss scale, by another precision"
    return None


def _paths(tree: Any) -> dict[str, ArraySpec | None]:
    """Return shape and type of every array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): ArraySpec(tuple(jnp.shape(leaf)), str(jnp.result_type(leaf))) for path, leaf in leaves}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _is_spread(tree: Any) -> bool:
    """Return whether any array lives on several devices."""
    return any(isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1 for leaf in jax.tree.leaves(tree))


def _on_host(batch: Any) -> Any:
    """Return the batch, numpy's where it is spread over devices."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) if _is_spread(leaf) else leaf, batch)


def _nothing(room: np.ndarray) -> jax.Array:
    """What stands in the place of a value that was not logged."""
    return jnp.full((), jnp.nan if jnp.issubdtype(room.dtype, jnp.floating) else 0, room.dtype)


def _is_stacked(batches: Any) -> bool:
    return isinstance(batches, tuple | dict | np.ndarray | jax.Array)


def _with_last(batches: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each batch, and whether it is the last one."""
    missing: Any = object()
    drawn = iter(batches)
    batch = next(drawn, missing)
    while batch is not missing:
        after = next(drawn, missing)
        yield batch, after is missing
        batch = after
