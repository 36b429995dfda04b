"""Small torch runs, each with a piece of state that a checkpoint must not forget."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

import functrain_torch as pl
from functrain_torch.callbacks import EarlyStopping
from tests.resume.common import Counting, MemoryLogger, Saver, disturb, final

BATCHES, SIZE, EPOCHS = 7, 3, 2


def samples(n: int = BATCHES * SIZE, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def shuffled(**more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples()), batch_size=SIZE, shuffle=True, **more)


def validation() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(8, 1)), batch_size=4)


class Net(pl.LightningModule):
    """Dropout and batch normalization; Adam with a schedule by update, one by epoch and a plateau."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3))
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=3)
        self.val_accuracy = torchmetrics.MetricCollection([torchmetrics.F1Score("multiclass", num_classes=3)])

    def loss(self, batch: Any) -> Any:
        x, y = batch
        scores = self.net(x + 0.1 * random.random() + 0.1 * np.random.rand())
        return nn.functional.cross_entropy(scores, y), scores

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss, scores = self.loss(batch)
        self.accuracy(scores, batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("worst", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("acc", self.accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, scores = self.loss(batch)
        self.val_accuracy.update(scores, batch[1])
        self.log("val_loss", loss + torch.rand(()))
        self.log_dict(self.val_accuracy)

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=0.05)
        steps = torch.optim.lr_scheduler.StepLR(adam, 3, 0.7)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, patience=0, threshold=0.5)
        by_step = {"scheduler": steps, "interval": "step"}
        return [adam], [by_step, {"scheduler": plateau, "monitor": "loss"}]


class Plain(pl.LightningModule):
    """One layer; everything else is the test's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.cross_entropy(self.net(nn.functional.dropout(batch[0], 0.2)), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Outputs(Plain):
    """The older way to an epoch's mean: from all outputs of its steps."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "idx": batch_idx}

    def training_epoch_end(self, outputs: Any) -> None:
        self.log("mean", torch.stack([o["loss"] for o in outputs]).mean())
        self.log("batches", float(len({o["idx"] for o in outputs})))


class Game(Plain):
    """Two players who move in turns, with windows of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 3)

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        scores = self.net(batch[0])
        scores = scores if optimizer_idx == 0 else self.other(scores)
        return nn.functional.cross_entropy(scores, batch[1])

    def configure_optimizers(self) -> Any:
        first = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        second = torch.optim.Adam(self.other.parameters(), lr=0.1)
        return {"optimizer": first, "frequency": 2}, {"optimizer": second, "frequency": 1}


class ByHand(Plain):
    """Accumulates by itself: gradients stay in the parameters from batch to batch."""

    automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        if (batch_idx + 1) % 3 == 0:
            self.optimizers().step()
            self.optimizers().zero_grad()
            self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=0.1)
        return [adam], [torch.optim.lr_scheduler.CosineAnnealingLR(adam, 5)]


class Lbfgs(Plain):
    """Its optimizer runs a window's batches again."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3, history_size=3)


class Overflowing(Plain):
    """Half precision; every fourth batch has gradients that are not finite."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * (1e38 if batch_idx % 4 == 2 else 1.0)


class Recurrent(Plain):
    """Sequences in pieces."""

    truncated_bptt_steps = 2

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.GRU(1, 3, batch_first=True)  # type: ignore[assignment]

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        out, hiddens = self.net(batch[0][..., None], hiddens)
        return {"loss": nn.functional.dropout(out, 0.2).square().mean(), "hiddens": hiddens}


class PartlyFrozen(Plain):
    """Changes its own modes and what is trained while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def on_train_epoch_start(self) -> None:
        self.norm.train(self.current_epoch > 0)
        self.norm.requires_grad_(self.current_epoch > 0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step((self.norm(batch[0]), batch[1]), batch_idx)


class LooseMetric(Plain):
    """A metric that only the epoch's end logs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torchmetrics.CatMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.update(batch[1].float())
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("seen", self.seen.compute().sum())
        self.seen.reset()


class FromGlobalState(Sampler[int]):
    """Draws its order from Python's and numpy's global generators."""

    def __iter__(self) -> Iterator[int]:
        order = np.random.permutation(BATCHES * SIZE)
        shift = random.randrange(BATCHES * SIZE)
        return iter([int(i + shift) % (BATCHES * SIZE) for i in order])

    def __len__(self) -> int:
        return BATCHES * SIZE


class OneByOne(FromGlobalState):
    """Draws every index when it is asked for, between the numbers that dropout draws."""

    def __iter__(self) -> Iterator[int]:
        for _ in range(BATCHES * SIZE):
            yield int(torch.randint(BATCHES * SIZE, ()))


class OfItsOwn(FromGlobalState):
    """Draws from generators of its own, which live on from epoch to epoch."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)
        self.other = random.Random(4)
        self.old = np.random.RandomState(5)

    def __iter__(self) -> Iterator[int]:
        shift = self.other.randrange(10) + int(self.old.randint(10))
        return iter([int(i + shift) % (BATCHES * SIZE) for i in self.rng.permutation(BATCHES * SIZE)])


class Augmented(Dataset[Any]):
    """Every sample is changed at random, by all generators that there are."""

    def __init__(self) -> None:
        self.x, self.y = samples()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        noise = random.random() + np.random.rand() + torch.rand(())
        return self.x[index] + noise.float(), self.y[index]


class OwnNoise(Augmented):
    """Augments with a generator of its own, in the main process."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(7)

    def __getitem__(self, index: int) -> Any:
        return self.x[index] + float(self.rng.random()), self.y[index]


class Stream(IterableDataset[Any]):
    """No length, no index; its order comes from the global generator."""

    def __init__(self, n: int = BATCHES * SIZE - 1) -> None:
        self.x, self.y = samples(n)

    def __iter__(self) -> Iterator[Any]:
        for i in torch.randperm(len(self.x)):
            yield self.x[i], self.y[i]


class GrainLike:
    """A loader whose iterators give and take their state."""

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Any:
        return GrainLikeIterator()


class GrainLikeIterator:
    def __init__(self) -> None:
        self.next = 0
        self.x, self.y = samples()

    def __iter__(self) -> GrainLikeIterator:
        return self

    def __next__(self) -> Any:
        if self.next == BATCHES:
            raise StopIteration
        self.next += 1
        return self.x[self.next * SIZE - SIZE : self.next * SIZE], self.y[self.next * SIZE - SIZE : self.next * SIZE]

    def get_state(self) -> bytes:
        return str(self.next).encode()

    def set_state(self, state: bytes) -> None:
        self.next = int(state)


def stateful(**more: Any) -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader(TensorDataset(*samples()), batch_size=SIZE, shuffle=True, **more)


def with_generator(**more: Any) -> Any:
    return shuffled(generator=torch.Generator().manual_seed(5), **more)


def sampled(sampler: Callable[[], Any], **more: Any) -> Callable[[], Any]:
    return lambda: DataLoader(TensorDataset(*samples()), batch_size=SIZE, sampler=sampler(), **more)


def in_a_batch_sampler() -> Any:
    data, generator = TensorDataset(*samples()), torch.Generator().manual_seed(6)
    order = torch.utils.data.RandomSampler(data, replacement=True, generator=generator)
    return DataLoader(data, batch_sampler=torch.utils.data.BatchSampler(order, SIZE, True))


def unbatched() -> Any:
    batches = [(samples()[0][i : i + SIZE], samples()[1][i : i + SIZE]) for i in range(0, BATCHES * SIZE, SIZE)]
    return DataLoader(batches, batch_size=None, shuffle=True)  # type: ignore[arg-type]


def augmented(**more: Any) -> Any:
    return DataLoader(Augmented(), batch_size=SIZE, shuffle=True, num_workers=2, **more)


def shuffled_validation() -> Any:
    data = TensorDataset(*samples(9, 1))
    return DataLoader(data, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(8))


Case = tuple[type[Any], Callable[[], Any], dict[str, Any]]

# name -> (module, training loader, what else the Trainer gets)
CASES: dict[str, Case] = {
    "everything": (Net, shuffled, {"accumulate_grad_batches": 3, "val_check_interval": 0.5}),
    "clipped": (Plain, shuffled, {"gradient_clip_val": 0.1, "accumulate_grad_batches": {0: 2, 1: 3}}),
    "half": (Overflowing, shuffled, {"precision": 16, "accumulate_grad_batches": 2}),
    "bfloat16": (Plain, shuffled, {"precision": "bf16"}),
    "double": (Plain, shuffled, {"precision": 64}),
    "outputs": (Outputs, shuffled, {}),
    "game": (Game, shuffled, {"accumulate_grad_batches": 2}),
    "by_hand": (ByHand, shuffled, {}),
    "lbfgs": (Lbfgs, shuffled, {"accumulate_grad_batches": 3}),
    "recurrent": (Recurrent, shuffled, {}),
    "partly_frozen": (PartlyFrozen, shuffled, {}),
    "loose_metric": (LooseMetric, shuffled, {}),
    "cut_by_steps": (Plain, shuffled, {"max_steps": 10}),
    "part_of_the_data": (Plain, shuffled, {"limit_train_batches": 4}),
    "own_generator": (Plain, with_generator, {}),
    "global_sampler": (Plain, sampled(FromGlobalState), {}),
    "lazy_sampler": (Plain, sampled(OneByOne), {}),
    "own_sampler": (Plain, sampled(OfItsOwn), {}),
    "batch_sampler": (Plain, in_a_batch_sampler, {}),
    "unbatched": (Plain, unbatched, {}),
    "augmented": (Plain, lambda: DataLoader(Augmented(), batch_size=SIZE, shuffle=True), {}),
    "own_noise": (Plain, lambda: DataLoader(OwnNoise(), batch_size=SIZE, shuffle=True), {}),
    "stream": (Plain, lambda: DataLoader(Stream(), batch_size=SIZE), {"accumulate_grad_batches": 3}),
    "whole_stream": (Plain, lambda: DataLoader(Stream(BATCHES * SIZE), batch_size=SIZE), {}),
    "list": (Plain, lambda: list(DataLoader(TensorDataset(*samples()), batch_size=SIZE)), {}),
    "stateful": (Plain, stateful, {}),
    "stateful_generator": (Plain, lambda: stateful(generator=torch.Generator().manual_seed(5)), {}),
    "grain_like": (Plain, GrainLike, {}),
}

WITH_WORKERS: dict[str, Case] = {
    "workers": (Plain, augmented, {}),
    "workers_generator": (Plain, lambda: augmented(generator=torch.Generator().manual_seed(5)), {}),
    "workers_persistent": (Plain, lambda: augmented(persistent_workers=True), {}),
    "workers_own_sampler": (Plain, sampled(OfItsOwn, num_workers=2), {}),
    "workers_stateful": (Plain, lambda: stateful(num_workers=2), {}),
    "workers_stream": (Plain, lambda: DataLoader(Stream(), batch_size=SIZE, num_workers=2), {}),
}


def parts(case: Case, seed: int, callbacks: list[Any], val: Any = None, **flags: Any) -> tuple[Any, Any, Any, Any]:
    """A fresh trainer, module, training and validation loader."""
    pl.seed_everything(seed)
    if seed != 1:
        disturb()
    module, loader, more = case
    given = {"max_epochs": EPOCHS, "log_every_n_steps": 1, **more, **flags}
    trainer = pl.Trainer(
        callbacks=callbacks, logger=MemoryLogger(), checkpoint_callback=False, progress_bar_refresh_rate=0,
        weights_summary=None, **given,
    )  # fmt: skip
    has_validation = module.validation_step is not pl.LightningModule.validation_step
    val = None if not has_validation else (val or validation)()
    return trainer, module(), loader(), val


def watchers(case: Case) -> list[Any]:
    """Callbacks with states of their own."""
    return [EarlyStopping("val_loss", patience=9)] if case[0] is Net else [EarlyStopping("loss_epoch", patience=9)]


def whole(
    case: Case,
    directory: Any,
    hooks: tuple[str, ...],
    counted: bool = False,
    every: int = 1,
    watched: bool = True,
    **flags: Any,
) -> tuple[dict[str, Any], dict[tuple[str, int], tuple[str, int]]]:
    """The uninterrupted run, which saves on its way; gives what it ends with, and what it saved."""
    saver = Saver(directory, hooks, every)
    around = [Counting("before"), saver, Counting("after")] if counted else [saver]
    stop = watchers(case) if watched and _logs(case) else []
    trainer, module, train, val = parts(case, 1, [*around, *stop], **flags)
    trainer.fit(module, train, val)
    return final(trainer, trainer.logger.rows), saver.saved


def continued(case: Case, saved: tuple[str, int], counted: bool = False, **flags: Any) -> dict[str, Any]:
    """A fresh run that continues from a checkpoint; gives what it ends with, and logs from there on."""
    around = [Counting("before"), Counting("after")] if counted else []
    stop = watchers(case) if _logs(case) else []
    trainer, module, train, val = parts(case, 99, [*around, *stop], **flags)
    trainer.fit(module, train, val, ckpt_path=saved[0])
    return final(trainer, trainer.logger.rows)


def _logs(case: Case) -> bool:
    return not issubclass(case[0], Game | Lbfgs | Recurrent)
