"""The JAX engine of a run: holds the state, hands batches to compiled programs many at a time, evaluates,
publishes.

Between two dispatches the state is whole and on the device; nothing here waits for a value unless somebody
reads it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functrain.kernel import plan as plans
from functrain.kernel.plan import Plan
from functrain.kernel.state import Clock, TrainState
from functrain.trainer.adapter import Dispatch, Facts, Traits
from functrain.trainer.entries import TRAIN, Key
from functrain.trainer.errors import NotFiniteError, describe, noted
from functrain.trainer.module import print_evaluating
from functrain.trainer.run import Run
from functrain.trainer.step_outputs import of_players
from functrain_jax import noted_places, snapshot
from functrain_jax.binding import Bindings
from functrain_jax.context import Surroundings
from functrain_jax.device import check_determinism, stacked_flags, window_ends
from functrain_jax.digests import digest
from functrain_jax.evaluator import Evaluator, Modes
from functrain_jax.feed import LONGEST, Chunk, Feed, preparing
from functrain_jax.frozen import frozen
from functrain_jax.identity import facts
from functrain_jax.keys import STREAM
from functrain_jax.loaders import register_generators
from functrain_jax.module import Module
from functrain_jax.module_programs import ModulePrograms
from functrain_jax.noted_places import Noted, NotedPlace, NotedPlaces, places
from functrain_jax.order import plain
from functrain_jax.parts import (
    always,
    check_compiled,
    check_pieces,
    has_unit_windows,
    pieces_of,
    policy_of_flags,
    step_parts,
)
from functrain_jax.placement import placement_of
from functrain_jax.players import Spec
from functrain_jax.program_cache import CachedProgram
from functrain_jax.programs import BAD_LOSS, BAD_PARAMETER, Discovery, Training
from functrain_jax.rates import Rates
from functrain_jax.throttle import Throttle
from functrain_jax.values import Values

MOST_KNOWN = 256
"""At most so many small arrays of the host are kept on the device."""


class JaxEngine:
    """See `functrain.trainer.adapter.Engine`."""

    def __init__(self, module: Module, run: Run) -> None:
        self.module = module
        self.run = run
        self.placement = placement_of(run.flags)
        self.policy = policy_of_flags(run.flags)
        self.state: TrainState | None = None
        self.noted_places = NotedPlaces()
        self.specs: tuple[Spec, ...] = ()
        self.pieces = pieces_of(module, run.flags)
        self.throttle = Throttle()
        self.known: dict[tuple[tuple[int, ...], bytes], jax.Array] = {}
        self.placed = Clock(-1, -1, -1)
        """The position that the device holds."""
        self.rates = Rates(type(module).__name__)

    # setting up

    def setup(self, stage: str) -> None:
        """Collect the module's state and put it on the device."""
        check_compiled(self.module, self.run.flags, self.run.hooks, "Trainer")
        check_determinism(self.run.flags, self.placement.platform)
        register_generators()
        self.module.device = self.placement.device
        hooks, x64 = self.run.hooks, self.policy.name == "64"
        prepare = preparing(hooks, self.placement.device)
        self.feed = Feed(prepare, x64)
        self.binding = Bindings(self.module)
        self.modes = Modes(self.binding, hooks)
        self.values = Values(self.binding, self.placement)
        around = Surroundings(self.run.metrics, hooks.on_after_batch_transfer)
        self.kept = ModulePrograms(self.module, self.binding, self.policy, self.placement, self.run.datamodule, around)
        self.evaluator = Evaluator(
            self.run.metrics, lambda: self.run.clock, self.kept, self.placement, prepare, x64, self.run.span
        )
        params, vars_ = self.values.collected()
        key = self.placement.state(STREAM.next())
        self.state = self.values.published = TrainState(params, (), vars_, None, key, None, Clock())
        self.kept.begin()

    def configure(self) -> Traits:
        """Optimizers and the initial state, each checked."""
        assert self.state is not None
        parts = step_parts(
            self.module, self.run.flags, self.run.context,
            binding=self.binding, placement=self.placement, key=self.state.rng,
        )  # fmt: skip
        self.specs, self.rules, self.backend = parts.specs, parts.rules, parts.backend
        self.state = parts.init()
        now, kept = facts(self.specs, self.state.players)
        now = {"precision": self.policy.name, "truncated_bptt_steps": str(self.pieces), **now}
        self._facts = Facts(now, kept=kept)
        self.publish()
        # How many updates a batch in pieces makes is not in the plan, so the loop looks after every batch.
        return Traits(tuple(spec.plan for spec in self.specs), per_batch=self.pieces is not None, passes_logs=True)

    def start(self, wants_outputs: bool, one_by_one: bool) -> Facts:
        """Decide the form of the compiled programs."""
        assert self.state is not None
        self.state = self.values.adopted(self.state)
        flags, self.wants_outputs, self.one_by_one = self.run.flags, wants_outputs, wants_outputs or one_by_one
        open_ = any(p.acc.grads is not None and int(p.acc.count) for p in self.state.players)
        self.unit_windows = has_unit_windows(self.run.plan.windows, self.specs) and not open_
        check_pieces(self.pieces, self.unit_windows, "Trainer")
        state = self.backend.closed(self.state) if self.unit_windows else self.backend.opened(self.state)
        self.state = self.placement.state(state)
        # What stays with the module knows nothing of this run.
        backend, always_plays = replace(self.backend, loss=None, open_windows=False), always(self.specs)
        rules, pieces, watch = self.rules, self.pieces, bool(flags.terminate_on_nan)
        form = (always_plays, rules, pieces, watch, self.unit_windows, wants_outputs)
        self.programs = self.kept.training(
            (*form, backend.owned, frozen(backend.optimizers)),
            lambda tracer: Training(tracer, backend, rules, always_plays, pieces, watch),
        )
        self.training = self.programs.maker
        self.digests = bool(self.run.plan.observe_updates)
        self.launch = self.run.span("training_step", operator.call)
        self.transfer = self.run.span("batch_transfer", Chunk.on_device)
        self.feed.longest = 1 if self.one_by_one else longest_dispatch(self.run.plan)
        modes = {f"evaluation mode of {path}": "yes" for path in self.modes.evaluating()}
        self.modes.resume()
        print_evaluating(self.run, self.module, self.modes.evaluating())
        self.publish()
        return self._facts._replace(kept={**self._facts.kept, **modes})

    # training

    def train(self, batches: Iterator[Any], n: int) -> Dispatch:
        """Up to n batches, as many as fit a buffer in one compiled call."""
        run, outputs, failed = self.run, list[Any](), None
        self.noted_places.clear()
        assert self.state is not None
        self.state = self.values.adopted(self.state)
        count, given = 0, -1
        # What was drawn from the loader is trained on, so that nothing is lost where a run is stopped in between.
        while count < n and given and not (count and run.stop.raised):
            given = 0
            try:
                for chunk in self.feed.chunks(batches, min(n - count, LONGEST)):
                    output = self._dispatch(chunk)
                    given += chunk.count
                    if self.wants_outputs:
                        outputs.append(output)
            except BaseException as error:
                failed = error
                break
            count += given
        # Hooks may look at the module now: every batch, or because the epoch or the run has ended, or on_exception.
        over = plans.epoch_over(run.plan, run.clock) or plans.at_limit(run.plan, run.clock)
        somebody_looks = self.one_by_one or count < n or over or run.stop.raised
        if somebody_looks:
            self.publish()
        ended = failed is None and (not count or (count < n and not run.stop.raised))
        return Dispatch(run.clock, count, ended, outputs, self.noted_places.passed(run.metrics, run.clock), failed)

    def _dispatch(self, chunk: Chunk) -> Any:
        """Train on a chunk. Return what the step returned, where that is wanted."""
        parts = self.run.plan.passes_logs
        kept = self.programs.find((chunk.spec, parts, self.digests), self.kept.constants) or self._program(chunk, parts)
        program, found = kept.program, kept.found
        host, clock = self.run.metrics, self.run.clock
        found.logged.declare(host)
        actions = None if self.unit_windows else stacked_flags(self.run.plan, clock, chunk.count, chunk.size)
        with jax.transfer_guard_host_to_device("allow"):
            running = found.logged.running(host, self.policy.store)
            metrics = jax.tree.map(self.placement.numbers, self.training.metrics(found, running))
            ends = plans.noted_places(self.run.plan, clock, chunk.count) if parts else []
            observed = self._observed(clock, ends, found.pieces)
            calls = self._calls(found.slow, actions, ends, observed, chunk)
            buffers = self.transfer(chunk, self.placement.batch)
            self._place_clock()
        noted: list[Any] = []
        # What a call is given is gone after it; of a run that looks for NaN it can be had again.
        start, first = (jax.tree.map(jnp.copy, self.state), metrics) if self.training.watch else (None, metrics)
        for place, action in calls:
            self.state, after = self.launch(program, self.state, metrics, place, action, buffers)
            metrics = {name: after[name] for name in metrics}
            noted.append(after["noted"])
            digests_now = found.slow and len(noted) in ends and observed[ends.index(len(noted))]
            if digests_now:
                noted[-1] = (*noted[-1][:2], digest(self.state)[None])
            if "bad" in metrics and int(metrics["bad"]):
                break
        metrics = after
        bad = int(metrics["bad"]) if "bad" in metrics else 0
        done = int(metrics["done"]) - clock.batch if bad else chunk.count
        if parts:
            self.noted_places.begin(host, found.logged)
        host.put(TRAIN, metrics["last"], metrics["running"], self._names_played(found, actions, 0, done))
        self.run.clock = self.placed = self._after(clock, found.pieces, done)
        if parts:
            self._note(found, actions, clock, [end for end in ends if not bad or end < done], noted)
        if bad:
            self._raise_on_nan(bad, partial(self._rewound, kept, start, first, actions, clock, chunk, done - 1))
        self.throttle.add(metrics["done"])
        return self._output(metrics["outputs"], actions) if self.wants_outputs else None

    def _observed(self, clock: Clock, ends: list[int], pieces: int) -> list[bool]:
        """Return, for each of the places where parts end, whether the state is observed there."""
        if not self.digests:
            return [False] * len(ends)
        updates = [self._after(clock, pieces, count).update for count in (0, *ends)]
        plan = self.run.plan
        return [plans.observe_due(plan, clock._replace(update=now), before) for before, now in pairwise(updates)]

    def _calls(
        self, slow: bool, actions: np.ndarray | None, ends: list[int], observed: list[bool], chunk: Chunk
    ) -> list[tuple[Any, Any]]:
        """Return the arguments before the last of the calls that train on a chunk; see `Training.program`.

        Args:
            ends: of its parts, empty where nothing is noted.
            observed: at which of them the state is observed.
        """
        if not slow:
            if actions is not None and self.training.by_windows:
                actions = window_ends(actions, chunk.count)
            where: Any = self._known(places(ends, chunk.size)) if ends else self._number(chunk.count)
            if ends and self.digests:
                where = where, self._known(noted_places.observed(ends, observed, chunk.size))
            return [(where, None if actions is None else self._known(actions))]
        if actions is None:
            return [(self._number(i), None) for i in range(chunk.count)]
        return [(self._number(i), tuple(map(tuple, actions[i].tolist()))) for i in range(chunk.count)]

    def _note(
        self, found: Discovery, actions: np.ndarray | None, clock: Clock, ends: list[int], noted: list[Any]
    ) -> None:
        """Keep what there is to know of the parts that ended there."""
        whole, start = Noted(noted[0], self.placement), 0
        for number, end in enumerate(ends):
            names = tuple(self._names_played(found, actions, start, end))
            where = (Noted(noted[end - 1], self.placement), 0) if found.slow else (whole, number)
            self.noted_places.parts.append(NotedPlace(self._after(clock, found.pieces, end), names, *where))
            start = end

    def _number(self, n: int) -> jax.Array:
        return self._known(np.array(n, np.int32))

    def _known(self, array: np.ndarray) -> jax.Array:
        """Return an array of the host on the device, where it stays: the same few come again and again."""
        key = (array.shape, array.tobytes())
        if key not in self.known:
            if len(self.known) == MOST_KNOWN:
                self.known.clear()
            self.known[key] = self.placement.numbers(array)
        return self.known[key]

    def _place_clock(self) -> None:
        """The device counts along; where the host has moved the position (an epoch's end), it is told."""
        if self.placed[:3] != self.run.clock[:3]:
            assert self.state is not None
            pairs = zip(Clock._fields, self.placed[:3], self.run.clock[:3], strict=False)
            moved = {name: self.placement.numbers(np.array(n, np.int32)) for name, before, n in pairs if n != before}
            self.state = self.state._replace(clock=self.state.clock._replace(**moved))

    def _program(self, chunk: Chunk, parts: bool) -> CachedProgram:
        epoch, batch = self.run.clock[:2]
        with noted(
            lambda: f"while training_step was traced for batch {batch} of epoch {epoch}{describe(chunk.first())}"
        ):
            found = self.training.discover(self.state, chunk.example(), self.placement.platform)  # type: ignore[arg-type]
        self.policy.warn_of_rounded(chunk.filled(), found.worked, "training_step", self.evaluator.warned)
        digests = parts and self.digests and not found.slow
        program = self.training.program(found, self.unit_windows, self.wants_outputs, parts, digests)
        form, reads = (chunk.spec, parts, self.digests), self.training.tracer.reads
        return self.programs.add(form, program, found, reads, self.kept.constants)

    def _names_played(self, found: Discovery, actions: Any, start: int, end: int) -> Collection[Key]:
        """Return what was really logged in a part of this dispatch, in order: by the players whose turn came."""
        if actions is None or len(self.specs) == 1:
            return found.logged.metrics
        played = actions[start:end, :, 0].any(axis=0)
        own = {name for i, names in enumerate(found.names) if played[i] for name in names}
        return [name for name in found.logged.metrics if name in own]

    def _after(self, clock: Clock, pieces: int, count: int) -> Clock:
        if self.pieces is None:
            return plans.after(self.run.plan, clock, count)
        return clock._replace(batch=clock.batch + count, update=clock.update + pieces * count)

    def _output(self, outputs: tuple[Any, ...], actions: np.ndarray | None) -> Any:
        """Of a dispatch of one batch, as hooks get it."""
        played = {i: output for i, output in enumerate(outputs) if actions is None or actions[0, i, 0]}
        return of_players(played, len(self.specs) > 1)

    @contextmanager
    def _rewound(
        self, kept: CachedProgram, state: Any, metrics: Any, actions: np.ndarray | None, clock: Clock, chunk: Chunk,
        count: int,
    ) -> Generator[Any]:  # fmt: skip
        """Within it the run is as it was after `count` batches of a chunk, at whose start it had this state and these
        metrics: the same program runs them again. Gives the batch after them."""
        found, entries = kept.found, self.run.metrics.entries[TRAIN]
        values = {key: (entries[key].last, entries[key].running) for key in found.logged.last}
        after = self.state, self.run.clock
        if count:
            part = replace(chunk, count=count)
            with jax.transfer_guard_host_to_device("allow"):
                buffers = part.on_device(self.placement.batch)
                ends = plans.noted_places(self.run.plan, clock, count) if self.run.plan.passes_logs else []
                observed = self._observed(clock, ends, found.pieces)
                for place, action in self._calls(found.slow, actions, ends, observed, part):
                    state, given = kept.program(state, metrics, place, action, buffers)
                    metrics = {name: given[name] for name in metrics}
        try:
            self.state, self.run.clock = state, self._after(clock, found.pieces, count)
            for key, running in metrics["running"].items():
                entries[key].running = running
            # Arrays of JAX are what hooks have made of a batch already.
            with jax.transfer_guard_host_to_device("allow"):
                batch = [jnp.array(buffer[count]) for buffer in chunk.buffers]
            yield plain(jax.tree.unflatten(chunk.spec.structure, batch))
        finally:
            self.state, self.run.clock = after
            for key, (last, running) in values.items():
                entries[key].last, entries[key].running = last, running

    def _raise_on_nan(self, bad: int, before: Callable[[], AbstractContextManager[Any]]) -> None:
        try:
            self._find_nan(bad)
        except NotFiniteError as error:
            error.before = before
            raise

    def _find_nan(self, bad: int) -> None:
        assert self.state is not None
        epoch, batch = self.run.clock.epoch, self.run.clock.batch - 1
        if bad & BAD_LOSS:
            raise NotFiniteError.of_loss(epoch, batch)
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.state.params):
            if not bool(jnp.isfinite(leaf).all()):
                name = jax.tree_util.keystr(path, simple=True, separator=".")
                raise NotFiniteError.of_parameter(name, epoch, batch)

    def close_window(self) -> bool:
        """Update with what open windows hold."""
        assert self.state is not None
        if self.unit_windows:
            return False
        flags = np.array([int(player.acc.count) > 0 for player in self.state.players])
        if not flags.any():
            return False
        self.state = self.training.close_windows(self.state, self.placement.numbers(flags))
        self.run.clock = self.run.clock._replace(update=self.run.clock.update + 1)
        self.publish()
        if self.training.watch:
            self._find_nan(BAD_PARAMETER)
        return True

    def close_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Nothing: schedules are part of the optax transformation."""

    # the rest of the protocol

    def publish(self) -> None:
        """Leave the present values in the user's module; they are the state's own arrays, gone after the next
        dispatch."""
        if self.state is not None:
            self.values.publish(self.state)

    def mode(self, stage: str, evaluating: bool) -> None:
        """Put the module's networks into evaluation mode, with the present values, or back into the modes of before."""
        if evaluating:
            self.publish()
            self.modes.evaluate(stage)
        else:
            self.modes.train(stage)

    def evaluate(self, stage: str, batches: Iterator[Any], n: int, first: int, loader: int, wants: bool) -> Dispatch:
        """See `functrain_jax.evaluator.Evaluator.evaluate`."""
        assert self.state is not None
        return self.evaluator.evaluate(self.state, stage, batches, n, first, loader, wants)

    def finish(self) -> None:
        """Leave the trained values in the user's module. An error may have left it in an evaluation, or ended the run
        before anything was set up."""
        if self.state is not None:
            self.modes.leave()
            self.publish()
            self.kept.end()
        self.throttle.clear()

    def state_dict(self, weights_only: bool) -> dict[str, Any]:
        """See `functrain_jax.snapshot.state_dict`."""
        return snapshot.state_dict(self, weights_only)

    def load_state_dict(self, saved: Mapping[str, Any] | TrainState, weights_only: bool) -> None:
        """See `functrain_jax.snapshot.load_state`."""
        snapshot.load_state(self, saved, weights_only)


def longest_dispatch(plan: Plan) -> int:
    """More batches than this are never handed over at once: the closest two events may be apart."""
    window = plan.windows.at(0)
    longest = [plan.dispatch]
    if not plan.passes_logs:
        longest += [n * window for n in (plan.log_updates, *plan.observe_updates)]
    longest += [n for n in (plan.batches, plan.val_batches) if n is not None]
    longest += [n * window for n in plan.checkpoint_updates]
    return max(1, min(longest))
