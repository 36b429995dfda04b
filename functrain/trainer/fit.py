"""The training loop: epochs, dispatches of batches, and the events between them in their fixed order.

Everything here happens between dispatches, when the state is whole. What is due is asked of the plan, which knows it
from the position alone; so a run that continues from a checkpoint finds the same events at the same places.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from functrain.kernel import plan as plans
from functrain.kernel.plan import Plan
from functrain.trainer.data import TrainSource
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.logbook import TRAIN

# What happens after a batch and after an epoch, in order. A checkpoint records how many of them were done.
BATCH_EVENTS = ("log", "validate", "checkpoint", "stop")
EPOCH_EVENTS = ("close_window", "validate_rest", "epoch_hooks", "publish", "turn_epoch", "checkpoint", "stop")


class FitLoop:
    """One fit's loop. `position` is (which events, how many of them are done), None in the middle of a dispatch."""

    def __init__(self, trainer: Any, plan: Plan, source: TrainSource) -> None:
        self.trainer = trainer
        self.engine = trainer.engine
        self.hooks = trainer.hooks
        self.book = trainer.book
        self.plan = plan
        self.source = source
        self.position: tuple[str, int] | None = ("epoch", len(EPOCH_EVENTS))
        self.cursor: dict[str, Any] | None = None
        self.batches: Iterator[Any] = iter(())
        self.outputs: list[Any] = []
        self.keeps_outputs = bool({"training_epoch_end", "on_train_epoch_end"} & self.hooks.takes_outputs)
        self.one_by_one = self.hooks.per_batch or self.keeps_outputs or self.engine.per_batch
        self.pace = Pace(trainer.tick_seconds)
        self.in_epoch = False
        self.ended = False
        self.before = 0

    @property
    def wants_outputs(self) -> bool:
        return self.keeps_outputs or self.hooks.on_train_batch_end is not None

    # the loop

    def run(self) -> None:
        """Epochs until a limit is met or a stop is asked for."""
        self.finish_pending()
        while not self.over():
            self.epoch()

    def over(self) -> bool:
        """Has the run ended? Limits come first; a stop that was asked for waits for the minima."""
        clock = self.engine.clock
        if self.trainer.interrupted or plans.at_limit(self.plan, clock) or self.trainer.out_of_time():
            return True
        return self.trainer.should_stop and plans.may_stop(self.plan, clock)

    def epoch(self) -> None:
        """One epoch, or what is left of one that a checkpoint was taken in."""
        self.start_epoch()
        while not self.ended and not plans.epoch_over(self.plan, self.engine.clock):
            if self.dispatch():
                self.run_events("batch", 0)
            if self.over():
                break
        self.end_epoch()

    def start_epoch(self) -> None:
        self.ended = False
        resumed, self.cursor = self.cursor, None
        if resumed is None:
            self.outputs = []
            self.book.reset(TRAIN)
            self.engine.epoch_start()
            self.trainer.reload_train_source(self)
        self.book.begin(TRAIN, in_step=False)
        if resumed is None:
            self.hooks.call("on_epoch_start")
            self.hooks.call("on_train_epoch_start")
        self.batches = self.source.open(self.engine.clock.epoch, resumed)
        self.in_epoch = True

    def dispatch(self) -> int:
        """Train until the next event; gives the number of batches, and notes where the loader has ended."""
        self.book.begin(TRAIN, in_step=True)
        self.position, self.before = None, self.engine.clock.update
        if self.one_by_one:
            count = self.one_batch()
        else:
            n = min(plans.batches_to_event(self.plan, self.engine.clock), self.pace.batches)
            count = self.engine.train(self.batches, n)
            stopped = self.trainer.interrupted or self.trainer.should_stop
            self.ended = not count or (count < n and not stopped)
        self.position = ("batch", 0)
        self.book.begin(TRAIN, in_step=False)
        self.pace.after(count, self.trainer.tick)
        return count

    def one_batch(self) -> int:
        """One batch with its hooks around it."""
        missing = object()
        batch = next(self.batches, missing)
        if batch is missing:
            self.ended = True
            return 0
        hooks, index = self.hooks, self.engine.clock.batch
        hooks.call("on_batch_start")
        if hooks.call("on_train_batch_start", batch, index, 0) == -1:
            self.ended = True
            return 0
        count = self.engine.train(iter((batch,)), 1)
        outputs = self.engine.outputs[-1] if self.engine.outputs else None
        if self.keeps_outputs:
            self.outputs.append(outputs)
        self.position = ("batch", 0)
        hooks.call("on_train_batch_end", outputs, batch, index, 0)
        hooks.call("on_batch_end")
        return count

    def end_epoch(self) -> None:
        """The events of an epoch's end. An epoch that was cut short ends too, but the position stays inside it."""
        self.run_events("epoch", 0)

    # the events

    def run_events(self, kind: str, done: int) -> None:
        """The events of one kind from number `done` on."""
        events = BATCH_EVENTS if kind == "batch" else EPOCH_EVENTS
        for i in range(done, len(events)):
            self.position = (kind, i)
            getattr(self, events[i])(kind)
        self.position = (kind, len(events))

    def finish_pending(self) -> None:
        """A checkpoint may have been taken between two events: the rest of them happens now."""
        if self.position is None:
            return
        kind, done = self.position
        self.run_events(kind, done)
        clock = self.engine.clock
        if kind == "batch" and (self.ended or plans.epoch_over(self.plan, clock)):
            self.cursor = None
            self.end_epoch()

    def validated(self) -> bool:
        """Was validation due after the last batch, within the epoch?"""
        return self.trainer.validates and plans.validate_due(self.plan, self.engine.clock)

    def mid_epoch(self) -> bool:
        return not self.ended and not plans.epoch_over(self.plan, self.engine.clock)

    def log(self, kind: str) -> None:
        if plans.log_due(self.plan, self.engine.clock, self.before):
            self.trainer.write_step_metrics()

    def validate(self, kind: str) -> None:
        if self.validated():
            self.trainer.run_validation()

    def close_window(self, kind: str) -> None:
        """A loader that ended by itself may have left a window open."""
        self.before = self.engine.clock.update
        if self.ended and self.engine.close_window() and plans.log_due(self.plan, self.engine.clock, self.before):
            self.trainer.write_step_metrics()

    def validate_rest(self, kind: str) -> None:
        """Validation at the end of a loader whose end nobody could foresee."""
        if self.ended and self.trainer.validates and plans.validate_at_end(self.plan, self.engine.clock):
            self.trainer.run_validation()

    def checkpoint(self, kind: str) -> None:
        moments: list[str] = []
        if kind == "epoch":
            moments.append("epoch")
        elif plans.checkpoint_due(self.plan, self.engine.clock, self.before):
            moments.append("steps")
        if kind == "batch" and self.validated() and self.mid_epoch():
            moments.append("validation")
        events = BATCH_EVENTS if kind == "batch" else EPOCH_EVENTS
        self.position = (kind, events.index("checkpoint") + 1)
        for moment in moments:
            self.trainer.each_callback("checkpoint", moment)

    def stop(self, kind: str) -> None:
        if kind == "epoch":
            self.trainer.each_callback("should_stop", "epoch")
        elif self.validated() and self.mid_epoch():
            self.trainer.each_callback("should_stop", "validation")

    def epoch_hooks(self, kind: str) -> None:
        self.hooks.call("training_epoch_end", self.outputs)
        self.hooks.call("on_train_epoch_end", self.outputs)
        self.hooks.call("on_epoch_end")

    def publish(self, kind: str) -> None:
        self.trainer.publish(TRAIN)

    def turn_epoch(self, kind: str) -> None:
        """The epoch is done: schedulers that count epochs step, and the position moves on.

        Not where it was cut short.
        """
        if self.mid_epoch():
            return
        self.engine.epoch_end(self.trainer.callback_metrics)
        self.engine.clock = self.engine.clock.next_epoch()
        self.in_epoch, self.outputs = False, []

    # what a checkpoint keeps of the loop

    def state(self) -> dict[str, Any]:
        """The loop's part of a checkpoint.

        Raises:
            ConfigurationError: asked for in the middle of a step, when the state is not whole.
        """
        if self.position is None:
            raise ConfigurationError(
                "save_checkpoint: called in the middle of a training step, when the state is not whole; "
                "call it from on_train_batch_end or later."
            )
        seen = self.engine.clock.batch
        return {
            "position": list(self.position),
            "source": self.source.state(seen if self.in_epoch and seen else None),
            "ended": self.ended,
            "before": self.before,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        kind, done = state["position"]
        self.position = (kind, done)
        self.cursor = self.source.load_state(state["source"])
        self.ended, self.before = state["ended"], state["before"]
        self.in_epoch = self.cursor is not None


class Pace:
    """How many batches may pass before the host looks up again, so that a bar stays alive: about `seconds` worth.

    Only how many batches are dispatched at once depends on it, never what they compute.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.batches = plans.NO_EVENT if seconds is None else 1
        self.since = time.monotonic()
        self.counted = 0

    def after(self, count: int, tick: Any) -> None:
        """So many batches have passed: tick if it is time, and measure."""
        if self.seconds is None:
            return
        self.counted += count
        elapsed = time.monotonic() - self.since
        if elapsed >= self.seconds:
            tick()
            self.batches = max(1, int(self.counted / elapsed * self.seconds))
            self.since, self.counted = time.monotonic(), 0
        else:
            self.batches = min(2 * self.batches, plans.NO_EVENT)
