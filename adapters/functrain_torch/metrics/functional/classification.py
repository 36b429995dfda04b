"""The names that scripts of the first generation import from here."""

from __future__ import annotations

from torchmetrics.utilities.data import to_categorical, to_onehot

from functrain_torch.metrics.functional.counts import (
    accuracy,
    confusion_matrix,
    dice_score,
    f1_score,
    fbeta_score,
    get_num_classes,
    iou,
    precision,
    precision_recall,
    recall,
    stat_scores,
    stat_scores_multiple_classes,
)
from functrain_torch.metrics.functional.curves import (
    auc,
    auc_decorator,
    auroc,
    average_precision,
    multiclass_auc_decorator,
    multiclass_auroc,
    multiclass_precision_recall_curve,
    multiclass_roc,
    precision_recall_curve,
    roc,
)

__all__ = [
    "accuracy",
    "auc",
    "auc_decorator",
    "auroc",
    "average_precision",
    "confusion_matrix",
    "dice_score",
    "f1_score",
    "fbeta_score",
    "get_num_classes",
    "iou",
    "multiclass_auc_decorator",
    "multiclass_auroc",
    "multiclass_precision_recall_curve",
    "multiclass_roc",
    "precision",
    "precision_recall",
    "precision_recall_curve",
    "recall",
    "roc",
    "stat_scores",
    "stat_scores_multiple_classes",
    "to_categorical",
    "to_onehot",
]
