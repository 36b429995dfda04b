"""Random generators that the module, its data sets and callbacks hold: a run that continues draws what the whole run
drew."""

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

import functrain_torch as pl
from functrain.trainer.generators import held
from tests.adapters.jax.common import Plain as JaxPlain
from tests.adapters.jax.common import X, Y
from tests.adapters.jax.common import trainer as jax_trainer
from tests.adapters.torch.small import QUIET, Net, forks


class Noise:
    """A transform with a generator of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, x: Any) -> Any:
        return x + float(self.rng.normal())


class Points(Dataset[Any]):
    def __init__(self, seed: int) -> None:
        self.old, self.plain = np.random.RandomState(seed), random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        self.transforms = [Noise(seed), partial(self.shifted, generator), lambda x: x + self.old.rand()]

    def __len__(self) -> int:
        return 12

    @staticmethod
    def shifted(generator: torch.Generator, x: Any) -> Any:
        return x + torch.rand(4, generator=generator)

    def __getitem__(self, i: int) -> Any:
        x = torch.full((4,), float(i)) + self.plain.random()
        for transform in self.transforms:
            x = transform(x)
        return x, i % 2


def loader(seed: int, **options: Any) -> DataLoader[Any]:
    return DataLoader(Subset(ConcatDataset([Points(seed)]), range(12)), batch_size=3, **options)


class Holding(Net):
    """Draws from generators of its own, in training and in validation."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.generator, self.parts = torch.Generator().manual_seed(seed), {"numpy": np.random.default_rng(seed)}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss((batch[0] + torch.rand(4, generator=self.generator), batch[1]))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", float(self.parts["numpy"].random()))


class Kicking(pl.Callback):
    """Moves a weight at random before each batch."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        with torch.no_grad():
            pl_module.net[0].bias += self.rng.random()


class Saving(pl.Callback):
    def __init__(self, directory: Any) -> None:
        self.directory, self.paths = directory, []

    def save(self, trainer: Any) -> None:
        self.paths.append(self.directory / f"{len(self.paths)}.ckpt")
        trainer.save_checkpoint(self.paths[-1])

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.save(trainer)

    def on_validation_epoch_start(self, trainer: Any, *args: Any) -> None:
        if not trainer.sanity_checking:
            self.save(trainer)


def run(seed: int, callbacks: list[Any], ckpt_path: Any = None) -> Any:
    trainer = pl.Trainer(**QUIET, max_epochs=2, num_sanity_val_steps=0, callbacks=[Kicking(seed), *callbacks])
    model = Holding(seed)
    trainer.fit(model, loader(seed), loader(seed + 1), ckpt_path=ckpt_path)
    return trainer, [p.tolist() for p in model.parameters()], dict(trainer.callback_metrics)


def test_generators_of_module_data_sets_and_callbacks_are_in_the_checkpoint(tmp_path):
    saving = Saving(tmp_path)
    whole = run(1, [saving])[1:]
    assert len(saving.paths) == 10
    for path in saving.paths:
        assert run(77, [], path)[1:] == whole, path


class Draws(JaxPlain):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.noise = {"x": np.random.default_rng(seed)}

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] + self.noise["x"].normal(size=batch[0].shape).astype(np.float32), batch[1]


class Jittered:
    """A loader whose data set draws."""

    def __init__(self, seed: int) -> None:
        self.dataset = [Noise(seed)]

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Any:
        return ((self.dataset[0](X[i : i + 8]).astype(np.float32), Y[i : i + 8]) for i in range(0, 48, 8))


def test_generators_of_a_jax_module_and_its_loader_are_in_the_checkpoint(tmp_path):
    class AtEpochs(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(str(tmp_path / f"{trainer.current_epoch}.ckpt"))

    def fitted(seed: int, callbacks: Any = None, ckpt_path: Any = None) -> Any:
        model = Draws(seed)
        jax_trainer(max_epochs=3, callbacks=callbacks).fit(model, Jittered(seed), ckpt_path=ckpt_path)
        return np.array(model.params["w"]).tolist()

    whole = fitted(1, [AtEpochs()])
    assert [fitted(77, ckpt_path=str(tmp_path / f"{epoch}.ckpt")) for epoch in range(3)] == [whole] * 3


@forks
@pytest.mark.parametrize(("batches", "told"), [(2, True), (4, False)])
def test_copies_in_worker_processes_are_told_when_the_checkpoint_is_written(batches, told, tmp_path, recwarn):
    """In the middle of an epoch only: at its end the copies are gone, and the next epoch's are made anew."""
    trainer = pl.Trainer(**QUIET, max_epochs=1, max_steps=batches)
    trainer.fit(Net(), loader(1, num_workers=2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer.save_checkpoint(tmp_path / "b.ckpt")
    said = [str(w.message) for w in recwarn if "copies" in str(w.message)]
    assert len(said) == told
    assert not told or "dataset.datasets.0.old" in said[0]


def test_a_generator_that_is_gone_is_told(tmp_path):
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Holding(1), loader(1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = Holding(1)
    del other.generator
    with pytest.warns(UserWarning, match=r"not there now: module\.generator\."):
        pl.Trainer(**QUIET, max_epochs=1).fit(other, loader(1), ckpt_path=tmp_path / "a.ckpt")


def test_data_is_not_searched():
    class Graph:
        def __init__(self) -> None:
            self.me, self.long = self, [random.Random(0)] * 1000
            self.array = np.zeros((1000, 1000))

    assert held(Graph()) == {}
