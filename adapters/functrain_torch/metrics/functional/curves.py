"""Curves over all thresholds, and the areas under them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias

import torch
import torchmetrics.functional.classification as of_torchmetrics
from torch import Tensor
from torchmetrics.utilities.compute import auc as area

from functrain.trainer.errors import ConfigurationError
from functrain_torch.metrics.functional.cases import Case, case_of

Curve: TypeAlias = tuple[Tensor, Tensor, Tensor]
Curves: TypeAlias = tuple[list[Tensor], list[Tensor], list[Tensor]]


def auc(x: Tensor, y: Tensor, reorder: bool = False) -> Tensor:
    """Return the area under a curve, by the trapezoidal rule.

    Args:
        reorder: sort the points by x first.

    Raises:
        ValueError: x neither rises nor falls throughout.
    """
    return area(x, y, reorder=reorder)


def roc(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: int | None = None,
    sample_weights: Sequence[float] | None = None,
) -> Curve | Curves:
    """Return false positive rates, true positive rates and thresholds; of several classes a list each.

    Args:
        preds: probabilities of yes, or scores with the classes in dimension 1.
        pos_label: the label of a yes; 1 where nothing is said.
    """
    return _curve("roc", preds, target, num_classes, pos_label, sample_weights)


def precision_recall_curve(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: int | None = None,
    sample_weights: Sequence[float] | None = None,
) -> Curve | Curves:
    """Return precisions, recalls and thresholds; of several classes a list each. The arguments are those of `roc`."""
    return _curve("precision_recall_curve", preds, target, num_classes, pos_label, sample_weights)


def auroc(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: int | None = None,
    average: str | None = "macro",
    max_fpr: float | None = None,
    sample_weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the area under `roc`.

    Args:
        average: over classes: 'macro', 'weighted' by their samples, or None for each.
        max_fpr: only up to this false positive rate, standardized; of a binary case.
    """
    case = _case("auroc", preds, target, num_classes, pos_label, sample_weights)
    if case.kind == "binary":
        return of_torchmetrics.binary_auroc(case.preds, case.target, max_fpr=max_fpr)
    if max_fpr is not None:
        raise ConfigurationError(f"auroc(max_fpr={max_fpr}): of a binary case only; these are {case.count} classes.")
    return _of_several("auroc", case, average=average)


def average_precision(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    pos_label: int | None = None,
    sample_weights: Sequence[float] | None = None,
) -> Tensor | list[Tensor]:
    """Return the average precision over all recalls; of several classes a list."""
    case = _case("average_precision", preds, target, num_classes, pos_label, sample_weights)
    if case.kind == "binary":
        return of_torchmetrics.binary_average_precision(case.preds, case.target)
    return list(_of_several("average_precision", case, average=None))


def multiclass_roc(
    pred: Tensor, target: Tensor, sample_weight: Sequence[float] | None = None, num_classes: int | None = None
) -> tuple[Curve, ...]:
    """Return `roc` of each class against the others, a curve a class."""
    return tuple(zip(*roc(pred, target, num_classes, None, sample_weight), strict=True))


def multiclass_precision_recall_curve(
    pred: Tensor, target: Tensor, sample_weight: Sequence[float] | None = None, num_classes: int | None = None
) -> Curves:
    """Return `precision_recall_curve` of each class against the others, a list each."""
    found: Any = precision_recall_curve(pred, target, num_classes, None, sample_weight)
    return found


def multiclass_auroc(
    pred: Tensor, target: Tensor, sample_weight: Sequence[float] | None = None, num_classes: int | None = None
) -> Tensor:
    """Return the mean over classes of the area under `roc`."""
    return auroc(pred, target, num_classes, sample_weights=sample_weight)


def auc_decorator() -> Callable[[Callable[..., Any]], Callable[..., Tensor]]:
    """Return a decorator: of a function that returns a curve it makes one that returns the area under it."""

    def decorate(curve: Callable[..., Any]) -> Callable[..., Tensor]:
        @wraps(curve)
        def area_under(*args: Any, **kwargs: Any) -> Tensor:
            x, y = curve(*args, **kwargs)[:2]
            return auc(x, y)

        return area_under

    return decorate


def multiclass_auc_decorator() -> Callable[[Callable[..., Any]], Callable[..., Tensor]]:
    """Return a decorator: of a function that returns a curve a class it makes one that returns the areas."""

    def decorate(curves: Callable[..., Any]) -> Callable[..., Tensor]:
        @wraps(curves)
        def areas_under(*args: Any, **kwargs: Any) -> Tensor:
            return torch.stack([auc(x, y) for x, y, *_ in curves(*args, **kwargs)])

        return areas_under

    return decorate


def _case(
    name: str, preds: Tensor, target: Tensor, num_classes: int | None, pos_label: int | None, weights: Any
) -> Case:
    if weights is not None:
        raise ConfigurationError(f"{name}(sample_weights=...): torchmetrics has no weights of samples here.")
    if not preds.is_floating_point():
        preds = preds.float()
    if num_classes == 1:
        num_classes = None
    if pos_label not in (None, 1) and preds.shape == target.shape:
        target = (target == pos_label).long()
    return case_of(name, preds, target, None if preds.shape == target.shape else num_classes)


def _curve(
    name: str, preds: Tensor, target: Tensor, num_classes: int | None, pos_label: int | None, weights: Any
) -> Any:
    case = _case(name, preds, target, num_classes, pos_label, weights)
    if case.kind == "binary":
        return getattr(of_torchmetrics, f"binary_{name}")(case.preds, case.target)
    return _of_several(name, case)


def _of_several(name: str, case: Case, **more: Any) -> Any:
    return getattr(of_torchmetrics, f"{case.kind}_{name}")(case.preds, case.target, case.count, **more)
