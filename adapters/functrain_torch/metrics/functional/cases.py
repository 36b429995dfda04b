"""What kind of classification predictions and targets are of: told by their shapes and types, as these functions take
all kinds under one name."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from functrain.trainer.errors import ConfigurationError


class Case(NamedTuple):
    """Predictions and targets of one kind.

    Attributes:
        kind: 'binary'; 'multiclass', of one label an element; 'multilabel', of so many yes or no an element.
        preds: probabilities or scores, or labels; of 'multiclass' with the classes in dimension 1, or labels.
        count: the classes, or the labels; 1 where it is binary.
    """

    kind: Literal["binary", "multiclass", "multilabel"]
    preds: Tensor
    target: Tensor
    count: int

    @property
    def has_several(self) -> bool:
        """Are there several elements a sample?"""
        return self.target.ndim > (2 if self.kind == "multilabel" else 1)


def case_of(
    name: str,
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    threshold: float = 0.5,
    multilabel: bool = False,
    is_multiclass: bool | None = None,
) -> Case:
    """Return which case these are.

    Floats of the targets' shape are probabilities: of a binary case in one dimension, of several labels in more. Floats
    with one dimension more than the targets are scores of classes, which stand in dimension 1. Integers are labels of
    classes, unless `multilabel` or `is_multiclass=False` or `num_classes=1` says that they are yes and no.

    Args:
        name: the function that asks, for errors.
        num_classes: default: what the scores' shape says, or the largest label.

    Raises:
        ConfigurationError: they are of no case, or contradict what was said of them.
    """
    preds, target = _squeezed(preds), _squeezed(target)
    if target.is_floating_point():
        raise ConfigurationError(f"{name}: the targets are {target.dtype}; give labels, as integers or booleans.")
    if not 0.0 < threshold < 1.0:
        raise ConfigurationError(f"{name}(threshold={threshold!r}): must be between 0 and 1.")
    target = target.long()
    are_scores = preds.is_floating_point()
    if preds.shape == target.shape:
        if are_scores and is_multiclass:
            preds, are_scores = (preds >= threshold).long(), False
        are_flags = are_scores or multilabel or is_multiclass is False or num_classes == 1
        if are_flags and target.ndim > 1:
            return Case("multilabel", preds, target, target.shape[1])
        if are_flags:
            return Case("binary", preds, target, 1)
        return Case("multiclass", preds.long(), target, num_classes or _largest(preds, target))
    are_of_classes = are_scores and preds.ndim == target.ndim + 1 and preds.shape[2:] == target.shape[1:]
    if not are_of_classes or preds.shape[0] != target.shape[0]:
        raise ConfigurationError(
            f"{name}: predictions of shape {tuple(preds.shape)} ({preds.dtype}) do not fit targets of shape "
            f"{tuple(target.shape)}; give the same shape, or floats with the classes in dimension 1."
        )
    if num_classes is not None and num_classes != preds.shape[1]:
        raise ConfigurationError(f"{name}(num_classes={num_classes}): the predictions are of {preds.shape[1]} classes.")
    if is_multiclass is False:
        if preds.shape[1] != 2:
            raise ConfigurationError(f"{name}(is_multiclass=False): {preds.shape[1]} classes are not yes and no.")
        return Case("binary", preds[:, 1].flatten(), target.flatten(), 1)
    return Case("multiclass", preds, target, preds.shape[1])


def labels_of(name: str, preds: Tensor, target: Tensor, threshold: float = 0.5) -> tuple[Tensor, Tensor]:
    """Return both as labels, in one dimension: the class of the highest score; yes from the threshold on."""
    case = case_of(name, preds, target, threshold=threshold)
    preds = case.preds
    if preds.ndim == case.target.ndim + 1:
        preds = preds.argmax(dim=1)
    if preds.is_floating_point():
        preds = (preds >= threshold).long()
    return preds.flatten(), case.target.flatten()


def _squeezed(values: Tensor) -> Tensor:
    """Without dimensions of one, but the first."""
    return values.reshape(values.shape[0], *(size for size in values.shape[1:] if size != 1)) if values.ndim else values


def _largest(preds: Tensor, target: Tensor) -> int:
    if not target.numel():
        return 2
    return max(2, int(torch.maximum(preds.max(), target.max())) + 1)
