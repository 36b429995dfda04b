"""Metric classes that keep every prediction: curves, and what needs all of the data."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import R2Score as NewerR2Score
from torchmetrics.utilities.data import dim_zero_cat

from functrain_torch.metrics.functional import curves
from functrain_torch.metrics.functional.regression import psnr
from functrain_torch.metrics.older import OlderMetric


class _Stored(OlderMetric):
    """Keeps what it is given, and asks a function when the value is wanted."""

    preds: list[Tensor]
    target: list[Tensor]
    higher_is_better: ClassVar[Any] = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("preds", "target"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch in."""
        self.preds.append(preds.detach())
        self.target.append(target.detach())

    def all(self) -> tuple[Tensor, Tensor]:
        """Return all that was taken in since the last reset."""
        return dim_zero_cat(self.preds), dim_zero_cat(self.target)


class AUC(_Stored):
    """The area under a curve of points x, y.

    Args:
        reorder: sort the points by x first.
    """

    def __init__(self, reorder: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reorder = reorder

    def compute(self) -> Tensor:
        """Return the area of what was taken in since the last reset."""
        return curves.auc(*self.all(), reorder=self.reorder)


class ROC(_Stored):
    """False positive rates, true positive rates, thresholds. The arguments are those of `functional.roc`."""

    def __init__(self, num_classes: int | None = None, pos_label: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.pos_label = num_classes, pos_label

    def compute(self) -> curves.Curve | curves.Curves:
        """Return the curve of what was taken in since the last reset."""
        return curves.roc(*self.all(), self.num_classes, self.pos_label)


class PrecisionRecallCurve(ROC):
    """Precisions, recalls, thresholds. The arguments are those of `functional.precision_recall_curve`."""

    def compute(self) -> curves.Curve | curves.Curves:
        """Return the curve of what was taken in since the last reset."""
        return curves.precision_recall_curve(*self.all(), self.num_classes, self.pos_label)


class AveragePrecision(_Stored):
    """The average precision over all recalls. The arguments are those of `functional.average_precision`."""

    higher_is_better: ClassVar[Any] = True

    def __init__(self, num_classes: int | None = None, pos_label: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.pos_label = num_classes, pos_label

    def compute(self) -> Tensor | list[Tensor]:
        """Return the value of what was taken in since the last reset."""
        return curves.average_precision(*self.all(), self.num_classes, self.pos_label)


class AUROC(_Stored):
    """The area under the ROC curve. The arguments are those of `functional.auroc`."""

    higher_is_better: ClassVar[Any] = True

    def __init__(
        self,
        num_classes: int | None = None,
        pos_label: int | None = None,
        average: str | None = "macro",
        max_fpr: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.pos_label, self.average, self.max_fpr = num_classes, pos_label, average, max_fpr

    def compute(self) -> Tensor:
        """Return the area of what was taken in since the last reset."""
        return curves.auroc(*self.all(), self.num_classes, self.pos_label, self.average, self.max_fpr)


class PSNR(OlderMetric):
    """The peak signal-to-noise ratio. The arguments are those of `functional.psnr`, but for `dim`."""

    sum_squared_error: Tensor
    total: Tensor
    least: Tensor
    most: Tensor

    def __init__(
        self, data_range: float | None = None, base: float = 10.0, reduction: str = "elementwise_mean", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.data_range, self.base, self.reduction = data_range, base, reduction
        self.add_state("sum_squared_error", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("least", torch.tensor(float("inf")), dist_reduce_fx="min")
        self.add_state("most", torch.tensor(-float("inf")), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch in."""
        self.sum_squared_error += (preds - target).square().sum()
        self.total += target.numel()
        self.least = torch.minimum(self.least, target.min())
        self.most = torch.maximum(self.most, target.max())

    def compute(self) -> Tensor:
        """Return the value of what was taken in since the last reset."""
        known = float(self.most - self.least) if self.data_range is None else self.data_range
        error = (self.sum_squared_error / self.total).sqrt()
        return psnr(error.reshape(1), torch.zeros_like(error).reshape(1), known, self.base, self.reduction)


class R2Score(NewerR2Score):
    """The coefficient of determination; `num_outputs` is told by the data, and kept for scripts that give it."""

    def __init__(
        self, num_outputs: int = 1, adjusted: int = 0, multioutput: str = "uniform_average", **kwargs: Any
    ) -> None:
        super().__init__(adjusted=adjusted, multioutput=multioutput, **kwargs)
        self.num_outputs = num_outputs
