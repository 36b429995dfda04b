"""The training loop: epochs, dispatches of batches, and the events between them in their fixed order::

    while not over:
        begin the epoch: on_epoch_start, on_train_epoch_start, open the loader
        while batches are left and not over:
            train on the batches up to the next event    # the engine; the kernel's accumulate and update
            observe, log, validate, checkpoint, stop     # each where it is due
        training_epoch_end, on_train_epoch_end, on_epoch_end
        write the epoch's metrics, step schedulers, checkpoint, stop, turn the clock

Everything here happens between dispatches, when the state is whole. What is due is asked of the plan, which knows it
from the position alone; so a run that continues from a checkpoint finds the same events at the same places.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from operator import index
from typing import Any, NoReturn

from functrain.kernel import plan as plans
from functrain.kernel.state import Clock
from functrain.trainer import remarks, replay, rows
from functrain.trainer.checkpoint import storable_outputs
from functrain.trainer.combined import leaves_of
from functrain.trainer.data import loaders_rng
from functrain.trainer.dispatch_size import DispatchSize
from functrain.trainer.entries import TRAIN, VALIDATION
from functrain.trainer.errors import ConfigurationError, describe, note_secondary, noted
from functrain.trainer.evaluate import run_stage
from functrain.trainer.events import Event, Moment, Position, Table, named, numbered, turned_before
from functrain.trainer.hooks import Handlers
from functrain.trainer.planning import plan_of
from functrain.trainer.random_states import random_state
from functrain.trainer.run import Run
from functrain.trainer.waiting import Waiting


class FitLoop:
    """One fit's loop.

    Attributes:
        position: (kind of events, how many of them are done); None in the middle of a dispatch.
        called: the owners of the event under way that were called: a callback may save a checkpoint in its hook, and
            the run that continues from it calls the others.
        seen: the batches of the epochs before this one.
        passed: the places where step metrics are written, or the state is observed, that the last dispatch has run
            past; None where none.
        kept: what the step of the last batch read, before it; None where nobody may ask for it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.engine = run.engine
        self.hooks = run.hooks
        self.metrics = run.metrics
        self.position: Position | None = ("epoch", len(EVENTS["epoch"]))
        self.called: list[str] = []
        self.cursor: dict[str, Any] | None = None
        self.batches: Iterator[Any] = iter(())
        self.outputs: list[Any] = []
        self.passed: Generator[Clock] | None = None
        self.observed = self.run.clock
        self.keeps_outputs = bool({"training_epoch_end", "on_train_epoch_end"} & self.hooks.takes_outputs)
        keep = run.traits.keep
        self.kept = replay.BeforeStep(run, keep) if keep is not None and run.world.size == 1 else None
        self.one_by_one = self.hooks.per_batch or self.keeps_outputs or run.traits.per_batch
        self.waiting = Waiting(run)
        self.size = DispatchSize(run.look_up_seconds, run.stop.alone)
        self.in_epoch = False
        self.ended = False
        self.skipped = False
        self.looked = False
        self.run_epoch = run.span("run_training_epoch", self.rest_of_epoch)
        self.run_batches = run.span("run_training_batches", self.dispatch)
        self.logged = self.seen = 0
        self.validates_now = self.warned_short = False

    @property
    def wants_outputs(self) -> bool:
        """Does anybody take what the training steps give?"""
        return self.keeps_outputs or self.hooks.on_train_batch_end is not None

    # the loop

    def epochs(self) -> None:
        """What a checkpoint left undone, then epochs until a limit is met or a stop is asked for."""
        assert self.position is not None
        kind, done = self.position
        began = self.run.clock.update
        self.size.settle(self.run)
        try:
            if self.close_carried() and not self.pending():
                kind, done = "end", 0
            if (kind, done) == ("batch", 0):
                self.find_end()  # a checkpoint of a batch's last hook was taken before it was known
            self.run_events(kind, done) if kind != "batch" else self.after_batches(kind, done)
            goes_on = kind != "epoch" or (self.in_epoch and not self.over())
            if goes_on:
                self.run_epoch()
            while not self.over():
                self.run_events("start", 0)
                self.run_epoch()
        finally:
            self.engine.publish()  # hooks of the run's end may look at the module
            self.close_epoch()
        remarks.print_exceeded(self.run, began)

    @property
    def in_step(self) -> bool:
        """Is it in the middle of a dispatch?"""
        return self.position is None

    def over(self) -> bool:
        """Return whether the run has ended."""
        return self.run.stop.now(self.run.plan, self.run.clock)

    def stops(self, clock: Clock) -> bool:
        """Return whether the run ends at this position."""
        return self.run.stop.is_due(self.run.plan, clock)

    def nothing_left(self) -> bool:
        """Return whether the run will be over once the events that a checkpoint left undone are done."""
        assert self.position is not None
        turns = self.position[0] == "epoch" and self.in_epoch and not self.mid_epoch()
        return self.over() or (turns and self.stops(self.run.clock.next_epoch()))

    def rest_of_epoch(self) -> None:
        """Batches until the epoch or the run is over, then the events of the epoch's end.

        An epoch that a limit cuts short ends too, but the position stays inside it. After Ctrl-C it does not: the run
        that continues is to find it as it was.
        """
        while self.mid_epoch() and not self.over():
            self.reopen()
            self.after_batches("batch" if self.run_batches() else "end", 0)
        self.engine.publish()
        self.size.settle(self.run)
        ends_epoch = not self.run.stop.interrupted or (not self.mid_epoch() and not self.pending())
        if ends_epoch:
            self.run_events("epoch", 0)

    def after_batches(self, kind: str, done: int) -> None:
        """The events after a dispatch; where they ask for a stop, it may be the epoch's end as well."""
        self.run_events(kind, done)
        before = self.run.clock
        if self.find_end():
            self.run.before = before
            self.run_events("end", 0)

    def find_end(self) -> bool:
        """Where the run stops, does the epoch end too? A loader without a length is asked for one batch more to know
        it, once, and the run that continues finds that batch again."""
        clock = self.run.clock
        is_known = self.looked or self.run.source.sized
        needs_no_look = is_known or not self.mid_epoch() or self.run.stop.interrupted
        if needs_no_look:
            return False
        if not self.stops(clock):
            return False
        self.looked = True
        self.reopen()
        self.cursor = self.run.source.look_ahead(self.batches, clock.batch)
        self.ended = self.cursor is None
        self.close_window()
        return self.ended

    def close_window(self) -> None:
        """A loader that ended by itself may have left a window open; closing it is the update of its last batch."""
        if self.ended:
            position, self.position = self.position, None
            with replay.written(self.run, self.between_batches, self.kept):
                self.engine.close_window()
            self.position = position

    def close_carried(self) -> bool:
        """A checkpoint within a window, and a loader too short now for where it was taken: the epoch is over, and no
        window crosses its end."""
        nothing_to_close = not self.in_epoch or self.mid_epoch() or self.over()
        if nothing_to_close:
            return False
        before, position, self.position = self.run.clock, self.position, None
        closed = self.engine.close_window()
        self.position = position
        is_new = closed and not (self.pending() and self.run.before.update <= before.update)
        if is_new:
            self.run.before = before
        return closed

    def reopen(self) -> None:
        """Draw from the loader where the checkpoint left it."""
        if self.cursor is not None:
            cursor, self.cursor = self.cursor, None
            self.batches = self.with_location(self.run.source.open(self.run.clock.epoch, cursor))

    def with_location(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches; an error of the loader says where the run was."""
        # The engine may draw many before it trains on them, so its clock does not know.
        epoch, asked, watches = self.run.clock.epoch, self.run.clock.batch, self.run.watches
        drawn = self.waiting.measured(self.run.span_of_each("get_train_batch", batches))
        with noted(lambda: f"while the training loader was asked for batch {asked} of epoch {epoch}"):
            for batch in drawn if self.kept is None else self.kept.each(iter(drawn)):
                asked += 1
                for watch in watches:
                    watch(epoch, asked, batch)
                yield batch

    def dispatch(self) -> int:
        """Train until the next event. Return the number of batches, and note where the loader has ended."""
        self.position, self.run.before, self.looked = None, self.run.clock, False
        with self.metrics.scope(TRAIN, step=True):
            with noted(self.where), replay.written(self.run, self.between_batches, self.kept):
                if self.one_by_one:
                    count = self.one_batch()
                else:
                    n = min(plans.batches_to_event(self.run.plan, self.run.clock), self.size.batches)
                    done = self.engine.train(self.batches, n)
                    self.run.clock, count, self.ended, self.passed = done.clock, done.batches, done.ended, done.passed
                    if done.failed is not None:
                        self.fail(done.failed)
                self.close_window()
            is_empty = not count and not self.run.clock.batch and not self.skipped
            if is_empty:
                raise ConfigurationError(self.run.source.why_empty(self.run.clock.epoch))
            self.find_end()
        self.position = ("batch", 0)
        if self.size.after(count):
            self.size.look_up(self.run)
        return count

    def where(self) -> str:
        """Return where the run stands, for an error that passes by."""
        clock = self.run.clock
        batch = clock.batch - (self.position is not None)
        return f"in the training loop, epoch {clock.epoch}, batch {batch}{describe(self.metrics.current.batch)}"

    def fail(self, error: BaseException) -> NoReturn:
        """A dispatch has failed: what it passed before is written, then its error goes on."""
        with note_secondary(error):
            self.log_passed(alone=True)
        raise error

    def one_batch(self) -> int:
        """One batch with its hooks around it."""
        missing = object()
        batch = next(self.batches, missing)
        if batch is missing:
            self.ended = True
            return 0
        self.metrics.current.batch = batch
        hooks, index = self.hooks, self.run.clock.batch
        hooks.call("on_batch_start")
        if hooks.call("on_train_batch_start", batch, index, 0) == -1:
            self.ended = self.skipped = True
            return 0
        done = self.engine.train(iter((batch,)), 1)
        self.run.clock = done.clock
        if done.failed is not None:
            self.fail(done.failed)
        outputs = done.outputs[0] if done.outputs else None
        if self.keeps_outputs:
            self.outputs.append(outputs)
        self.position = ("batch", 0)
        hooks.call("on_train_batch_end", outputs, batch, index, 0)
        return done.batches

    # the events

    def run_events(self, kind: str, done: int) -> None:
        """The events of one kind from number `done` on. Ctrl-C in a validation leaves it, and what follows, undone."""
        events, self.validates_now = EVENTS[kind], self.validation_due(kind)
        for i in range(done, len(events)):
            self.position = (kind, i)
            if events[i].act(self, kind) is False:
                return
            self.called = []
        self.position = (kind, len(events))

    def pending(self) -> bool:
        """Return whether events were left undone."""
        return self.position is not None and self.position[1] < len(EVENTS[self.position[0]])

    def hook(self, name: str, *args: Any) -> None:
        """Call a hook's owners one by one."""
        for key, call in self.hooks.calls[name]:
            self.call(key, call, *args)

    def call(self, key: str, call: Callable[..., Any], *args: Any) -> None:
        """Call an owner of the event under way, unless that was done before the checkpoint."""
        if key not in self.called:
            self.called.append(key)
            call(*args)

    def mid_epoch(self) -> bool:
        """Return whether there are batches of this epoch still to come, as far as is known."""
        return not self.ended and not plans.epoch_over(self.run.plan, self.run.clock)

    def begin_epoch(self, kind: str) -> None:
        self.ended, self.skipped, self.outputs = False, False, []
        self.reload()
        self.count_on()

    def reload(self) -> None:
        """Ask for the loaders again, where the flag or a hook says so and an epoch starts."""
        run, epoch = self.run, self.run.clock.epoch
        every = run.flags.reload_dataloaders_every_n_epochs
        is_due = every and epoch and plans.passed(every, epoch - 1, epoch)
        if is_due or run.asks_again:
            run.asks_again = False
            train, val = run.given
            run.source = run.loaders.train(train)
            run.plan = plan_of(run)
            if is_due:
                run.val = run.loaders.validation(val, train)

    def count_on(self) -> None:
        """Where validations are counted across epochs, the plan knows what came before this one."""
        if self.run.plan.val_epochs is None:
            self.run.plan = self.run.plan._replace(val_before=self.seen)

    def open(self, kind: str) -> None:
        self.batches = self.with_location(self.run.source.open(self.run.clock.epoch))
        self.in_epoch = True

    def log(self, kind: str) -> None:
        """Observe and log, at the places that the last dispatch has run past and then here."""
        self.log_passed()
        self.observe_here()
        self.log_here()

    def log_passed(self, alone: bool = False) -> None:
        """Observe, and write the step metrics, at those places that the last dispatch has run past. `alone`: it has
        failed."""
        self.logged, self.observed = self.run.before.update, self.run.before
        if self.passed is None:
            return
        clock, passed, self.passed = self.run.clock, self.passed, None
        try:
            with closing(passed):
                for there in passed:
                    self.run.clock = there
                    self.observe_here()
                    self.log_here(alone)
        finally:
            self.run.clock = clock

    def observe_here(self) -> None:
        plan, clock, before = self.run.plan, self.run.clock, self.observed
        if not plan.observe_updates or not plans.observe_due(plan, clock, before.update):
            return
        if not plan.passes_logs:
            self.engine.publish()  # who observes at once may look at the module too
        moment, self.observed = Moment("observe", before, clock), clock
        for key, observe in self.hooks.observe:
            if plan.passes_logs:
                observe(moment)
            else:
                self.call(f"observe: {key}", observe, moment)

    def log_here(self, alone: bool = False) -> None:
        plan, clock, before = self.run.plan, self.run.clock, self.logged
        if plans.log_due(plan, clock, before):
            if not plan.passes_logs:
                self.engine.publish()  # who gets the values at once may look at the module too
            rows.write_steps(self.run, flush=plans.flush_due(plan, clock, before), alone=alone)
            self.logged = clock.update

    def validation_due(self, kind: str) -> bool:
        """Return whether validation is due after this batch, or at the end of a loader whose end nobody could
        foresee."""
        if self.run.val is None or kind not in ("batch", "end"):
            return False
        plan, clock = self.run.plan, self.run.clock
        if self.ended and plans.validate_at_end(plan, clock):
            return True
        return kind == "batch" and plans.validate_due(plan, clock)

    def validate(self, kind: str) -> bool:
        """Run one validation. Return False where Ctrl-C has left it undone. A checkpoint taken before its metrics are
        published keeps what it began with, so that the run that continues does it over."""
        if not self.validates_now:
            return True
        if self.run.stop.interrupted:
            return False
        self.run.redone = {
            "rng": random_state(self.run),
            "val_loaders": loaders_rng(self.run.loader_tools, self.run.val_loaders),
        }
        assert self.run.val is not None
        done = run_stage(self.run, "validation", *self.run.val) is not None
        if done:
            self.run.redone = None
        return done

    def on_validation_end(self, kind: str) -> None:
        if self.validates_now:
            with self.metrics.scope(VALIDATION):
                self.hook("on_validation_end")
                self.engine.mode("validation", evaluating=False)

    def checkpoint(self, kind: str) -> None:
        kinds: list[str] = []
        if kind == "epoch":
            kinds.append("epoch")
        elif plans.checkpoint_due(self.run.plan, self.run.clock, self.run.before.update):
            kinds.append("steps")
        if self.validates_now and self.mid_epoch():
            kinds.append("validation")
        self.fire(self.hooks.checkpoint, kinds)

    def stop(self, kind: str) -> None:
        if kind == "epoch":
            self.fire(self.hooks.should_stop, ["epoch"])
        elif self.validates_now and self.mid_epoch():
            self.fire(self.hooks.should_stop, ["validation"])
        else:
            return
        self.size.settle(self.run)

    def fire(self, handlers: Handlers, kinds: list[str]) -> None:
        """One of the Trainer's own moments, for the callbacks that act at it, one by one."""
        if handlers and kinds:
            self.engine.publish()  # they may look at the module, as hooks of a save may
        for kind in kinds:
            moment = Moment(kind, self.run.before, self.run.clock)
            for key, act in handlers:
                self.call(f"{kind}: {key}", act, moment)

    def training_epoch_end(self, kind: str) -> None:
        with self.metrics.scope(TRAIN, ends=True):
            self.hook("training_epoch_end", self.outputs)

    def on_train_epoch_end(self, kind: str) -> None:
        with self.metrics.scope(TRAIN, ends=True):
            self.hook("on_train_epoch_end", self.outputs)

    def on_epoch_end(self, kind: str) -> None:
        with self.metrics.scope(TRAIN, ends=True):
            self.hook("on_epoch_end")

    def write_epoch(self, kind: str) -> None:
        rows.write_epoch(self.run, TRAIN)
        if not self.warned_short:
            self.warned_short = True
            remarks.warn_of_short_run(self.run)
            remarks.warn_of_idle(self.run, self.skipped)

    def step_schedulers(self, kind: str) -> None:
        """Those that count epochs; not where the epoch was cut short."""
        if not self.mid_epoch():
            self.engine.close_epoch(self.run.callback_metrics())

    def advance_epoch(self, kind: str) -> None:
        """The epoch is done, and the position moves on; not where it was cut short."""
        if self.mid_epoch():
            return
        clock = self.run.turned = self.run.clock
        self.seen += clock.batch
        self.run.clock = clock.next_epoch()
        self.metrics.advance_epoch(TRAIN)
        self.in_epoch, self.outputs, self.cursor = False, [], None
        self.close_epoch()

    def close_epoch(self) -> None:
        """Nothing more is drawn from this epoch's iterator."""
        self.batches = iter(())
        self.run.source.close()

    @contextmanager
    def set_aside(self) -> Generator[None]:
        """Within it another run may draw from the training loader; this one finds its place again as where it continues
        from a checkpoint. An iterator can be drawn from only once, and is left alone."""
        source = self.run.source
        if any(isinstance(leaf, Iterator) for leaf in leaves_of([source.loader])):
            yield
            return
        place = source.state(self.run.clock.batch if self.in_epoch else None, self.cursor)
        try:
            yield
        finally:
            self.cursor = source.load_state(place)

    # what a checkpoint keeps of the loop

    def state(self) -> dict[str, Any]:
        """Return the loop's part of a checkpoint.

        Raises:
            ConfigurationError: asked for in the middle of a step, when the state is not whole.
        """
        if self.position is None:
            raise ConfigurationError(
                "save_checkpoint: called in the middle of a training step, when the state is not whole; "
                "call it from on_train_batch_end or later."
            )
        return {
            "position": named(EVENTS, self.position),
            "called": list(self.called),
            "source": self.run.source.state(self.run.clock.batch if self.in_epoch else None, self.cursor),
            "in_epoch": self.in_epoch,
            "ended": self.ended,
            "over": not self.mid_epoch(),
            "before": self.run.before.update,
            "before_batch": self.run.before.batch,
            "seen": self.seen,
            "outputs": storable_outputs(self.outputs),
        }

    def begin_within(self) -> None:
        """The run begins with a state that stands within an epoch: go past the batches that it has seen."""
        clock = self.run.clock
        self.position, self.in_epoch, self.run.before = ("batch", len(EVENTS["batch"])), True, clock
        self.cursor = self.run.source.place(clock.batch)
        self.seen = clock.epoch * (self.run.plan.batches or 0)
        self.count_on()
        if not self.metrics.filled(TRAIN):  # an adapter's state may hold them
            warnings.warn(
                f"trainer.fit(state=...): the state stands at batch {clock.batch} of epoch {clock.epoch}: the training "
                "metrics of this epoch are those of its other batches.",
                UserWarning,
                stacklevel=2,
            )

    @contextmanager
    def between_batches(self) -> Generator[None]:
        """Within it the loop stands behind all that was due after the batch before, though further ones were drawn: a
        checkpoint may be taken."""
        position, self.position = self.position, ("batch", len(EVENTS["batch"]))
        cursor, self.cursor = self.cursor, self.cursor or self.run.source.replayed(self.run.clock.batch)
        try:
            yield
        finally:
            self.position, self.cursor = position, cursor

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state()` back; before `epochs`."""
        self.position, self.called = numbered(EVENTS, state["position"]), list(state["called"])
        self.cursor = self.run.source.load_state(state["source"])
        self.in_epoch, self.ended = state["in_epoch"], state["ended"]
        if turned_before(state["position"]) and not self.in_epoch:
            clock = self.run.clock
            self.run.clock = clock._replace(epoch=clock.epoch - 1, batch=self.run.plan.batches or 1)
            self.in_epoch = self.ended = True
        # Format 1, and the first of format 2, did not keep the batch, nor count those seen.
        batch = index(state.get("before_batch", self.run.clock.batch))
        self.run.before = self.run.clock._replace(batch=batch, update=index(state["before"]))
        self.seen = index(state.get("seen", self.run.clock.epoch * (self.run.plan.batches or 0)))
        self.count_on()
        self.outputs = list(state["outputs"] or ())
        if state["outputs"] is None and self.keeps_outputs:
            warnings.warn(
                "the checkpoint does not hold what the training steps of its epoch returned before it: "
                "training_epoch_end gets only what comes after.",
                UserWarning,
                stacklevel=2,
            )


def _hook(name: str) -> Event[FitLoop]:
    """Return the event at which a hook is called."""

    def act(loop: FitLoop, kind: str) -> None:
        # As FitLoop.hook, with a call less: it may come at every batch.
        for key, call in loop.hooks.calls[name]:
            loop.call(key, call)

    return Event(name, act)


_AFTER_BATCHES = (
    Event("log", FitLoop.log),
    Event("validate", FitLoop.validate),
    Event("on_validation_end", FitLoop.on_validation_end),
    Event("checkpoint", FitLoop.checkpoint),
    Event("stop", FitLoop.stop),
)

EVENTS: Table[FitLoop] = {
    "start": (
        Event("begin_epoch", FitLoop.begin_epoch),
        _hook("on_epoch_start"),
        _hook("on_train_epoch_start"),
        Event("open", FitLoop.open),
    ),
    "batch": (_hook("on_batch_end"), *_AFTER_BATCHES),
    "end": _AFTER_BATCHES,
    "epoch": (
        Event("training_epoch_end", FitLoop.training_epoch_end),
        Event("on_train_epoch_end", FitLoop.on_train_epoch_end),
        Event("on_epoch_end", FitLoop.on_epoch_end),
        Event("publish", FitLoop.write_epoch),
        Event("step_schedulers", FitLoop.step_schedulers),
        Event("checkpoint", FitLoop.checkpoint),
        Event("stop", FitLoop.stop),
        Event("turn_epoch", FitLoop.advance_epoch),
    ),
}
"""What happens at an epoch's start, after batches, where the loader's end was found behind them, and at the epoch's
end. The clock turns last: all that happens at an epoch's end sees the epoch that ends."""
