"""The sanity check draws from generators that data sets, samplers, the module and callbacks hold; training does not
see it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import functrain_torch as pl
from tests.adapters.jax.common import Plain as JaxPlain
from tests.adapters.jax.common import cross_entropy
from tests.adapters.jax.common import trainer as jax_trainer
from tests.adapters.torch.small import QUIET
from tests.resume.test_generators import Holding, Jittered, Points


class HoldingOne(Holding):
    """Its validation moves the generators that its training draws from."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        torch.rand(3, generator=self.generator)
        super().validation_step(batch, batch_idx)


class Drawing(pl.Callback):
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def on_validation_batch_end(self, trainer: Any, *args: Any) -> None:
        self.rng.random()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        with torch.no_grad():
            pl_module.net[0].bias += self.rng.random()


def in_torch(steps: int) -> Any:
    data = Points(1)
    generator = torch.Generator().manual_seed(5)
    train, val = (DataLoader(data, batch_size=3, shuffle=True, generator=generator) for _ in range(2))
    model = HoldingOne(1)
    flags = {**QUIET, "max_epochs": 1, "num_sanity_val_steps": steps, "limit_val_batches": 2}
    pl.Trainer(**flags, callbacks=[Drawing()]).fit(model, train, val)
    return [p.tolist() for p in model.parameters()]


class InJax(JaxPlain):
    def __init__(self) -> None:
        super().__init__()
        self.noise = {"x": np.random.default_rng(1)}

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] + self.noise["x"].normal(size=batch[0].shape).astype(np.float32), batch[1]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", cross_entropy(self(batch[0]), batch[1]))


def in_jax(steps: int) -> Any:
    model, loader = InJax(), Jittered(1)
    jax_trainer(max_epochs=1, num_sanity_val_steps=steps).fit(model, loader, loader)
    return np.array(model.params["w"]).tolist()


@pytest.mark.filterwarnings("ignore:val_dataloader. its sampler has shuffling enabled:UserWarning")
@pytest.mark.parametrize("fitted", [in_torch, in_jax])
def test_the_number_of_sanity_steps_does_not_change_the_training(fitted):
    assert fitted(2) == fitted(1) == fitted(0)


def test_generators_are_as_before_where_the_sanity_check_fails():
    class Failing(Holding):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.rand(3, generator=self.generator)
            raise RuntimeError("broken")

    model = Failing(1)
    before = model.generator.get_state()
    loaders = [DataLoader(Points(seed), batch_size=3) for seed in (1, 2)]
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(model, *loaders)
    assert torch.equal(model.generator.get_state(), before)
