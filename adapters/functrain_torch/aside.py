"""A module's state set aside while other runs train it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from functrain.trainer.module import ModuleBase, set_context
from functrain_torch import metric_states
from functrain_torch.module import LightningModule


@contextmanager
def set_aside(module: LightningModule) -> Iterator[None]:
    """Within it the module has copies of its weights and buffers, and no gradients; afterwards the very tensors,
    gradients, modes, states of optimizers in its attributes and of metric objects, and run of before."""
    parts = [(part, part.training, dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    runs = [(part, part._trainer, part._context) for part in module.modules() if isinstance(part, ModuleBase)]
    tensors = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
    trained = [(parameter, parameter.requires_grad, parameter.grad) for parameter in module.parameters()]
    optimizers = [(optimizer, *_kept(optimizer)) for optimizer in _held_optimizers(module)]
    metrics, enabled = metric_states.states(module, copied=True), torch.is_grad_enabled()
    for parameter, *_ in trained:
        parameter.grad = None
    for tensor, data in tensors:
        tensor.data = data.clone()
    torch.set_grad_enabled(True)
    try:
        yield
    finally:
        torch.set_grad_enabled(enabled)
        for part, training, parameters, buffers in parts:
            part.training = training
            part._parameters.update(parameters)
            part._buffers.update(buffers)
        for tensor, data in tensors:
            tensor.grad, tensor.data = None, data
        for parameter, requires, grad in trained:
            parameter.requires_grad_(requires)
            parameter.grad = grad
        for optimizer, state, groups in optimizers:
            _put_back(optimizer, state, groups)
        metric_states.load_states(module, metrics)
        for part, trainer, context in runs:
            part.trainer = trainer
            set_context(part, context)


def _held_optimizers(module: LightningModule) -> list[Optimizer]:
    """Return the optimizers that are attributes of the module, which `configure_optimizers` may return again."""
    held: list[Any] = []
    for value in vars(module).values():
        held += value if isinstance(value, list | tuple) else [value]
    return [value for value in held if isinstance(value, Optimizer)]


def _kept(optimizer: Optimizer) -> tuple[dict[Any, dict[str, Any]], list[dict[str, Any]]]:
    """Return copies of the state and of the groups' options."""
    state = {key: {name: _copy(value) for name, value in of.items()} for key, of in optimizer.state.items()}
    return state, [{name: _copy(value) for name, value in group.items()} for group in optimizer.param_groups]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else list(value) if isinstance(value, list) else value


def _put_back(optimizer: Optimizer, state: dict[Any, dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    optimizer.state.clear()
    optimizer.state.update(state)
    for group, options in zip(optimizer.param_groups, groups, strict=False):
        group.clear()
        group.update(options)
    del optimizer.param_groups[len(groups) :]
