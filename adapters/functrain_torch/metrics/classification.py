"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.metrics import Accuracy as Accuracy
from functrain_torch.metrics import ConfusionMatrix as ConfusionMatrix
from functrain_torch.metrics import F1 as F1
from functrain_torch.metrics import Precision as Precision
from functrain_torch.metrics import Recall as Recall

__all__ = [
    "Accuracy",
    "ConfusionMatrix",
    "F1",
    "Precision",
    "Recall",
]
