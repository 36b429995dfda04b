"""What a step moves, kept from before it, so that a run can go back there: tensors are copied, and moved back in place.

Python's containers are kept with what they hold; other objects are what they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from functrain.kernel.state import TrainState
from functrain_torch import metric_states
from functrain_torch.manual import Manual
from functrain_torch.module import LightningModule
from functrain_torch.optimizers import Configured
from functrain_torch.parts import StepParts
from functrain_torch.tree import tree_map


class Holder(Protocol):
    """Whose state is kept. See `functrain_torch.engine.TorchEngine`."""

    module: LightningModule
    state: TrainState | None
    parts: StepParts
    manual: Manual
    automatic: bool

    @property
    def configured(self) -> Configured:
        """The optimizers and schedulers of the module."""
        ...


def keep(engine: Holder, batch: Any) -> tuple[Any, Callable[[], None]]:
    """See `functrain.trainer.adapter.Traits.keep`."""
    state, configured, again = engine.state, engine.configured, engine.parts.reevaluation
    kept, parts = _Kept(), list(engine.module.modules())
    for part in parts:
        kept.take(part._parameters)
        kept.take(part._buffers)
    for optimizer in configured.optimizers:
        kept.take(vars(optimizer))
    gradients = [(p, kept.of(p.grad)) for p in _with_gradients(engine)]
    flags = [(p, p.requires_grad) for p in engine.module.parameters()], [(part, part.training) for part in parts]
    schedulers = [(c.scheduler, copy.deepcopy(c.scheduler.state_dict())) for c in configured.schedulers]
    metrics = metric_states.states(engine.module, copied=True)
    windows = None if again is None else dict(again.windows)
    by_hand = None if engine.automatic else engine.manual.position()

    def restore() -> None:
        engine.state = state
        kept.restore()
        for parameter, gradient in gradients:
            parameter.grad = gradient()
        for parameter, required in flags[0]:
            parameter.requires_grad_(required)
        for part, training in flags[1]:
            part.training = training
        for scheduler, saved in schedulers:
            scheduler.load_state_dict(copy.deepcopy(saved))
        metric_states.load_states(engine.module, metrics)
        if again is not None and windows is not None:
            again.windows = dict(windows)
        if by_hand is not None:
            engine.manual.go_to(by_hand)

    return copied(batch), restore


def _with_gradients(engine: Holder) -> Iterable[Tensor]:
    """The parameters whose gradients are read again: by hand all, else those of open windows."""
    if not engine.automatic:
        return engine.module.parameters()
    players = () if engine.state is None else engine.state.players
    return [p for player in players if player.acc.count for p in player.acc.grads]


class _Kept:
    """Containers and the tensors in them; a tensor that stands in several is copied once."""

    def __init__(self) -> None:
        self._tensors: dict[int, Callable[[], Tensor]] = {}
        self._taken: list[Callable[[], Any]] = []

    def take(self, container: dict[Any, Any]) -> None:
        """Keep what is in a container."""
        self._taken.append(self.of(container))

    def restore(self) -> None:
        """All that was taken is as it was."""
        for restore in self._taken:
            restore()

    def of(self, value: Any) -> Callable[[], Any]:
        """Return what puts a value back, and returns it."""
        if isinstance(value, Tensor):
            if id(value) not in self._tensors:
                self._tensors[id(value)] = _tensor(value)
            return self._tensors[id(value)]
        if isinstance(value, dict):
            return self._dict(value)
        if type(value) is list:
            return self._list(value)
        return lambda: value

    def _dict(self, value: dict[Any, Any]) -> Callable[[], Any]:
        items = [(key, self.of(item)) for key, item in value.items()]

        def restore() -> dict[Any, Any]:
            then = {key: item() for key, item in items}
            value.clear()
            value.update(then)
            return value

        return restore

    def _list(self, value: list[Any]) -> Callable[[], Any]:
        items = [self.of(item) for item in value]

        def restore() -> list[Any]:
            value[:] = [item() for item in items]
            return value

        return restore


def _tensor(tensor: Tensor) -> Callable[[], Tensor]:
    then = tensor.detach().clone()

    def restore() -> Tensor:
        tensor.detach().copy_(then)
        return tensor

    return restore


def copied(batch: Any) -> Any:
    """Return the batch with tensors and arrays of its own, since a step may write into them."""
    if isinstance(batch, np.ndarray):
        return batch.copy()
    if type(batch) in (list, tuple):
        return type(batch)(copied(item) for item in batch)
    if type(batch) is dict:
        return {key: copied(item) for key, item in batch.items()}
    if not isinstance(batch, Tensor | list | tuple | Mapping) and callable(getattr(batch, "clone", None)):
        return batch.clone()
    return tree_map(lambda t: t.detach().clone().requires_grad_(t.requires_grad), batch)
