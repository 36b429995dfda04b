"""What a training step of a module is made of, without a Trainer: an engine and a pure step share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from jax.core import Tracer as Tracing

from functrain.kernel.plan import Plan
from functrain.kernel.state import TrainState
from functrain.kernel.step import Rule, Rules
from functrain.kernel.window import Schedule
from functrain.trainer.configured import require
from functrain.trainer.context import ALONE, Context
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.hooks import Hooks
from functrain.trainer.planning import clip, make_plan, windows_of
from functrain_jax.backend import JaxBackend, Loss
from functrain_jax.binding import Bindings
from functrain_jax.context import STEP_HOOKS
from functrain_jax.keys import STREAM
from functrain_jax.module import Module
from functrain_jax.placement import Placement, placement_of
from functrain_jax.players import Spec, players_of
from functrain_jax.precision import Policy, policy_of
from functrain_jax.programs import Training, read_output
from functrain_jax.trace import Tracer


class StepParts(NamedTuple):
    """What steps of one module are made of: `kernel.step(backend, rules, state, window)`, from `init()` on. Traceable,
    as all of JAX's.

    Attributes:
        init: returns the first state, of copies of what the module holds; its random keys come from the `key` that it
            is given, else from that of the parts.
        plan: the plan of a fit with epochs of so many batches; None where their number is unknown.
        specs: the optimizers that `configure_optimizers` returned, and what each moves.
        training: the module's step as the kernel wants it.
    """

    backend: JaxBackend
    rules: Rules
    init: Callable[..., TrainState]
    plan: Callable[[int | None], Plan]
    specs: tuple[Spec, ...]
    training: Training


def step_parts(
    module: Module,
    flags: Flags,
    context: Context = ALONE,
    *,
    binding: Bindings | None = None,
    placement: Placement | None = None,
    key: Any = None,
) -> StepParts:
    """Make the parts: call `configure_optimizers`, and find out what each optimizer moves.

    Args:
        context: its `log` gets what a step logs, when it is traced: the name, a traced value and the options. The
            position that a step sees is that of its state.
        binding: the module's, where one was made; from here on it has what no optimizer moves among the vars.
        placement: where the state lives; default: where the flags say.
        key: what the state's random keys come from; default: the next of the seeded stream.

    Raises:
        ConfigurationError: the module lacks what a training step needs, or its optimizers do not fit it.
    """
    name = type(module).__name__
    require(module, "training_step", "configure_optimizers")
    binding, policy = binding or Bindings(module), policy_of_flags(flags)
    where = placement or placement_of(flags)
    rng = where.state(STREAM.next()) if key is None else key
    specs = players_of(module.configure_optimizers(), where.state(binding.collect())[0], name)
    leave_unowned(binding, specs)
    rules = tuple(Rule(clip(flags), policy.scale) for _ in specs)
    optimizers, owned = tuple(spec.optimizer for spec in specs), tuple(spec.owned for spec in specs)
    tracer = Tracer(module, binding, policy, ())
    backend = JaxBackend(None, optimizers, owned, policy, not has_unit_windows(windows_of(flags, ()), specs))
    watch = bool(flags.terminate_on_nan)
    training = Training(tracer, backend, rules, always(specs), pieces_of(module, flags), watch)

    def init(key: Any = None) -> TrainState:
        # What is traced lives where the caller's arrays are.
        place = where.state if not isinstance(key, Tracing) else lambda tree: tree
        params, vars_ = place(binding.collect())
        if policy.name == "64":
            vars_ = binding.cast(vars_, policy.cast)
        return place(backend.init(params, rng if key is None else key, vars_, (policy.scale,) * len(specs)))

    def plan(batches: int | None) -> Plan:
        players = tuple(spec.plan for spec in specs)
        return make_plan(flags, batches, players, (), windows_of(flags, ()))

    return StepParts(replace(backend, loss=_loss(training, context)), rules, init, plan, specs, training)


def _loss(training: Training, context: Context) -> Loss:
    owner = type(training.tracer.module).__name__
    kept = training.tracer.binding.kept

    def loss(params: Any, state: TrainState, rng: Any, batch: Any, player: int) -> tuple[Any, Any, TrainState]:
        call = training.call(params, state, rng, batch, player, kept)
        for record in call.records:
            context.log(*record.arguments())
        value, weight, hidden = read_output(call.output, owner)
        hidden = hidden if training.pieces is not None else None
        return value, weight, state._replace(vars=call.vars, hidden=hidden)

    loss.__qualname__ = f"{owner}.training_step"
    return loss


def policy_of_flags(flags: Flags) -> Policy:
    """Return the precision that the flags ask for.

    Raises:
        ConfigurationError: there is none of this name.
    """
    try:
        return policy_of(flags.precision)
    except ValueError as error:
        raise ConfigurationError(f"Trainer({error})") from None


def pieces_of(module: Module, flags: Flags) -> int | None:
    """Return how many steps of time a piece has, where batches are cut along time."""
    return flags.truncated_bptt_steps or module.truncated_bptt_steps


def check_pieces(pieces: int | None, unit_windows: bool, taker: str) -> None:
    """Raises ConfigurationError, in the name of who takes the flags, where batches are cut along time and windows are
    of several batches."""
    if pieces is not None and not unit_windows:
        raise ConfigurationError(
            f"{taker}(truncated_bptt_steps={pieces}): every piece is an update for JAX modules; leave out "
            "accumulate_grad_batches and frequencies."
        )


def check_compiled(module: Module, flags: Flags, hooks: Hooks, taker: str) -> None:
    """Raises ConfigurationError, in the name of who takes the flags, where a module or a flag asks for what a compiled
    step does not have."""
    name = type(module).__name__
    for hook in STEP_HOOKS:
        if getattr(hooks, hook) is not None:
            raise ConfigurationError(
                f"{hook} is overridden, but the steps of {name} are compiled, where no such moment exists: put it "
                "into the optax transformation (optax.chain), or leave it out."
            )
    if not module.automatic_optimization or flags.automatic_optimization is False:
        raise ConfigurationError(
            f"{name}: automatic_optimization=False needs torch; for JAX use functrain_jax.make_step."
        )
    if flags.track_grad_norm not in (-1, "-1"):
        raise ConfigurationError(
            f"{taker}(track_grad_norm={flags.track_grad_norm!r}): not available for JAX modules; leave it at -1."
        )


def always(specs: tuple[Spec, ...]) -> tuple[bool, ...]:
    """Return for each player whether every batch is its turn."""
    return tuple(spec.plan.turn is None for spec in specs)


def has_unit_windows(windows: Schedule, specs: tuple[Spec, ...]) -> bool:
    """Return whether every batch is a window of one for every player."""
    alike = windows == Schedule(1) and all((spec.plan.window or 1) == 1 for spec in specs)
    return alike and all(always(specs))


def leave_unowned(binding: Bindings, specs: tuple[Spec, ...]) -> None:
    """What no optimizer moves counts among the vars, so that a step may write it."""
    if all(spec.owned is not None for spec in specs):
        owned = {name for spec in specs for name in spec.owned or ()}
        binding.leave(sorted(name for name in binding.collect()[0] if name not in owned))
