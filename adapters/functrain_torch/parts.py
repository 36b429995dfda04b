"""What a training step of a module is made of, without a Trainer: an engine and a pure step share it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from functrain.kernel.plan import Plan
from functrain.kernel.scale import Clip
from functrain.kernel.state import Accumulator, LossScale, Player, TrainState
from functrain.kernel.step import Rule, Rules
from functrain.trainer.configured import require
from functrain.trainer.context import Context
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.hooks import Hooks
from functrain.trainer.planning import clip, make_plan, windows_of
from functrain.trainer.spans import Span, unmeasured
from functrain_torch.backend import MakesContext, TorchBackend
from functrain_torch.closure import Reevaluation
from functrain_torch.device import choose_device
from functrain_torch.family import Family
from functrain_torch.hooked import HookedBackend, is_hooked, looks
from functrain_torch.idle import NoOptimizer
from functrain_torch.module import LightningModule
from functrain_torch.optimizers import Configured, needs_closure, parameters_of, parse_optimizers
from functrain_torch.precision import Precision, precision
from functrain_torch.schedulers import Schedulers
from functrain_torch.steps import training_forward
from functrain_torch.strategy import OneDevice, Strategy
from functrain_torch.surrounded import NO_EXTRAS, StepExtras, SurroundedBackend
from functrain_torch.toggle import Toggle


class StepParts(NamedTuple):
    """What steps of one module are made of: `kernel.step(backend, rules, state, window)`, from `init()` on.

    Attributes:
        init: returns the first state, which holds the module itself.
        plan: the plan of a fit with epochs of so many batches; None where their number is unknown.
        configured: the optimizers and schedulers that `configure_optimizers` returned.
        schedulers: to be told of every update and of every epoch's end.
        toggle: freezes the parameters of all optimizers but one.
        reevaluation: runs windows again; None where no optimizer and no hook asks for it.
    """

    backend: TorchBackend
    rules: Rules
    init: Callable[[], TrainState]
    plan: Callable[[int | None], Plan]
    configured: Configured
    schedulers: Schedulers
    toggle: Toggle
    reevaluation: Reevaluation | None


def step_parts(
    module: LightningModule,
    flags: Flags,
    context: Context,
    *,
    hooks: Hooks | None = None,
    strategy: Strategy | None = None,
    configured: Configured | None = None,
    span: Span = unmeasured,
) -> StepParts:
    """Make the parts: call `configure_optimizers`, and resolve once what would cost at every step.

    Args:
        context: what `module.global_step`, `module.current_epoch` and `module.log` look at.
        hooks: the hooks of the step; default: the module's own.
        strategy: where a module lives that was put there; default: put it where the flags say.
        configured: the optimizers and schedulers; default: what `configure_optimizers` returns.
        span: returns what is called in place of the parts of a step; see `Run.span`.

    Raises:
        ConfigurationError: the module lacks what a training step needs, or its optimizers do not fit it.
    """
    hooks = Hooks(None, module, (), None, Unnamed()) if hooks is None else hooks
    policy, strategy = precision(flags.precision), strategy or placed(module, flags)
    family = Family(module)
    family.look_at(context)
    automatic = is_automatic(module, flags)
    configured = configure(module, automatic) if configured is None else configured
    optimizers, hooked = configured.optimizers, looks(hooks, flags)
    # A hook that looks at gradients sees unscaled means before clipping: then the backend clips, after it.
    rules = tuple(Rule(Clip() if hooked else clip(flags), policy.scale) for _ in optimizers)
    forward, makes_context = training_forward(module), context_of(policy, strategy, automatic)
    toggle, reevaluation = Toggle(optimizers), None
    if hooks.optimizer_step is not None or any(map(needs_closure, optimizers)):
        reevaluation = Reevaluation(rules, hooks.optimizer_step, policy.autocast is not None, family.silent)
    around = StepExtras(toggle if len(optimizers) > 1 else None, reevaluation)
    if is_hooked(hooks, flags):
        backend: TorchBackend = HookedBackend(module, forward, makes_context, strategy, hooks, flags, span, around)
    elif strategy.travels or around != NO_EXTRAS:
        backend = SurroundedBackend(forward, makes_context, strategy, span, around)
    else:
        backend = TorchBackend(forward, makes_context, strategy, span)
    schedulers = Schedulers(configured.schedulers if automatic else (), hooks.lr_scheduler_step)

    def init() -> TrainState:
        return TrainState(module, tuple(_player(optimizer, policy) for optimizer in optimizers))

    def plan(batches: int | None) -> Plan:
        return make_plan(flags, batches, configured.players(), (), windows_of(flags, ()))

    return StepParts(backend, rules, init, plan, configured, schedulers, toggle, reevaluation)


class Unnamed:
    """Whoever keeps no metrics need not know in which hook they are logged."""

    def in_hook(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the very call."""
        return call


def is_automatic(module: LightningModule, flags: Flags) -> bool:
    """Return whether the optimizers are stepped for the module. Both may say that they are not."""
    return module.automatic_optimization and flags.automatic_optimization is not False


def placed(module: LightningModule, flags: Flags) -> Strategy:
    """Put a module where the flags say, in the precision's dtype. Returns where that is."""
    strategy, policy = OneDevice(choose_device(flags)), precision(flags.precision)
    if policy.dtype is not None:
        module.to(policy.dtype)
    strategy.prepare(module)
    return strategy


def context_of(policy: Precision, strategy: Strategy, automatic: bool) -> MakesContext | None:
    """Return what makes the context of a forward pass; None where there is nothing to set.

    By hand, weights change anywhere within a step, in ways that nobody is told of: then no cast of them is kept.
    """
    if policy.autocast is None and policy.dtype is None:
        return None
    return partial(policy.context, strategy.device.type, keep_casts=automatic)


def configure(module: LightningModule, automatic: bool) -> Configured:
    """Return the optimizers and schedulers of a module, checked.

    Raises:
        ConfigurationError: a method is missing, there is no optimizer where one is needed, or it has parameters of
            another module.
    """
    name = type(module).__name__
    require(module, "training_step", "configure_optimizers")
    given = module.configure_optimizers()
    if given is None and automatic:
        warnings.warn(
            f"{name}.configure_optimizers returned None: the run goes on, and nothing is trained.",
            UserWarning,
            stacklevel=2,
        )
        given = NoOptimizer(list(module.parameters()))
    configured = parse_optimizers(given, name)
    if not configured.optimizers and automatic:
        raise ConfigurationError(
            f"{name}.configure_optimizers returned no optimizer; return one, or set automatic_optimization=False to do "
            "without."
        )
    _check_parameters(module, configured, name)
    return configured


def _check_parameters(module: LightningModule, configured: Configured, name: str) -> None:
    """Every trainable parameter has an optimizer, and every optimizer's parameter is the module's."""
    own = {id(p) for p in module.parameters()}
    moved = {id(p) for optimizer in configured.optimizers for p in parameters_of(optimizer)}
    moves_others_only = configured.optimizers and not own & moved and own
    if moves_others_only:
        raise ConfigurationError(
            f"{name}.configure_optimizers: the optimizer has none of the module's parameters; was it made of a copy?"
        )
    left = [path for path, p in module.named_parameters() if p.requires_grad and id(p) not in moved]
    if left and configured.optimizers:
        warnings.warn(
            f"{name}: no optimizer trains {', '.join(left[:5])}{' and more' if len(left) > 5 else ''}; give these "
            "parameters to an optimizer, or set requires_grad=False to freeze them.",
            UserWarning,
            stacklevel=2,
        )


def _player(optimizer: object, policy: Precision) -> Player:
    # A frozen parameter may be unfrozen later, so all of them are among its gradients.
    gradients = Accumulator(tuple(parameters_of(optimizer)))
    return Player(optimizer, gradients, None if policy.scale is None else LossScale(policy.scale.init))
