"""Metric classes that keep counts only: any number of samples, a few numbers."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from functrain.trainer.errors import ConfigurationError
from functrain_torch.metrics.functional.cases import case_of
from functrain_torch.metrics.functional.counts import (
    accuracy,
    confusion_matrix,
    counts_of,
    ious,
    reduced,
)
from functrain_torch.metrics.older import OlderMetric


class Accuracy(OlderMetric):
    """Which part of the predictions is right. The arguments are those of `functional.accuracy`."""

    correct: Tensor
    total: Tensor

    def __init__(
        self, threshold: float = 0.5, top_k: int | None = None, subset_accuracy: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.threshold, self.top_k, self.subset_accuracy = threshold, top_k, subset_accuracy
        for name in ("correct", "total"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch in."""
        case = case_of("Accuracy", preds, target, threshold=self.threshold)
        of_samples = self.subset_accuracy and (case.kind == "multilabel" or case.has_several)
        total = len(case.target) if of_samples else case.target.numel()
        right = accuracy(preds, target, self.threshold, self.top_k, self.subset_accuracy)
        self.correct += (right.double() * total).round().long()
        self.total += total

    def compute(self) -> Tensor:
        """Return the value of what was taken in since the last reset."""
        return self.correct.float() / self.total


class HammingDistance(Accuracy):
    """Which part of the labels is wrong."""

    higher_is_better = False

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(threshold=threshold, **kwargs)

    def compute(self) -> Tensor:
        """Return the value of what was taken in since the last reset."""
        return 1 - super().compute()


class StatScores(OlderMetric):
    """True and false positives, true and false negatives, and the support.

    Args:
        threshold: from this probability on it is a yes.
        top_k: the k highest scores are taken for predictions.
        reduce: 'micro' of all classes together, 'macro' for each class, which needs `num_classes`.
        num_classes: default: as the predictions and targets say.
        ignore_index: elements of this class are left out.
        mdmc_reduce: 'global': of several elements a sample all count alike.
        is_multiclass: True takes yes and no for two classes, False takes two classes for yes and no.
        multilabel: integers are yes and no of several labels.
    """

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor
    labels: Tensor

    def __init__(
        self,
        threshold: float = 0.5,
        top_k: int | None = None,
        reduce: str = "micro",
        num_classes: int | None = None,
        ignore_index: int | None = None,
        mdmc_reduce: str | None = None,
        is_multiclass: bool | None = None,
        multilabel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        for wish in (reduce, mdmc_reduce):
            if wish not in ("micro", "macro", "global", None):
                raise ConfigurationError(
                    f"{name}: {wish!r} keeps every sample, which this class does not; collect the predictions and call "
                    "the function of functrain_torch.metrics.functional."
                )
        if reduce == "macro" and num_classes is None:
            raise ConfigurationError(f"{name}: a value for each class needs num_classes.")
        self.threshold, self.top_k, self.reduce, self.num_classes = threshold, top_k, reduce, num_classes
        self.ignore_index, self.mdmc_reduce = ignore_index, mdmc_reduce
        self.is_multiclass, self.multilabel = is_multiclass, multilabel
        size = () if reduce == "micro" or num_classes is None else (num_classes,)
        for state in ("tp", "fp", "tn", "fn"):
            self.add_state(state, torch.zeros(size, dtype=torch.long), dist_reduce_fx="sum")
        # 1 once labels that are yes and no were seen: their mean counts every label.
        self.add_state("labels", torch.tensor(0), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch in."""
        name = type(self).__name__
        case = case_of(name, preds, target, self.num_classes, self.threshold, self.multilabel, self.is_multiclass)
        if case.kind == "multilabel":
            self.labels.fill_(1)
        average = "micro" if self.reduce == "micro" else "none"
        counts = counts_of(name, case, average, self.mdmc_reduce, self.ignore_index, self.threshold, self.top_k)
        for state, value in zip((self.tp, self.fp, self.tn, self.fn), counts.unbind(-1)[:4], strict=True):
            state += value

    def compute(self) -> Tensor:
        """Return the five counts, along the last dimension."""
        return torch.stack([self.tp, self.fp, self.tn, self.fn, self.tp + self.fn], dim=-1)


class _Score(StatScores):
    """A quotient of counts, averaged over classes."""

    beta: float = 1.0

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        average: str | None = "micro",
        multilabel: bool = False,
        mdmc_average: str | None = None,
        ignore_index: int | None = None,
        top_k: int | None = None,
        is_multiclass: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if average not in ("micro", "macro", "weighted", "none", None):
            raise ConfigurationError(
                f"{type(self).__name__}(average={average!r}): must be 'micro', 'macro', 'weighted', 'none' or None."
            )
        reduce = "micro" if average == "micro" or num_classes == 1 else "macro"
        super().__init__(threshold, top_k, reduce, num_classes, ignore_index, mdmc_average, is_multiclass, multilabel,
                         **kwargs)  # fmt: skip
        self.average = average

    def quotient(self) -> tuple[Tensor, Tensor]:
        """Return what is divided by what, of each class."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """Return the score of what was taken in since the last reset."""
        above, below = self.quotient()
        scores = torch.where(below == 0, torch.zeros_like(above), above / below.clamp(min=1e-12))
        if self.reduce == "micro" or self.average in ("none", None):
            return scores
        weights = (self.tp + self.fn).float()
        if self.average == "macro":
            # A class that is neither predicted nor among the targets has no say; a label always has.
            seen = (self.tp + self.fp + self.fn > 0) | (self.labels > 0)
            weights = seen.float()
        return (scores * weights).sum() / weights.sum().clamp(min=1)


class Precision(_Score):
    """Which part of what was predicted to be of a class is of it. The arguments are those of `functional.precision`."""

    def quotient(self) -> tuple[Tensor, Tensor]:
        """Return what is divided by what, of each class."""
        return self.tp.float(), (self.tp + self.fp).float()


class Recall(_Score):
    """Which part of what is of a class was predicted to be of it. The arguments are those of `functional.recall`."""

    def quotient(self) -> tuple[Tensor, Tensor]:
        """Return what is divided by what, of each class."""
        return self.tp.float(), (self.tp + self.fn).float()


class FBeta(_Score):
    """The weighted harmonic mean of precision and recall. The arguments are those of `functional.fbeta`."""

    def __init__(
        self,
        num_classes: int | None = None,
        beta: float = 1.0,
        threshold: float = 0.5,
        average: str | None = "micro",
        multilabel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, threshold, average, multilabel, mdmc_average="global", **kwargs)
        self.beta = beta

    def quotient(self) -> tuple[Tensor, Tensor]:
        """Return what is divided by what, of each class."""
        square = self.beta**2
        above = (1 + square) * self.tp.float()
        return above, above + square * self.fn + self.fp


class F1(FBeta):
    """The harmonic mean of precision and recall. The arguments are those of `functional.f1`."""

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        average: str | None = "micro",
        multilabel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, 1.0, threshold, average, multilabel, **kwargs)


class ConfusionMatrix(OlderMetric):
    """How often each class was taken for each class. The arguments are those of `functional.confusion_matrix`."""

    confmat: Tensor
    higher_is_better: ClassVar[Any] = None

    def __init__(
        self, num_classes: int, normalize: str | bool | None = None, threshold: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if normalize not in (True, False, None, "true", "pred", "all", "none"):
            raise ConfigurationError(
                f"ConfusionMatrix(normalize={normalize!r}): must be 'true', 'pred', 'all', 'none' or None."
            )
        self.num_classes, self.threshold, self.normalize = num_classes, threshold, normalize
        self.add_state("confmat", torch.zeros(num_classes, num_classes), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch in."""
        self.confmat += confusion_matrix(preds, target, self.num_classes, threshold=self.threshold)

    def compute(self) -> Tensor:
        """Return the matrix of what was taken in since the last reset."""
        matrix = self.confmat
        sums = {"true": matrix.sum(1, keepdim=True), "pred": matrix.sum(0, keepdim=True), "all": matrix.sum()}
        by = "true" if self.normalize is True else self.normalize
        if by not in sums:
            return matrix
        return torch.nan_to_num(matrix / sums[str(by)], nan=0.0)


class IoU(ConfusionMatrix):
    """Intersection over union of each class. The arguments are those of `functional.iou`."""

    higher_is_better: ClassVar[Any] = True

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        absent_score: float = 0.0,
        threshold: float = 0.5,
        reduction: str = "elementwise_mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, threshold=threshold, **kwargs)
        self.ignore_index, self.absent_score, self.reduction = ignore_index, absent_score, reduction

    def compute(self) -> Tensor:
        """Return the score of what was taken in since the last reset."""
        return reduced(ious(self.confmat, self.ignore_index, self.absent_score), self.reduction)
