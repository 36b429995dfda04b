"""The weight of a batch in an epoch's mean: the first tensor anywhere in it."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from functrain_torch.tree import batch_size
from tests.adapters.torch.small import Net, trainer


@dataclass
class Fields:
    names: list[str]
    x: Any


class Attributes:
    """As tokenizers and graphs give batches; points back at itself."""

    def __init__(self, x: Any) -> None:
        self.me, self.kind, self.x = self, "graph", x


class Slots:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


KINDS = {
    "dataclass": lambda x: Fields(["a"], x),
    "object with attributes": Attributes,
    "object with slots": Slots,
    "user dict": lambda x: UserDict(ids=x),
    "dict whose first value is no tensor": lambda x: {"names": ["a", "b"], "x": x},
    "tuple that starts with a text": lambda x: ("a", None, 3, x),
    "nested": lambda x: {"meta": {"n": 1, "scale": torch.tensor(2.0)}, "inner": [Fields([], x)]},
    "numpy": lambda x: {"x": x.numpy()},
}


def loader(*given: Any) -> DataLoader[Any]:
    """These batches, as they are."""
    return DataLoader(list(given), batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


class Mean(Net):
    """Logs the mean of a batch, whatever holds it."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("v", float(batch_idx), **self.options)


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_batches_of_any_kind_count_by_their_samples(kind: str):
    """Nine zeros and a one: 0.1, not 0.5."""
    run = trainer()
    run.validate(Mean(), loader(KINDS[kind](torch.zeros(9, 3)), KINDS[kind](torch.zeros(1, 3))), verbose=False)
    assert run.callback_metrics["v"].item() == pytest.approx(0.1)


def test_a_batch_without_tensors_is_told_once():
    with pytest.warns(UserWarning, match="a batch of type Fields has no tensor.*pass batch_size=") as told:
        trainer().validate(Mean(), loader(Fields(["a", "b"], "x"), Fields(["c"], "y")), verbose=False)
    assert len([w for w in told if "batch_size=" in str(w.message)]) == 1


def test_a_batch_size_of_ones_own_needs_no_tensor():
    run = trainer()
    run.validate(Mean(batch_size=2), loader(Fields(["a", "b"], "x"), Fields(["c"], "y")), verbose=False)
    assert run.callback_metrics["v"].item() == 0.5


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(3, 2), 3),
        (torch.tensor(1.0), None),
        ([torch.tensor(1.0)] * 4, 4),
        ([torch.zeros(3), torch.zeros(5)], 2),
        ([torch.tensor(1.0), torch.zeros(5, 2)], 5),
        ([], None),
        ({"a": {}, "b": torch.nn.Linear(2, 3)}, None),
    ],
)
def test_sizes(batch: Any, size: int | None):
    assert batch_size(batch) == size
