"""The functions of `metrics.functional`, with the numbers that the notes print."""

import torch
from torch.testing import assert_close

from functrain_torch.metrics.functional import (
    accuracy,
    confusion_matrix,
    f1,
    mean_absolute_error,
    mean_squared_error,
    precision,
    precision_recall,
    recall,
)
from tests.documents.blocks import stands_for


def is_printed(found, *printed):
    """Are these the numbers, as far as four digits tell?"""
    assert_close(found, torch.tensor(*printed), atol=5e-5, rtol=0, check_dtype=False)


@stands_for(notes=14)
def test_accuracy():
    x = torch.tensor([0, 2, 1, 3])
    y = torch.tensor([0, 1, 2, 3])
    is_printed(accuracy(x, y), 0.5)


@stands_for(notes=15)
def test_two_classes():
    y_true = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    y_pred = torch.tensor([0, 0, 1, 1, 0, 1, 1, 1])
    is_printed(confusion_matrix(y_pred, y_true, num_classes=2), [[2.0, 2.0], [1.0, 3.0]])
    is_printed(precision(y_pred, y_true, class_reduction="none"), [0.6667, 0.6])
    is_printed(recall(y_pred, y_true, class_reduction="none"), [0.5, 0.75])
    both = precision_recall(y_pred, y_true, class_reduction="none")
    is_printed(both[0], [0.6667, 0.6])
    is_printed(both[1], [0.5, 0.75])
    is_printed(f1(y_pred, y_true, num_classes=2, average="none"), [0.5714, 0.6667])


@stands_for(notes=16)
def test_three_classes():
    y_true = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    y_pred = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])
    is_printed(confusion_matrix(y_pred, y_true, num_classes=3), [[3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 2.0, 1.0]])
    expected = {
        "none": ([0.75, 0.5, 1.0], [1.0, 0.6667, 0.3333], [0.8571, 0.5714, 0.5]),
        "macro": (0.75, 0.6667, 0.6429),
        "micro": (0.6667, 0.6667, 0.6667),
    }
    for reduction, (of_predicted, of_true, harmonic) in expected.items():
        is_printed(precision(y_pred, y_true, class_reduction=reduction), of_predicted)
        is_printed(recall(y_pred, y_true, class_reduction=reduction), of_true)
        both = precision_recall(y_pred, y_true, class_reduction=reduction)
        is_printed(both[0], of_predicted)
        is_printed(both[1], of_true)
        is_printed(f1(y_pred, y_true, num_classes=3, average=reduction), harmonic)


@stands_for(notes=(17, 18))
def test_errors_of_numbers():
    a1 = torch.arange(10.0)
    a2 = a1 + 2
    is_printed(mean_absolute_error(a1, a2), 2.0)
    is_printed(mean_squared_error(a1, a2), 4.0)
