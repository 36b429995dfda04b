"""Digests of a torch run's state and batches; see `functrain.trainer.digests`. Reads tensors and changes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from functrain.trainer.digests import PARTS, Digests, Layout, tree_digest
from functrain_torch.engine import TorchEngine
from functrain_torch.sums import Sums

Slot = tuple[dict[Any, Any], Any, Any]
"""A dict, a key of it, and what stands there."""


class TorchDigester:
    """See `functrain.trainer.digests.Digester`."""

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine
        self._held: HeldTensors | None = None

    def state(self) -> Digests:
        held = self._held
        if held is None or not held.is_so():
            held = self._held = HeldTensors(self.engine)
        numbers = [_number_digest(optimizer) for optimizer in self.engine.configured.optimizers]
        scales, read = self._scales(), held.sums.begin()
        read_scales = Sums(scales).begin() if scales else list[int]
        return Digests(held.layout(scales), lambda: [*read(), *read_scales(), *numbers])

    def batch(self, batch: Any) -> int:
        return tree_digest(batch, _as_array)

    def _scales(self) -> list[Tensor]:
        """Loss scales, which an update replaces."""
        players = () if self.engine.state is None else self.engine.state.players
        return [torch.as_tensor(value) for player in players for value in player.scale or ()]


class HeldTensors:
    """The tensors of a run's state by name, as far as they stay the same objects from row to row."""

    def __init__(self, engine: TorchEngine) -> None:
        module, optimizers = engine.module, engine.configured.optimizers
        paths = {id(parameter): name for name, parameter in module.named_parameters()}
        found = {
            "parameters": list(module.named_parameters()),
            "variables": list(module.named_buffers()),
            "optimizer": [each for i, optimizer in enumerate(optimizers) for each in _tensors(i, optimizer, paths)],
        }
        tensors = [tensor for part in PARTS for _, tensor in found[part]]
        self._names = {part: tuple(name for name, _ in found[part]) for part in PARTS}
        self._forms = tuple(map(_form, tensors))
        self._numbers = tuple(f"{index}.numbers" for index in range(len(optimizers)))
        self._layout: Layout | None = None
        self.sums = Sums([tensor.detach() for tensor in tensors])
        self._tensors, self._at = tensors, [_address(tensor) for tensor in tensors]
        self._dicts = list(_dicts(module, optimizers))
        self._sizes = list(map(len, self._dicts))
        self._entries: list[Slot] = [(d, key, value) for d in self._dicts for key, value in d.items() if _kept(value)]

    def layout(self, scales: list[Tensor]) -> Layout:
        """Return names and forms of all, of so many loss scales too, and of what optimizers hold beside tensors."""
        if self._layout is None:
            of_scales = tuple(f"loss_scale.{index}" for index in range(len(scales)))
            names = {**self._names, "optimizer": (*self._names["optimizer"], *of_scales, *self._numbers)}
            self._layout = Layout(names, (*self._forms, *map(_form, scales), *("" for _ in self._numbers)))
        return self._layout

    def is_so(self) -> bool:
        """Return whether the state is still made of the same tensors, each in its place in memory."""
        if list(map(len, self._dicts)) != self._sizes:
            return False
        return all(d.get(key) is value for d, key, value in self._entries) and self._at == [
            _address(tensor) for tensor in self._tensors
        ]


def _dicts(module: torch.nn.Module, optimizers: Iterable[Optimizer]) -> Iterator[dict[Any, Any]]:
    """Yield the dicts from which the state can be reached."""
    for part in module.modules():
        yield from (part._modules, part._parameters, part._buffers)
    for optimizer in optimizers:
        yield optimizer.state
        yield from optimizer.state.values()
        yield from optimizer.param_groups


def _kept(value: Any) -> bool:
    return value is None or isinstance(value, Tensor | torch.nn.Module | dict)


def _tensors(index: int, optimizer: Optimizer, paths: dict[int, str]) -> Iterator[tuple[str, Tensor]]:
    for group in optimizer.param_groups:
        yield from ((f"{index}.{key}", value) for key, value in group.items() if isinstance(value, Tensor))
        for parameter in group["params"]:
            path = paths.get(id(parameter), "?")
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield f"{index}.{key}.{path}", value


def _number_digest(optimizer: Optimizer) -> int:
    """Return what stands for all that an optimizer holds beside tensors, such as learning rates."""
    numbers: list[Any] = []
    for group in optimizer.param_groups:
        numbers += [item for item in group.items() if item[0] != "params" and not isinstance(item[1], Tensor)]
    for state in optimizer.state.values():
        numbers += [item for item in state.items() if not isinstance(item[1], Tensor)]
    return zlib.crc32(repr(numbers).encode())


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype}{tuple(tensor.shape)}"


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr() if tensor.layout is torch.strided else 0


def _as_array(leaf: Any) -> np.ndarray | None:
    if not isinstance(leaf, Tensor):
        return None
    try:
        return leaf.numpy()
    except (TypeError, RuntimeError):  # not on the host, or in a form that numpy does not know
        leaf = leaf.detach().to_dense() if leaf.layout is not torch.strided else leaf.detach()
        leaf = leaf.cpu().resolve_conj().resolve_neg()
        # numpy has no bfloat16, whose bits it can hold all the same.
        return leaf.view(torch.int16).numpy() if leaf.dtype == torch.bfloat16 else leaf.numpy()
