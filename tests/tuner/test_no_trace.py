"""After a tuner everything is as it was: a fit that follows is, bit for bit, the one without it."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import numpy as np
import pytest
import torch

import functrain_torch as pl
from functrain import Callback
from functrain.callbacks import ModelCheckpoint
from functrain.loggers import CSVLogger
from functrain.seed import rng_state
from tests.tuner.small import Regression, loader, samples, trainer


class Counts(Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_fit_start(self, trainer, pl_module):
        self.calls.append("on_fit_start")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.calls.append(f"batch {batch_idx} {float(outputs['loss'])}")

    def on_train_end(self, trainer, pl_module):
        self.calls.append("on_train_end")


class Odd(Regression):
    """Dropout, statistics, a cached optimizer, a list that hooks fill, parts that set-up makes, a generator."""

    def __init__(self) -> None:
        super().__init__(dropout=0.5)
        self.norm = torch.nn.BatchNorm1d(3)
        self.generator = np.random.default_rng(3)
        self.seen: list[float] = []
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)

    def setup(self, stage=None):
        self.extra = torch.nn.Linear(1, 1).requires_grad_(False)

    def training_step(self, batch, batch_idx):
        noise = torch.from_numpy(self.generator.normal(size=(len(batch[0]), 1))).float()
        loss = (self(self.norm(batch[0])) + 0.1 * noise - batch[1]).square().mean()
        self.seen.append(loss.item() + random.random())
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        return self.optimizer


def drawn() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def shuffled() -> Any:
    generator = torch.Generator().manual_seed(11)
    return torch.utils.data.DataLoader(samples(), 4, shuffle=True, generator=generator)


def whole(folder: Any, tune: Any) -> dict[str, Any]:
    """A fit, after `tune`, with what is seen of it."""
    pl.seed_everything(5)
    counts, module, data = Counts(), Odd(), shuffled()
    run = trainer(
        logger=CSVLogger(folder, name="logs"), max_epochs=2, log_every_n_steps=1, default_root_dir=folder,
        callbacks=[counts, ModelCheckpoint(folder, "{epoch}", save_top_k=-1)], checkpoint_callback=True,
    )  # fmt: skip
    tune(run, module, data)
    run.fit(module, data)
    assert run.logger is not None
    with open(os.path.join(run.logger.log_dir, "metrics.csv")) as file:
        rows = file.read()
    return {
        "weights": {name: value.clone() for name, value in module.state_dict().items() if "extra" not in name},
        "calls": counts.calls, "seen": module.seen, "rows": rows, "drawn": drawn(), "files": sorted(os.listdir(folder)),
        "state": [value for of in module.optimizer.state.values() for value in of.values()],
    }  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def find(run: pl.Trainer, module: Odd, data: Any) -> None:
    run.tuner.lr_find(module, data, num_training=20, update_attr=True, max_lr=0.1)
    module.lr = 0.05


def scale(run: pl.Trainer, module: Odd, data: Any) -> None:
    assert run.tuner.scale_batch_size(module, mode="binsearch", max_trials=4) == 32
    module.batch_size = 4


@pytest.mark.parametrize("tune", [find, scale])
def test_a_fit_after_it_is_the_fit_without_it(tmp_path, tune: Any):
    without = whole(tmp_path / "without", lambda *_: None)
    after = whole(tmp_path / "after", tune)
    wrong = [name for name in without if not same(without[name], after[name])]
    assert not wrong


def test_module_trainer_and_generators_are_the_very_ones_of_before():
    module, data, run = Odd(), shuffled(), trainer(callbacks=[Counts()])
    with run.trying(module):  # it keeps that there was a tuner
        pl.seed_everything(2)
    assert not module.hparams
    tensors = dict(module.state_dict(keep_vars=True))
    values = {name: value.clone() for name, value in tensors.items()}
    attributes, of_run, generators = dict(vars(module)), dict(vars(run)), rng_state()
    run.tuner.lr_find(module, data, num_training=15)
    assert vars(module) == attributes
    assert vars(run) == of_run
    now = module.state_dict(keep_vars=True)
    assert now.keys() == tensors.keys()
    assert all(now[name] is tensors[name] for name in now)
    assert all(torch.equal(now[name], values[name]) for name in now)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert module.training
    assert str(rng_state()) == str(generators)


def test_the_same_twice():
    module, run = Odd(), trainer()
    first = run.tuner.lr_find(module, num_training=20)
    again = run.tuner.lr_find(module, num_training=20)
    assert first is not None
    assert again is not None
    assert first.results == again.results


def test_after_a_fit_its_values_stay():
    module, run = Regression(), trainer(max_epochs=1)
    run.fit(module, loader())
    metrics, step, fitted = dict(run.callback_metrics), run.global_step, run.run
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    run.tuner.lr_find(module, loader(), num_training=20)
    assert run.callback_metrics == metrics
    assert run.global_step == step
    assert run.run is fitted
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert run.tuner.lr_find(module, loader(), num_training=20) is not None


@pytest.mark.parametrize("of", [KeyError("mine"), MemoryError()])
def test_an_error_in_it_leaves_no_trace_either(of: Exception):
    module, run = Regression(), trainer()
    weights = {name: value.clone() for name, value in module.state_dict().items()}

    def fails(batch: Any, batch_idx: int) -> Any:
        if batch_idx == 3:
            raise of
        return Regression.training_step(module, batch, batch_idx)

    module.training_step = fails
    with pytest.raises(type(of)):
        run.tuner.lr_find(module, loader())
    assert module.sizes == []
    assert "configure_optimizers" not in vars(module)
    assert run.run is None
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    del module.training_step
    assert run.tuner.lr_find(module, loader(), num_training=20) is not None


@pytest.mark.parametrize("what", ["lr_find", "scale_batch_size"])
def test_ctrl_c_ends_it(what: str, capfd):
    module, run = Regression(), trainer()

    def interrupts(batch: Any, batch_idx: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return Regression.training_step(module, batch, batch_idx)

    module.training_step = interrupts
    with pytest.raises(KeyboardInterrupt):
        getattr(run.tuner, what)(module)
    assert (module.lr, module.batch_size, run.run) == (0.05, 4, None)
    assert module.sizes == []


def test_in_a_hook_of_a_run_that_run_goes_on():
    class Finds(Callback):
        def on_fit_start(self, trainer, pl_module):
            if trainer.run.outer is None:
                self.found = trainer.tuner.lr_find(pl_module, loader(), num_training=20, update_attr=True)

    finds, module = Finds(), Regression()
    run = trainer(max_epochs=1, callbacks=[finds])
    run.fit(module, loader())
    assert finds.found is not None
    assert module.lr == finds.found.suggestion() != 0.05
    assert run.global_step == 15
    other = Regression(lr=module.lr)
    trainer(max_epochs=1).fit(other, loader())
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_in_a_hook_it_serves_the_module_of_the_run_alone():
    class Finds(Callback):
        def on_fit_start(self, trainer, pl_module):
            trainer.tuner.lr_find(Regression(), loader())

    with pytest.raises(pl.ConfigurationError, match="a run of another module, Regression, is under way"):
        trainer(max_epochs=1, callbacks=[Finds()]).fit(Regression(), loader())


def test_what_stands_on_a_module_itself_stands_there_afterwards():
    """A method that a script has put on an object is no class's."""
    from functrain.tuner.attributes import standing_in

    class Owner:
        def method(self) -> str:
            return "class"

    for own in (None, lambda: "object"):
        owner = Owner()
        if own is not None:
            owner.method = own  # type: ignore[method-assign]
        with standing_in(owner, "method", lambda: "other"):
            assert owner.method() == "other"
        assert owner.method() == ("class" if own is None else "object")
        assert vars(owner) == ({} if own is None else {"method": own})
