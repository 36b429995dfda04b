"""The state of any checkpoint goes on in the function as the run does, to the bit."""

import copy
import warnings

import pytest
import torch
from torch.utils.data import DataLoader

import functrain_jax as ft
import functrain_torch as pl
from tests import inside
from tests.adapters.jax.common import Batches, Endless, Plain, bits, same
from tests.adapters.jax.common import trainer as jax_trainer
from tests.functional.test_jax import Logs, Turns, values
from tests.functional.test_torch import Net, fitted, of_state, of_trainer
from tests.functional.test_watched_jax import Linen
from tests.resume.fixtures import make

FLAGS = {name: make.FLAGS[name] for name in ("accumulate_grad_batches", "gradient_clip_val")}


class Collects(pl.Callback):
    """The batches of every epoch."""

    def __init__(self):
        self.epochs = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.epochs.setdefault(trainer.current_epoch, []).append(copy.deepcopy(batch))


def rest_of(world, path):
    """The rest of a run from a checkpoint, without validation: its Trainer, its module, and the batches by epoch."""
    module, train, _ = make.PROGRAMS[world]()
    if world == "torch":  # one that draws from the global generator would move it between two epochs
        train = DataLoader(train.dataset, make.SIZE, shuffle=True, generator=torch.Generator())
    seen = Collects()
    trainer = (pl if world == "torch" else ft).Trainer(
        max_epochs=3, limit_val_batches=0, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0,
        weights_summary=None, num_sanity_val_steps=0, callbacks=[seen], **FLAGS,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has other callbacks, and other flags of validation
        trainer.fit(module, train, ckpt_path=str(path))
    return trainer, module, seen.epochs


@pytest.mark.parametrize("world", make.PROGRAMS)
@pytest.mark.parametrize("place", make.PLACES)
def test_a_checkpoint_of_an_earlier_version_goes_on_in_the_function(world, place):
    path = make.path_of(world, place)
    trainer, module, epochs = rest_of(world, path)
    package = pl if world == "torch" else ft
    step = package.functional(make.PROGRAMS[world]()[0], **FLAGS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = package.load_state(path, step)
    assert int(state.clock.epoch) == min(epochs)
    for batches in epochs.values():
        state, _ = step.epoch(state, batches)
    if world == "torch":
        assert of_state(state) == of_trainer(module, trainer)
    else:
        same(bits(values(state)), bits(values(inside.train_state(trainer))))
    assert tuple(int(n) for n in state.clock[:3]) == tuple(inside.clock(trainer)[:3])


@pytest.mark.parametrize("kind", [Logs, Turns, Linen, Plain])
@pytest.mark.parametrize("epochs", [{"max_epochs": 1}, {"max_steps": 5}])
def test_the_checkpoint_that_is_saved_as_an_epoch_ends_goes_on_where_the_run_would(tmp_path, kind, epochs):
    ft.seed_everything(4)
    fit(epochs, tmp_path).fit(kind(), Batches())
    path = tmp_path / "last.ckpt"
    rest = fit({"max_epochs": 2}, tmp_path / "rest")
    rest.fit(kind(), Batches(), ckpt_path=path)
    step = ft.functional(kind())
    state, batches = ft.load_state(path, step), Batches().batches
    if "max_steps" in epochs:
        state, _ = step.epoch(state, batches[int(state.clock.batch) :])
    assert [int(n) for n in state.clock[:2]] == [1, 0]
    state, report = step.epoch(state, batches)
    same(bits(values(state)), bits(values(inside.train_state(rest))))
    assert all(float(value) == float(rest.callback_metrics[name]) for name, value in report.metrics.items())


@pytest.mark.parametrize("world", ["torch", "jax"])
@pytest.mark.parametrize("sized", [True, False], ids=["known length", "unknown length"])
def test_an_epoch_whose_batches_were_all_seen_ends_without_one(tmp_path, world, sized):
    """The checkpoint was saved in the last batch's hook: its window and the epoch's metrics come after it."""
    package, module = (pl, Net) if world == "torch" else (ft, Logs)
    of_torch = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(4)]
    batches = of_torch if world == "torch" else Batches().batches[:4]
    loader, path, flags = batches if sized else Endless(batches), tmp_path / "a.ckpt", {"accumulate_grad_batches": 3}

    def saves(trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 0 and batch_idx == 3:
            trainer.save_checkpoint(path)

    def run(**more):
        return package.Trainer(
            logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None, **flags, **more
        )

    package.seed_everything(2)
    first = run(max_epochs=1, callbacks=[package.callbacks.LambdaCallback(on_train_batch_end=saves)])
    first.fit(module(), loader)
    rest, trained = run(max_epochs=2), module()
    rest.fit(trained, loader, ckpt_path=str(path))
    step = package.functional(module(), **flags)
    state, ended = step.epoch(package.load_state(path, step), [])
    assert tuple(int(n) for n in state.clock[:3]) == (1, 0, 2)
    assert len(ended.steps) == (not sized)
    assert {name: float(value) for name, value in ended.metrics.items()} == {
        name: float(first.callback_metrics[name]) for name in ended.metrics
    }
    assert ended.metrics
    state, _ = step.epoch(state, batches)
    if world == "torch":
        assert of_state(state) == of_trainer(trained, rest)
    else:
        same(bits(values(state)), bits(values(inside.train_state(rest))))


def fit(flags, directory):
    saves = ft.callbacks.ModelCheckpoint(directory, save_last=True)
    return jax_trainer(num_sanity_val_steps=0, checkpoint_callback=True, callbacks=[saves], **flags)


def test_a_checkpoint_of_format_1_goes_on_in_the_function(tmp_path):
    path = str(tmp_path / "a.ckpt")
    batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(3)]
    _, trainer = fitted(Net(), {}, batches, epochs=1)
    trainer.save_checkpoint(path)
    pl.seed_everything(1)
    saved = inside.read(path)
    saved["loop"]["position"], saved["functrain"]["format"] = ["epoch", 8], 1
    for name in ("over", "before_batch", "seen"):
        saved["loop"].pop(name, None)
    inside.write(path, saved)
    module, trainer = fitted(Net(), {}, batches, epochs=2, ckpt_path=path)
    step = pl.functional(Net())
    state, _ = step.epoch(pl.load_state(path, step), batches)
    assert of_state(state) == of_trainer(module, trainer)
