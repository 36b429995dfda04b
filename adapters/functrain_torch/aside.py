"""A module's state set aside while other runs train it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from functrain.trainer.module import ModuleBase, set_context
from functrain_torch import metric_states
from functrain_torch.module import LightningModule


@contextmanager
def set_aside(module: LightningModule) -> Iterator[None]:
    """Within it the module has copies of its weights and buffers, and no gradients; afterwards the very tensors,
    gradients, modes, states of metric objects and run of before."""
    parts = [(part, part.training, dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    runs = [(part, part._trainer, part._context) for part in module.modules() if isinstance(part, ModuleBase)]
    tensors = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
    trained = [(parameter, parameter.requires_grad, parameter.grad) for parameter in module.parameters()]
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
        metric_states.load_states(module, metrics)
        for part, trainer, context in runs:
            part.trainer = trainer
            set_context(part, context)
