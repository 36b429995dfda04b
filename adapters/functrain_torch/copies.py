"""Exact copies of a module with its optimizers and schedulers, which belong together as the old ones do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from functrain_torch.optimizers import Configured


def copied(module: nn.Module, configured: Configured | None) -> tuple[Any, Configured | None]:
    """Return a copy of the module, gradients and all, and of its optimizers and schedulers, which move the copy.

    Hooks that users have registered with optimizers are those of the copy too.
    """
    memo: dict[int, Any] = {}
    optimizers = [] if configured is None else configured.optimizers
    for optimizer in optimizers:
        # Whatever refers to it (a module, a scheduler) refers to the copy, which is filled below.
        memo[id(optimizer)] = object.__new__(type(optimizer))
    for tensor in _computed(module):
        # What a module has kept of a forward pass cannot be differentiated again.
        memo[id(tensor)] = tensor.detach().clone()
    new = copy.deepcopy(module, memo)
    for old, fresh in zip(module.parameters(), new.parameters(), strict=True):
        fresh.grad = None if old.grad is None else old.grad.detach().clone()
    if configured is None:
        return new, None
    for optimizer in optimizers:
        _fill(memo[id(optimizer)], optimizer, memo)
    schedulers = [copy.deepcopy(config, memo) for config in configured.schedulers]
    return new, Configured([memo[id(optimizer)] for optimizer in optimizers], schedulers, configured.turns)


def _fill(new: Optimizer, old: Optimizer, memo: dict[int, Any]) -> None:
    """Make `new` a copy of `old`, all its attributes included: torch's own copies of optimizers lack those that it does
    not know of, as LBFGS's."""
    attributes: dict[str, Any] = dict(vars(old))
    watched = hasattr(attributes.get("step"), "_wrapped_by_lr_sched")
    if watched:
        del attributes["step"]  # bound to the old one by a scheduler, which looks whether steps are taken
    vars(new).update(copy.deepcopy(attributes, memo))
    if watched:
        vars(new)["step"] = _watched(new)


def _watched(optimizer: Optimizer) -> Any:
    """Return its step, which tells schedulers that it was taken."""
    step = type(optimizer).step

    @wraps(step)
    def taken(*args: Any, **kwargs: Any) -> Any:
        vars(optimizer)["_opt_called"] = True
        return step(optimizer, *args, **kwargs)

    vars(taken)["_wrapped_by_lr_sched"] = True
    return taken


def _computed(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors among the attributes of a module's parts that a computation gave, with its graph."""
    for part in module.modules():
        for value in vars(part).values():
            yield from _among(value)


def _among(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if not value.is_leaf:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _among(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _among(item)


class TorchSettings:
    """torch's own settings, which a step may set for its time."""

    def __enter__(self) -> None:
        cudnn = torch.backends.cudnn
        self.grad = torch.is_grad_enabled()
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.warns = torch.is_deterministic_algorithms_warn_only_enabled()
        self.cudnn = cudnn.deterministic, cudnn.benchmark
        torch.set_grad_enabled(True)

    def __exit__(self, *_: object) -> None:
        torch.set_grad_enabled(self.grad)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warns)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = self.cudnn
