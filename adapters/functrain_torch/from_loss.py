"""The training step as a function, of a loss function and an optimizer: without a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from functrain.kernel.backend import Backend
from functrain.kernel.epoch import tbptt as kernel_tbptt
from functrain.kernel.scale import Clip, ScaleRule
from functrain.kernel.state import Accumulator, LossScale, Player, TrainState
from functrain.kernel.step import Rule, Rules
from functrain.kernel.step import step as kernel_step
from functrain.trainer.functional import LossStep, StepReport, check_loss_step
from functrain.trainer.step_outputs import apart
from functrain_torch.backend import TorchBackend
from functrain_torch.optimizers import Configured, learning_rates
from functrain_torch.precision import precision as policy_of
from functrain_torch.tree import batch_size, detached, split_batch, split_time


def make_step(
    loss_fn: Callable[..., Any],
    optimizer: Callable[[Any], torch.optim.Optimizer],
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    precision: Any = "32",
    loss_scale: ScaleRule | float | None = None,
    tbptt: int | None = None,
    donate: bool = True,
    skip_nonfinite: bool = False,
) -> LossStep:
    """Return a training step from a loss function and an optimizer.

    Args:
        loss_fn: `loss_fn(params, batch)` returns a scalar loss; or a dict with 'loss' and optional 'weight' (the loss
            is a mean over so many samples), 'vars', 'hiddens', whose other entries are in `report.logged`; or
            `(loss, aux)` with a dict of such entries. Of a window they are those of its last micro-batch. Arguments
            named `vars` and `hiddens` are handed what was carried.
        optimizer: makes the optimizer of the parameters: `lambda params: torch.optim.AdamW(params, 1e-3)`.
        accumulate: micro-batches an update. A batch is cut along its first axis; a list is taken as the micro-batches.
        clip_norm, clip_value: bounds on the norm of the mean gradient, and on its components.
        precision: '32', '64', '16' or 'bf16'.
        loss_scale: a rule, or a constant; default: the precision's own.
        tbptt: cut batches along time, their second axis, into pieces of so many steps; an update a piece.
        donate: False copies the state first: the old one stays valid, the same call twice returns the same bits, and
            the global random state does not move.
        skip_nonfinite: skip updates whose gradient is not finite even without a loss scale.

    Returns:
        The triple (init, step, epoch). `init(params, vars=None)` takes a module, or a dict of tensors, which are
        copied. `step` returns a `StepReport`, with tbptt a list of reports, one an update; `epoch` a list of what
        steps return.

    Raises:
        ConfigurationError: an option that cannot be.
    """
    check_loss_step(loss_fn, optimizer, "__call__", accumulate=accumulate, tbptt=tbptt)
    policy = policy_of(precision)
    if isinstance(loss_scale, int | float):
        loss_scale = ScaleRule(init=float(loss_scale), growth=1.0, backoff=1.0)
    scale = loss_scale or policy.scale
    rules = (Rule(Clip(norm=clip_norm, value=clip_value), scale, skip_nonfinite),)
    seen: dict[str, Any] = {}
    backend = TorchBackend(
        _forward(loss_fn, tbptt is not None, seen),
        partial(policy.context, "cpu") if policy.autocast is not None else None,
    )

    def init(params: nn.Module | Mapping[str, Tensor], vars: Any = None) -> TrainState:
        params, moved = _parameters(params, policy.dtype)
        if policy.autocast is not None:
            backend.context = partial(policy.context, moved[0].device.type)
        player = Player(optimizer(moved), Accumulator(moved), None if scale is None else LossScale(scale.init))
        return TrainState(params, (player,), vars, rng=None if donate else torch.get_rng_state())

    def update(
        backend: Backend[Any], rules: Rules, state: TrainState, window: Sequence[Any]
    ) -> tuple[TrainState, StepReport]:
        seen.clear()
        rates = learning_rates(Configured([state.players[0].opt], [], []))
        state, reports = kernel_step(backend, rules, state, window)
        return state, StepReport(reports, dict(seen), rates)

    def run(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        if tbptt is not None:
            return kernel_tbptt(backend, rules, state, split_time(batch, tbptt), accumulate, update)
        if isinstance(batch, list):
            window = batch
        else:
            window = _weighted(split_batch(batch, accumulate) if accumulate > 1 else [batch])
        return update(backend, rules, state, window)

    def pure(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        state = backend.copy(state)
        with torch.random.fork_rng():
            torch.set_rng_state(state.rng)
            state, report = run(state, batch)
            return state._replace(rng=torch.get_rng_state()), report

    step = run if donate else pure
    return LossStep(init, step, lambda state, batches: backend.scan(step, state, batches))


class _Sized(NamedTuple):
    """A micro-batch of a batch that was cut: its loss is a mean over its own samples, so it weighs as many."""

    batch: Any
    weight: int


def _weighted(window: list[Any]) -> list[Any]:
    sizes = [batch_size(batch) or 1 for batch in window]
    if len(set(sizes)) == 1:
        return window
    return [_Sized(batch, size) for batch, size in zip(window, sizes, strict=True)]


def _forward(loss_fn: Callable[..., Any], tbptt: bool, seen: dict[str, Any]) -> Callable[[TrainState, Any, int], Any]:
    """Call the loss function with those of the extra arguments that its signature names, and put into `seen` what it
    returns beside the loss."""
    names = inspect.signature(loss_fn).parameters
    called = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    takes_vars, takes_hiddens = "vars" in names, "hiddens" in names

    def forward(state: TrainState, batch: Any, player: int) -> Any:
        weight = None
        if isinstance(batch, _Sized):
            batch, weight = batch
        extras: dict[str, Any] = {}
        if takes_vars:
            extras["vars"] = state.vars
        if takes_hiddens:
            extras["hiddens"] = state.hidden
        output, aux = apart(loss_fn(state.params, batch, **extras), tbptt, called)
        seen.clear()
        seen.update(detached(aux))
        has_a_weight = weight is None or (isinstance(output, dict) and "weight" in output)
        if has_a_weight:
            return output
        return {**(output if isinstance(output, dict) else {"loss": output}), "weight": weight}

    return forward


def _parameters(params: Any, dtype: torch.dtype | None) -> tuple[Any, tuple[Tensor, ...]]:
    """Return the parameters as the loss function gets them, and the tensors among them that are trained."""
    if isinstance(params, nn.Module):
        params = params.to(dtype) if dtype is not None else params
        return params, tuple(p for p in params.parameters() if p.requires_grad)
    copied = {
        name: (t.detach().to(dtype) if dtype is not None else t.detach().clone()).requires_grad_()
        for name, t in params.items()
    }
    return copied, tuple(copied.values())
