"""The sums that digests of tensors are, over many tensors in few operators; see `functrain.trainer.digests`. Nothing
here waits for a device before it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from functrain.trainer.digests import BLOCK, WORD, odd

SMALL = 4096
"""Tensors of at most so many words are put behind one another, and summed at once."""

ROW = 256
"""There each begins a row of so many words."""

UPPER = 0xFFFF


class Piece(NamedTuple):
    """A block of a tensor's words, and the number of the block."""

    words: Tensor
    number: int


class Sums:
    """The digests of these tensors, as often as they are asked for, as long as each stays in its place in memory."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.count = len(tensors)
        devices = {tensor.device for tensor in tensors}
        self.devices = [
            OfDevice(device, [(i, t) for i, t in enumerate(tensors) if t.device == device]) for device in devices
        ]

    def begin(self) -> Callable[[], list[int]]:
        """Begin to compute the digests of the present values. Return what waits for them, and gives them."""
        under_way = [device.begin() for device in self.devices]

        def read() -> list[int]:
            found = [0] * self.count
            for device, sums in zip(self.devices, under_way, strict=True):
                for place, digest in device.read(sums):
                    found[place] = digest
            return found

        return read


class OfDevice:
    """The same of the tensors of one device, each with its place among all."""

    def __init__(self, device: torch.device, tensors: list[tuple[int, Tensor]]) -> None:
        # Views are the tensors' own memory; of others the words are made anew each time.
        self.views = {i: view for i, tensor in tensors if (view := _view(tensor)) is not None}
        self.others = [(i, tensor) for i, tensor in tensors if i not in self.views]
        small = {i: view for i, view in self.views.items() if view.numel() <= SMALL}
        self.large = [(i, piece) for i, view in self.views.items() if i not in small for piece in _pieces(view)]
        self.small, self.sources = list(small), list(small.values())
        self.rows = [-(-view.numel() // ROW) for view in self.sources]
        words = sum(self.rows) * ROW
        self.gathered = torch.zeros(words, dtype=torch.int32, device=device)
        starts = np.cumsum([0, *self.rows]) * ROW
        pairs = zip(starts.tolist(), self.sources, strict=False)
        self.slots = [self.gathered[start : start + view.numel()] for start, view in pairs]
        longest = max(min(max(tensor.numel(), 1) * 4, BLOCK) for _, tensor in tensors)
        self.weights = torch.from_numpy(odd(np.arange(longest, dtype=np.uint32)).view(np.int32)).to(device)
        self.room = torch.empty(max(longest, words), dtype=torch.int32, device=device)
        self.ordered = torch.zeros(words, dtype=torch.int32, device=device)
        for start, view in zip(starts.tolist(), self.sources, strict=False):
            self.ordered[start : start + view.numel()] = self.weights[: view.numel()]
        self.pairs = [(piece.words, *self._beside(piece)) for _, piece in self.large]

    def _beside(self, piece: Piece) -> tuple[Tensor, Tensor]:
        n = piece.words.numel()
        return self.room[:n], self.weights[:n]

    def begin(self) -> tuple[Tensor | None, list[Tensor], list[tuple[int, int, Tensor]]]:
        """Begin to compute: the rows' sums of what is small, those of the blocks of what is large, and of others."""
        rows = None
        if self.sources:
            torch._foreach_copy_(self.slots, self.sources)  # pyright: ignore[reportPrivateImportUsage]
            room = self.room[: self.gathered.numel()]
            rows = _mixed(self.gathered, room, self.ordered).view(-1, ROW).sum(1, dtype=torch.int32)
        large = [_mixed(*each).sum(dtype=torch.int32) for each in self.pairs]
        others: list[tuple[int, int, Tensor]] = []
        for place, tensor in self.others:
            for piece in _pieces(_words(tensor)):
                mixed = _mixed(piece.words, *self._beside(piece))
                others.append((place, piece.number, mixed.sum(dtype=torch.int32)))
        return rows, large, others

    def read(self, sums: tuple[Tensor | None, list[Tensor], list[tuple[int, int, Tensor]]]) -> list[tuple[int, int]]:
        """Wait for what was begun. Return the digests, each with its tensor's place."""
        rows, large, others = sums
        numbers = [(place, piece.number) for place, piece in self.large]
        numbers += [(place, number) for place, number, _ in others]
        blocks = [*large, *(block for _, _, block in others)]
        found = dict.fromkeys((place for place, _ in numbers), 0)
        if blocks:
            weights = odd(np.array([number for _, number in numbers], np.uint32)).tolist()
            for (place, _), weight, block in zip(numbers, weights, torch.stack(blocks).tolist(), strict=True):
                found[place] += weight * block
        if rows is not None:
            values, start = rows.tolist(), 0
            for place, count in zip(self.small, self.rows, strict=True):
                found[place], start = sum(values[start : start + count]), start + count
        return [(place, digest & WORD) for place, digest in found.items()]


def _mixed(words: Tensor, room: Tensor, weights: Tensor) -> Tensor:
    """Return the words, each mixed and times its weight, in `room`."""
    torch.bitwise_right_shift(words, 16, out=room)
    room &= UPPER  # torch's shift keeps the sign
    room ^= words
    room *= weights
    return room


def _pieces(words: Tensor) -> list[Piece]:
    return [Piece(block, number) for number, block in enumerate(words.split(BLOCK))] if words.numel() else []


def _view(tensor: Tensor) -> Tensor | None:
    """Return a tensor's memory as words; None where that is not what its words are."""
    plain = tensor.layout is torch.strided and not tensor.is_conj() and not tensor.is_neg()
    has_other_words = not plain or not tensor.is_contiguous() or tensor.element_size() < 4 or not tensor.numel()
    if has_other_words:
        return None
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.reshape(-1).view(torch.int32)


def _words(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    flat = tensor.resolve_neg().reshape(-1)
    if not flat.numel():
        return flat.to(torch.int32)
    flat = flat.contiguous()
    if flat.stride(0) != 1:  # of one element
        flat = torch.empty_like(flat, memory_format=torch.contiguous_format).copy_(flat)
    size = flat.element_size()
    if size >= 4:
        return flat.view(torch.int32)
    return flat.view(torch.int16 if size == 2 else torch.int8).to(torch.int32)
