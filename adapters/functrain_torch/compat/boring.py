"""The smallest modules and data, with which people show a bug: a linear layer that learns nothing of use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from functrain_torch.datamodule import LightningDataModule
from functrain_torch.module import LightningModule


class RandomDataset(Dataset[Tensor]):
    """So many random vectors of this size."""

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index]

    def __len__(self) -> int:
        return self.len


class RandomIterableDataset(IterableDataset[Tensor]):
    """So many random vectors of this size, without a length."""

    def __init__(self, size: int, count: int) -> None:
        self.count = count
        self.size = size

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.count):
            yield torch.randn(self.size)


class RandomDictDataset(RandomDataset):
    """The same in dicts."""

    def __getitem__(self, index: int) -> Any:
        vector = self.data[index]
        return {"a": vector, "b": vector + torch.rand_like(vector)}


class BoringModel(LightningModule):
    """A linear layer with every step and every loader."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def loss(self, preds: Tensor, labels: Tensor | None = None) -> Tensor:
        """The squared distance from ones."""
        return nn.functional.mse_loss(preds, torch.ones_like(preds) if labels is None else labels)

    def step(self, batch: Any) -> Tensor:
        """The loss of a batch."""
        return self.loss(self(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.step(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"x": self.step(batch)}

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return {"y": self.step(batch)}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))

    def val_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))

    def test_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))

    def predict_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))


class BoringDataModule(LightningDataModule):
    """The loaders of a BoringModel, of one data set in four parts."""

    def __init__(self) -> None:
        super().__init__()
        self.random_full: Any = None

    def prepare_data(self) -> None:
        self.random_full = RandomDataset(32, 64 * 4)

    def _part(self, number: int) -> Any:
        return DataLoader(Subset(self.random_full, range(64 * number, 64 * (number + 1))))

    def train_dataloader(self) -> Any:
        return self._part(0)

    def val_dataloader(self) -> Any:
        return self._part(1)

    def test_dataloader(self) -> Any:
        return self._part(2)

    def predict_dataloader(self) -> Any:
        return self._part(3)


class ManualOptimBoringModel(BoringModel):
    """A BoringModel that steps its optimizer by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = self.step(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class DemoModel(LightningModule):
    """A linear layer whose sizes and learning rate are arguments."""

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = nn.Linear(32, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)
