"""Calls of the user's steps on traced values: what a step sees of the run, and what the trace shows of the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from functrain.kernel import Clock
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.metrics import Metrics
from functrain.trainer.overriding import overrides
from functrain.trainer.scopes import Record
from functrain.trainer.signatures import adapt
from functrain_jax.binding import Bindings
from functrain_jax.collect import traced
from functrain_jax.context import StepContext, Surroundings
from functrain_jax.module import Module
from functrain_jax.noting import reading
from functrain_jax.order import batch_size, plain
from functrain_jax.precision import Policy

TRACE_ERRORS = (
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.TracerArrayConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)


class Call(NamedTuple):
    """What one traced call of a step returned, and what it did."""

    output: Any
    vars: Any
    records: list[Record]
    drew: bool
    params: Any


def alone(module: Module) -> Surroundings:
    """Return the surroundings of a module that nobody runs: its own hook, and metrics that are kept for no one."""
    return Surroundings(Metrics(sizes=batch_size), overridden(module, "on_after_batch_transfer"))


def overridden(owner: Any, name: str) -> Callable[..., Any] | None:
    """Return a hook of the module's own, called with the arguments that it takes; None where it is the default."""
    if not overrides(owner, name):
        return None
    return adapt(getattr(owner, name), ("batch", "dataloader_idx"), f"{type(owner).__name__}.{name}")


class Tracer:
    """Calls the user's steps on traced values.

    It stays with its module from run to run, so it knows none: what it needs of one is in the surroundings that a run
    makes known for as long as it lasts.

    Args:
        surroundings: those of whoever runs the module now, last; empty where nobody does.

    Attributes:
        reads: the attributes of the module that steps have read.
    """

    def __init__(self, module: Module, binding: Bindings, policy: Policy, surroundings: Sequence[Surroundings]) -> None:
        self.binding = binding
        self.module = module
        self.policy = policy
        self.surroundings = surroundings
        self.reads: set[str] = set()

    def call(
        self, name: str, method: Callable[..., Any], clock: Clock, key: Any, state: tuple[Any, Any], batch: Any,
        loader: int, *args: Any, moves: bool = True,
    ) -> Call:  # fmt: skip
        """Return the step `name` with (params, vars) bound; `args` follow the batch.

        Args:
            moves: the batch goes through `on_after_batch_transfer` first; not where it has done so.
        """
        params, vars_ = state
        keys = Keys(key)
        around = self.surroundings[-1] if self.surroundings else alone(self.module)
        context = StepContext(clock, name == "training_step", keys, self.reads)
        collecting = around.metrics.collecting(traced)
        low = self.policy.compute if self.policy.low else None

        def step() -> Any:
            with collecting, self._inside(context, around.metrics.log), reading(self.module, self.reads):
                collecting.batch = plain(batch)
                if moves and around.after_transfer is not None:
                    collecting.batch = plain(around.after_transfer(collecting.batch, loader))
                return method(collecting.batch, *args)

        with self._explained(name):
            output, now, moved = self.binding.call(step, params, vars_, dtype=low)
        return Call(output, moved, collecting.records or [], keys.drawn > 0, now)

    def cut(self, clock: Clock, key: Any, state: tuple[Any, Any], batch: Any, split: Callable[[Any], Any]) -> Call:
        """Return a batch in pieces, by `split`, after it went through `on_after_batch_transfer` as a whole."""

        def pieces(batch: Any) -> list[Any]:
            return list(split(batch))

        call = self.call("training_step", pieces, clock, key, state, batch, 0)
        if call.records:
            raise ConfigurationError(
                f"{type(self.module).__name__}: self.log({call.records[0].key[1]!r}, ...) was called while a batch was "
                "moved or cut along time, which is before its steps: log it in training_step."
            )
        return call

    @contextmanager
    def _inside(self, context: StepContext, log: Callable[..., None]) -> Iterator[None]:
        before = self.module._context
        self.module._context, self.module._step = context.for_module(log), context
        try:
            yield
        finally:
            self.module._context, self.module._step = before, None

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except TRACE_ERRORS as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigurationError(
                f"{type(self.module).__name__}.{name}: the step needed the value of a traced array ({first}) The step "
                "is compiled, so Python cannot branch on, print or convert what it computes: use jnp.where or "
                "lax.cond; to skip a batch return {'loss': loss, 'weight': jnp.where(skip, 0.0, 1.0)}; to print use "
                "jax.debug.print."
            ) from error


class Keys:
    """The keys of one traced call: another one each time."""

    def __init__(self, key: Any) -> None:
        self.key = key
        self.drawn = 0

    def __call__(self) -> Any:
        self.drawn += 1
        return jax.random.fold_in(self.key, self.drawn)
