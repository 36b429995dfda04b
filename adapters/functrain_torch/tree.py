"""Batches as trees: tensors in tuples, lists, dicts, named tuples and dataclasses, or objects with a `.to`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def tree_map(f: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the same tree with f applied to every tensor; everything else as it is."""
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, PackedSequence):
        parts = [None if part is None else f(part) for part in tree]
        return PackedSequence(*parts)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(f, item) for item in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(f, item) for item in tree)
    if isinstance(tree, Mapping):
        return type(tree)({key: tree_map(f, item) for key, item in tree.items()})  # type: ignore[call-arg]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        parts = {field.name: tree_map(f, getattr(tree, field.name)) for field in dataclasses.fields(tree) if field.init}
        return dataclasses.replace(tree, **parts)
    return tree


def detached(tree: Any) -> Any:
    """Return the same tree, its tensors cut off from the graph."""
    return tree_map(Tensor.detach, tree)


def tensors(tree: Any) -> list[Tensor]:
    """Return all tensors of a tree, in order."""
    found: list[Tensor] = []
    tree_map(lambda t: found.append(t) or t, tree)  # type: ignore[func-returns-value]
    return found


def move(tree: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Return the tree on a device, its floating-point tensors of this dtype where one is given."""

    def to(t: Tensor) -> Tensor:
        t = t.to(device, non_blocking=t.is_pinned() if device.type == "cuda" else False)
        return t.to(dtype) if dtype is not None and t.is_floating_point() else t

    if not isinstance(tree, Tensor | list | tuple | Mapping) and hasattr(tree, "to"):
        return tree.to(device)
    return tree_map(to, tree)


def batch_size(batch: Any) -> int | None:
    """Return the number of samples: the first axis of the first tensor or array that has one, wherever it is in the
    batch, or the length of a list of scalar tensors or of sequences of several lengths; None where there is no
    tensor."""
    return _size(batch, ())


def _size(tree: Any, above: tuple[int, ...]) -> int | None:
    """As `batch_size`; `above` are the objects that this one is found in, since objects may point back."""
    if isinstance(tree, Tensor | np.ndarray):
        return tree.shape[0] if tree.ndim else None
    if isinstance(tree, PackedSequence):
        return int(tree.batch_sizes[0])
    if isinstance(tree, list | tuple):
        if tree and isinstance(tree[0], Tensor):
            if tree[0].ndim:
                return len(tree) if _ragged(tree) else tree[0].shape[0]
            if all(isinstance(t, Tensor) and not t.ndim for t in tree):
                return len(tree)
        parts: Iterable[Any] = tree
    else:
        parts = _parts(tree)
    if id(tree) in above:
        return None
    sizes = (_size(part, (*above, id(tree))) for part in parts if not isinstance(part, NO_BATCH))
    return next((size for size in sizes if size is not None), None)


NO_BATCH = (str, bytes, bool, int, float, complex, type(None), type, nn.Module)
"""What holds no samples."""


def _parts(tree: Any) -> Iterable[Any]:
    """Return what is in an object: a mapping's values, a dataclass's fields, else its attributes (as tokenizers and
    graphs have them)."""
    if isinstance(tree, Mapping):
        return tree.values()
    if callable(tree) or isinstance(tree, NO_BATCH):
        return ()
    slots = (slot for kind in type(tree).__mro__ for slot in _names(getattr(kind, "__slots__", ())))
    own = [getattr(tree, slot) for slot in slots if hasattr(tree, slot) and slot != "__dict__"]
    return [*own, *getattr(tree, "__dict__", {}).values()]


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _ragged(items: Any) -> bool:
    """Tensors that differ along their first axis only: sequences of several lengths, not the parts of a batch."""
    first = items[0]
    is_regular = len(items) == 1 or not isinstance(items[1], Tensor) or items[1].ndim != first.ndim
    if is_regular:
        return False
    alike = all(isinstance(t, Tensor) and t.shape[1:] == first.shape[1:] for t in items)
    return alike and len({t.shape[0] for t in items}) > 1


def split_time(batch: Any, size: int) -> list[Any]:
    """Return a batch cut along time, its second axis, into pieces of `size`; the last one may be shorter.

    Tensors of one axis, and anything that is no tensor, go into every piece as they are.

    Raises:
        ValueError: no tensor has a second axis, or they differ in length.
    """
    lengths = {t.shape[1] for t in tensors(batch) if t.ndim > 1}
    if len(lengths) != 1:
        raise ValueError(
            f"truncated_bptt_steps={size}: the batch's tensors have {sorted(lengths) or 'no'} time steps (axis 1); "
            "they need one common length. Override tbptt_split_batch to cut it yourself."
        )
    return [
        tree_map(lambda t, at=at: t[:, at : at + size] if t.ndim > 1 else t, batch)
        for at in range(0, lengths.pop(), size)
    ]


def split_batch(batch: Any, parts: int) -> list[Any]:
    """Return a batch cut along its first axis into so many micro-batches, as even as can be."""
    pieces = [list(torch.tensor_split(t, parts)) for t in tensors(batch)]
    if pieces and any(not piece.shape[0] for piece in pieces[0]):
        raise ValueError(f"accumulate={parts}: the batch has only {sum(p.shape[0] for p in pieces[0])} samples.")

    def part(i: int) -> Any:
        column = iter(pieces)
        return tree_map(lambda _: next(column)[i], batch)

    return [part(i) for i in range(parts)]
