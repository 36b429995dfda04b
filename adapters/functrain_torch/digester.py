"""Digests of a torch run's state and batches; see `functrain.trainer.digests`. Reads tensors and changes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functrain.trainer.digests import PARTS, WORD, Digests, Layout, tree_digest
from functrain_torch.engine import TorchEngine


class TorchDigester:
    """See `functrain.trainer.digests.Digester`."""

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine
        self._weights: dict[torch.device, Tensor] = {}

    def state(self) -> Digests:
        parts = (self._parameters(), self._variables(), list(self._optimizers()))
        values = [value if isinstance(value, int) else self._digest(value) for part in parts for _, value in part]
        return Digests(_layout(parts), lambda: _read(values))

    def batch(self, batch: Any) -> int:
        return tree_digest(batch, _as_array)

    # what there is, by name

    def _parameters(self) -> list[tuple[str, Any]]:
        return list(self.engine.module.named_parameters())

    def _variables(self) -> list[tuple[str, Any]]:
        return list(self.engine.module.named_buffers())

    def _optimizers(self) -> Iterator[tuple[str, Any]]:
        """Tensors as they are; numbers, such as learning rates, as one digest an optimizer."""
        state = self.engine.state
        for index, optimizer in enumerate(self.engine.configured.optimizers):
            names = {id(parameter): name for name, parameter in self.engine.module.named_parameters()}
            numbers: list[Any] = []
            for group in optimizer.param_groups:
                for key, value in group.items():
                    if isinstance(value, Tensor):
                        yield f"{index}.{key}", value
                    elif key != "params":
                        numbers.append((key, value))
                for parameter in group["params"]:
                    path = names.get(id(parameter), "?")
                    for key, value in optimizer.state.get(parameter, {}).items():
                        if isinstance(value, Tensor):
                            yield f"{index}.{key}.{path}", value
                        else:
                            numbers.append((path, key, value))
            scale = None if state is None else state.players[index].scale
            for value in () if scale is None else scale:
                if isinstance(value, Tensor):
                    yield f"{index}.loss_scale", value
                else:
                    numbers.append(value)
            yield f"{index}.numbers", zlib.crc32(repr(numbers).encode())

    # digests

    @torch.no_grad()
    def _digest(self, tensor: Tensor) -> Tensor:
        words = _words(tensor.detach())
        mixed = words >> 16
        mixed ^= words
        mixed *= self._weights_of(words)
        return mixed.sum(dtype=torch.int32)

    def _weights_of(self, words: Tensor) -> Tensor:
        """Return 1, 3, 5, ..., as many as there are words."""
        n, known = words.numel(), self._weights.get(words.device)
        if known is None or len(known) < n:
            known = torch.arange(n, dtype=torch.int32, device=words.device) * 2 + 1
            self._weights[words.device] = known
        return known[:n]


def _layout(parts: Sequence[list[tuple[str, Any]]]) -> Layout:
    names = {part: tuple(name for name, _ in found) for part, found in zip(PARTS, parts, strict=True)}
    return Layout(names, tuple(_form(value) for found in parts for _, value in found))


def _form(value: Any) -> str:
    return f"{value.dtype}{tuple(value.shape)}" if isinstance(value, Tensor) else ""


def _words(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    flat = tensor.reshape(-1)
    if flat.stride(0) != 1:  # of no element, or of one
        flat = torch.empty_like(flat, memory_format=torch.contiguous_format).copy_(flat)
    if not flat.numel():
        return flat.to(torch.int32)
    size = flat.element_size()
    if size >= 4:
        return flat.view(torch.int32)
    return flat.view(torch.int16 if size == 2 else torch.int8).to(torch.int32)


def _read(values: list[Any]) -> list[int]:
    """Return the digests; one transfer a device."""
    found: list[int] = [value if isinstance(value, int) else 0 for value in values]
    for device in {value.device for value in values if isinstance(value, Tensor)}:
        places = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.device == device]
        for place, value in zip(places, torch.stack([values[i] for i in places]).tolist(), strict=True):
            found[place] = value & WORD
    return found


def _as_array(leaf: Any) -> np.ndarray | None:
    if not isinstance(leaf, Tensor):
        return None
    leaf = leaf.detach().to_dense() if leaf.layout is not torch.strided else leaf.detach()
    leaf = leaf.cpu().resolve_conj().resolve_neg()
    # numpy has no bfloat16, whose bits it can hold all the same.
    return leaf.view(torch.int16).numpy() if leaf.dtype == torch.bfloat16 else leaf.numpy()
