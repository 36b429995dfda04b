"""Accuracy, precision, recall, F scores, confusion matrices and what is counted for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchmetrics.functional.classification as of_torchmetrics
from torch import Tensor

from functrain.trainer.errors import ConfigurationError
from functrain_torch.metrics.functional.cases import Case, case_of, labels_of

AVERAGES = ("micro", "macro", "weighted", "none", None, "samples")


def accuracy(
    preds: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    top_k: int | None = None,
    subset_accuracy: bool = False,
    num_classes: int | None = None,
    class_reduction: str = "micro",
) -> Tensor:
    """Return which part of the predictions is right.

    Args:
        preds: labels, probabilities or scores; see `case_of` for how they are told apart.
        threshold: from this probability on it is a yes.
        top_k: right where the target is among the k highest scores.
        subset_accuracy: a sample is right where all its labels or elements are.
        num_classes: default: as the predictions and targets say.
        class_reduction: 'micro' of all samples; 'macro' the mean over classes, 'weighted' by their samples; 'none' for
            each class.

    Raises:
        ConfigurationError: predictions and targets do not fit, or an argument is none of those above.
    """
    case = case_of("accuracy", preds, target, num_classes, threshold)
    if subset_accuracy and case.kind == "multilabel":
        return of_torchmetrics.multilabel_exact_match(case.preds, case.target, case.count, threshold)
    if subset_accuracy and case.has_several:
        scores = case.preds.ndim > case.target.ndim
        found = case.preds.argmax(dim=1) if scores else case.preds
        return of_torchmetrics.multiclass_exact_match(found, case.target, case.count)
    return _scored("accuracy", case, class_reduction, "global", None, threshold, top_k)


def precision(
    preds: Tensor,
    target: Tensor,
    average: str | int | None = "micro",
    mdmc_average: str | None = None,
    ignore_index: int | None = None,
    num_classes: int | None = None,
    threshold: float = 0.5,
    top_k: int | None = None,
    is_multiclass: bool | None = None,
    class_reduction: str | None = None,
) -> Tensor:
    """Return which part of what was predicted to be of a class is of it.

    Args:
        preds: labels, probabilities or scores; see `case_of` for how they are told apart.
        average: 'micro' of all classes together; 'macro' the mean over classes, 'weighted' by their samples; 'none' or
            None for each class; 'samples' the mean over samples. An int is `num_classes`, which stood here once.
        mdmc_average: of several elements a sample: 'global' counts all alike, 'samplewise' is the mean over samples.
        ignore_index: elements of this class are left out.
        num_classes: default: as the predictions and targets say; 1 for yes and no.
        threshold: from this probability on it is a yes.
        top_k: the k highest scores are taken for predictions.
        is_multiclass: True takes yes and no for two classes, False takes two classes for yes and no.
        class_reduction: the older name of `average`.

    Raises:
        ConfigurationError: predictions and targets do not fit, or an argument is none of those above.
    """
    return _either("precision", preds, target, average, mdmc_average, ignore_index, num_classes, threshold, top_k,
                   is_multiclass, class_reduction)  # fmt: skip


def recall(
    preds: Tensor,
    target: Tensor,
    average: str | int | None = "micro",
    mdmc_average: str | None = None,
    ignore_index: int | None = None,
    num_classes: int | None = None,
    threshold: float = 0.5,
    top_k: int | None = None,
    is_multiclass: bool | None = None,
    class_reduction: str | None = None,
) -> Tensor:
    """Return which part of what is of a class was predicted to be of it. The arguments are those of `precision`."""
    return _either("recall", preds, target, average, mdmc_average, ignore_index, num_classes, threshold, top_k,
                   is_multiclass, class_reduction)  # fmt: skip


def precision_recall(
    preds: Tensor,
    target: Tensor,
    average: str | int | None = "micro",
    mdmc_average: str | None = None,
    ignore_index: int | None = None,
    num_classes: int | None = None,
    threshold: float = 0.5,
    top_k: int | None = None,
    is_multiclass: bool | None = None,
    class_reduction: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `precision` and `recall`. The arguments are those of `precision`."""
    given = (average, mdmc_average, ignore_index, num_classes, threshold, top_k, is_multiclass, class_reduction)
    return _either("precision", preds, target, *given), _either("recall", preds, target, *given)


def fbeta(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    beta: float = 1.0,
    threshold: float = 0.5,
    average: str | None = "micro",
    multilabel: bool = False,
) -> Tensor:
    """Return the weighted harmonic mean of precision and recall.

    Args:
        beta: how many times more recall weighs than precision.
        average: as in `precision`.
        multilabel: integers are yes and no of several labels.

    Raises:
        ConfigurationError: predictions and targets do not fit, or an argument is none of those above.
    """
    case = case_of("fbeta", preds, target, num_classes, threshold, multilabel)
    return _scored("fbeta_score", case, average, "global", None, threshold, None, beta=float(beta))


def f1(
    preds: Tensor,
    target: Tensor,
    num_classes: int | None = None,
    threshold: float = 0.5,
    average: str | None = "micro",
    multilabel: bool = False,
) -> Tensor:
    """Return the harmonic mean of precision and recall: `fbeta` with beta 1."""
    return fbeta(preds, target, num_classes, 1.0, threshold, average, multilabel)


def fbeta_score(
    pred: Tensor, target: Tensor, beta: float, num_classes: int | None = None, class_reduction: str = "micro"
) -> Tensor:
    """`fbeta`, as the first generation called it."""
    return fbeta(pred, target, num_classes, beta, average=class_reduction)


def f1_score(pred: Tensor, target: Tensor, num_classes: int | None = None, class_reduction: str = "micro") -> Tensor:
    """`f1`, as the first generation called it."""
    return fbeta(pred, target, num_classes, 1.0, average=class_reduction)


def hamming_distance(preds: Tensor, target: Tensor, threshold: float = 0.5) -> Tensor:
    """Return which part of the labels is wrong."""
    case = case_of("hamming_distance", preds, target, threshold=threshold)
    return _scored("hamming_distance", case, "micro", "global", None, threshold, None)


def confusion_matrix(
    preds: Tensor,
    target: Tensor,
    num_classes: int,
    normalize: str | bool | None = None,
    threshold: float = 0.5,
) -> Tensor:
    """Return how often each class (row) was taken for each class (column), as floats.

    Args:
        normalize: 'true' divides by the rows' sums, 'pred' by the columns', 'all' by the number of samples; True is
            'true'.
    """
    found, labels = labels_of("confusion_matrix", preds, target, threshold)
    how: Any = {True: "true", False: None}.get(normalize, normalize) if isinstance(normalize, bool) else normalize
    return of_torchmetrics.multiclass_confusion_matrix(found, labels, num_classes, normalize=how).float()


def iou(
    pred: Tensor,
    target: Tensor,
    ignore_index: int | None = None,
    absent_score: float = 0.0,
    threshold: float = 0.5,
    num_classes: int | None = None,
    reduction: str = "elementwise_mean",
) -> Tensor:
    """Return intersection over union of each class.

    Args:
        ignore_index: this class has no score, and what is of it counts nowhere.
        absent_score: of a class that is neither predicted nor among the targets.
        reduction: 'elementwise_mean', 'sum' or 'none' over the classes.
    """
    found, labels = labels_of("iou", pred, target, threshold)
    classes = num_classes or get_num_classes(found, labels)
    return reduced(ious(confusion_matrix(found, labels, classes), ignore_index, absent_score), reduction)


def ious(matrix: Tensor, ignore_index: int | None, absent_score: float) -> Tensor:
    """Return intersection over union of the classes of a confusion matrix."""
    kept = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    if ignore_index is not None and 0 <= ignore_index < len(matrix):
        kept[ignore_index] = False
        matrix = matrix.clone()
        matrix[ignore_index] = 0.0
    both = matrix.diag()
    union = matrix.sum(0) + matrix.sum(1) - both
    scores = torch.where(union == 0, torch.full_like(union, absent_score), both / union.clamp(min=1))
    return scores[kept]


def dice_score(
    pred: Tensor,
    target: Tensor,
    bg: bool = False,
    nan_score: float = 0.0,
    no_fg_score: float = 0.0,
    reduction: str = "elementwise_mean",
) -> Tensor:
    """Return the Dice score of each class.

    Args:
        pred: scores, with the classes in dimension 1.
        bg: class 0, the background, counts too.
        nan_score: of a class with nothing to divide by.
        no_fg_score: of a class that is not among the targets.
        reduction: 'elementwise_mean', 'sum' or 'none' over the classes.
    """
    matrix = confusion_matrix(pred, target, pred.shape[1])
    both, found, there = matrix.diag(), matrix.sum(0), matrix.sum(1)
    sums = found + there
    scores = torch.where(sums == 0, torch.full_like(sums, nan_score), 2 * both / sums.clamp(min=1))
    scores = torch.where(there == 0, torch.full_like(sums, no_fg_score), scores)
    return reduced(scores[0 if bg else 1 :], reduction)


def reduced(values: Tensor, reduction: str) -> Tensor:
    """Return the values' mean ('elementwise_mean'), their sum ('sum') or themselves ('none')."""
    from torchmetrics.utilities.distributed import reduce

    return reduce(values, reduction)  # pyright: ignore[reportArgumentType]


def stat_scores(
    preds: Tensor,
    target: Tensor,
    reduce: str | int = "micro",
    mdmc_reduce: str | None = None,
    num_classes: int | None = None,
    top_k: int | None = None,
    threshold: float = 0.5,
    is_multiclass: bool | None = None,
    ignore_index: int | None = None,
    class_index: int | None = None,
) -> Any:
    """Return true and false positives, true and false negatives, and the support, along the last dimension.

    Args:
        reduce: 'micro' of all classes together, 'macro' for each class, 'samples' for each sample. An int is
            `class_index`, which stood here once.
        mdmc_reduce: of several elements a sample: 'global' counts all alike, 'samplewise' counts each sample's.
        class_index: those of this class alone, as a tuple.
    """
    if isinstance(reduce, int):
        class_index, reduce = reduce, "macro"
    if class_index is not None:
        found, labels = labels_of("stat_scores", preds, target, threshold)
        classes = max(num_classes or get_num_classes(found, labels), class_index + 1)
        each = stat_scores(found, labels, reduce="macro", num_classes=max(classes, 2))
        return tuple(each[class_index])
    case = case_of("stat_scores", preds, target, num_classes, threshold, is_multiclass=is_multiclass)
    if reduce not in ("micro", "macro", "samples"):
        raise ConfigurationError(f"stat_scores(reduce={reduce!r}): must be 'micro', 'macro' or 'samples'.")
    average = {"micro": "micro", "macro": "none", "samples": "samples"}[reduce]
    return counts_of("stat_scores", case, average, mdmc_reduce, ignore_index, threshold, top_k)


def counts_of(
    name: str, case: Case, average: str, mdmc_reduce: str | None, ignore_index: int | None, threshold: float,
    top_k: int | None,
) -> Tensor:  # fmt: skip
    """Return the five counts of a case, for the function or class of this name.

    Args:
        average: 'micro' of all classes together, 'none' for each class, 'samples' for each sample.
    """
    mdmc = _mdmc(name, case, mdmc_reduce)
    return _called("stat_scores", case, average, mdmc, ignore_index, threshold, top_k)


def stat_scores_multiple_classes(
    pred: Tensor, target: Tensor, num_classes: int | None = None, argmax_dim: int = 1, reduction: str = "none"
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return true and false positives, true and false negatives, and the support, of each class, as floats.

    Args:
        reduction: 'none', or 'sum' or 'elementwise_mean' over the classes.
    """
    if pred.ndim == target.ndim + 1:
        pred = pred.argmax(dim=argmax_dim)
    classes = num_classes or get_num_classes(pred, target)
    each = of_torchmetrics.multiclass_stat_scores(pred.flatten(), target.flatten(), classes, average="none").float()
    tp, fp, tn, fn, support = (reduced(each[:, i], reduction) for i in range(5))
    return tp, fp, tn, fn, support


def get_num_classes(pred: Tensor, target: Tensor, num_classes: int | None = None) -> int:
    """Return the number of classes: the one given, else one above the largest label."""
    return num_classes or int(max(pred.max(), target.max())) + 1


# how torchmetrics is called


def _either(
    name: str, preds: Tensor, target: Tensor, average: str | int | None, mdmc_average: str | None,
    ignore_index: int | None, num_classes: int | None, threshold: float, top_k: int | None, is_multiclass: bool | None,
    class_reduction: str | None,
) -> Tensor:  # fmt: skip
    if isinstance(average, int):
        num_classes, average = average, "micro"
    if class_reduction is not None:
        average, mdmc_average = class_reduction, mdmc_average or "global"
    case = case_of(name, preds, target, num_classes, threshold, is_multiclass=is_multiclass)
    return _scored(name, case, average, _mdmc(name, case, mdmc_average), ignore_index, threshold, top_k)


def _mdmc(name: str, case: Case, wish: str | None) -> str:
    """How several elements a sample are taken together."""
    if wish not in (None, "global", "samplewise"):
        raise ConfigurationError(f"{name}(mdmc_average={wish!r}): must be 'global', 'samplewise' or None.")
    if wish is None and case.kind == "multiclass" and case.has_several:
        raise ConfigurationError(
            f"{name}: the targets have several elements a sample ({tuple(case.target.shape)}); say with "
            "mdmc_average='global' that all count alike, or with 'samplewise' that the mean over samples is meant."
        )
    return wish or "global"


def _scored(
    name: str, case: Case, average: str | None, mdmc: str, ignore_index: int | None, threshold: float,
    top_k: int | None, **more: Any,
) -> Tensor:  # fmt: skip
    result = _called(name, case, average, mdmc, ignore_index, threshold, top_k, **more)
    return result.mean(dim=0) if mdmc == "samplewise" or average == "samples" else result


def _called(
    name: str, case: Case, average: str | None, mdmc: str, ignore_index: int | None, threshold: float,
    top_k: int | None, **more: Any,
) -> Tensor:  # fmt: skip
    """Call torchmetrics' function of this name for the case; 'samples' and 'samplewise' give a result a sample."""
    if average not in AVERAGES:
        raise ConfigurationError(f"{name}: {average!r} is no average; use one of {AVERAGES}.")
    if top_k is not None and (case.kind != "multiclass" or case.preds.ndim == case.target.ndim):
        raise ConfigurationError(f"{name}(top_k={top_k}): needs scores of classes, with the classes in dimension 1.")
    call: Callable[..., Tensor] = getattr(of_torchmetrics, f"{case.kind}_{name}")
    preds, target = case.preds, case.target
    arguments: dict[str, Any] = {"multidim_average": mdmc, "ignore_index": ignore_index, **more}
    if average == "samples":
        if case.kind == "binary":
            raise ConfigurationError(f"{name}: the average 'samples' needs several labels or elements a sample.")
        average, arguments["multidim_average"] = "micro", "samplewise"
        if case.kind == "multilabel" and target.ndim == 2:
            preds, target = preds.unsqueeze(-1), target.unsqueeze(-1)
        if case.kind == "multiclass" and not case.has_several:
            preds, target = preds.unsqueeze(-1), target.unsqueeze(-1)
    if case.kind == "binary":
        return call(preds, target, threshold=threshold, **arguments)
    arguments["average"] = average or "none"
    if case.kind == "multilabel":
        return call(preds, target, num_labels=case.count, threshold=threshold, **arguments)
    return call(preds, target, num_classes=case.count, top_k=top_k or 1, **arguments)
