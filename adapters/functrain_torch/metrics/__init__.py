"""Metrics under the names of older generations, computed by torchmetrics, which is imported here and nowhere else."""

from __future__ import annotations

import functrain_torch.metrics.needed  # isort: skip  # noqa: F401 (before torchmetrics itself: it says what to install)
from torchmetrics import (
    ExplainedVariance,
    MeanAbsoluteError,
    MeanSquaredError,
    MeanSquaredLogError,
    Metric,
    MetricCollection,
)
from torchmetrics.image import StructuralSimilarityIndexMeasure as SSIM
from torchmetrics.text import BLEUScore

from functrain_torch.metrics import functional
from functrain_torch.metrics.counted import (
    F1,
    Accuracy,
    ConfusionMatrix,
    FBeta,
    HammingDistance,
    IoU,
    Precision,
    Recall,
    StatScores,
)
from functrain_torch.metrics.stored import AUC, AUROC, PSNR, ROC, AveragePrecision, PrecisionRecallCurve, R2Score

__all__ = [
    "AUC",
    "AUROC",
    "F1",
    "PSNR",
    "ROC",
    "SSIM",
    "Accuracy",
    "AveragePrecision",
    "BLEUScore",
    "ConfusionMatrix",
    "ExplainedVariance",
    "FBeta",
    "HammingDistance",
    "IoU",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "Metric",
    "MetricCollection",
    "Precision",
    "PrecisionRecallCurve",
    "R2Score",
    "Recall",
    "StatScores",
    "functional",
]
