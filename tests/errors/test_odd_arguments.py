"""Arguments that make no sense: each is answered at once, in a sentence that names the call, the value and what to
do."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import EarlyStopping, GradientAccumulationScheduler, ModelCheckpoint
from functrain.loggers import CSVLogger, TensorBoardLogger
from functrain.trainer.errors import CheckpointError
from tests.adapters.jax.common import Plain as JaxPlain
from tests.errors.torch_parts import Net, fit, loader, net, trainer


def says(*parts: str, error: type[Exception] = pl.ConfigurationError):
    return pytest.raises(error, match=".*".join(map(re.escape, parts)))


@pytest.mark.parametrize("given", [(), (None,)])
def test_fit_without_a_module(given):
    with says("trainer.fit(): no module was given; give an instance of functrain_torch.LightningModule"):
        trainer().fit(*given)


@pytest.mark.parametrize(
    ("value", "what"), [("", "an empty string"), (3, "an int"), (False, "a bool"), (2.5, "a float")]
)
def test_a_ckpt_path_that_names_no_checkpoint_is_not_taken_for_none(value, what):
    said = f"(ckpt_path={value!r}): {what} names no checkpoint; give a path"
    with says("trainer.fit" + said):
        trainer().fit(Net(), loader(), ckpt_path=value)
    for stage in ("validate", "test", "predict"):
        with says(f"trainer.{stage}{said}"):
            getattr(trainer(), stage)(Net(), loader(), ckpt_path=value)


def test_an_empty_resume_from_checkpoint():
    with says("Trainer(resume_from_checkpoint=''): an empty string names no checkpoint"):
        trainer(resume_from_checkpoint="")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ModelCheckpoint(dirpath=3), "ModelCheckpoint(dirpath=3): must be a path, not an int"),
        (lambda: ModelCheckpoint(filename=3), "ModelCheckpoint(filename=3): must be a str, not an int"),
        (lambda: ModelCheckpoint(filename=Path("a")), "must be a str, not a PosixPath"),
        (lambda: EarlyStopping("loss", min_delta="x"), "EarlyStopping(min_delta='x'): must be a number, not a str"),
        (
            lambda: EarlyStopping("loss", min_delta=float("nan")),
            "EarlyStopping(min_delta=nan): must be a finite number",
        ),
        (lambda: EarlyStopping(3), "EarlyStopping(monitor=3): must be the name of a metric, not an int"),
        (lambda: ModelCheckpoint(monitor=3), "ModelCheckpoint(monitor=3): must be the name of a metric, not an int"),
        (lambda: ModelCheckpoint(save_last="x"), "ModelCheckpoint(save_last='x'): must be True or False"),
        (
            lambda: GradientAccumulationScheduler(3),
            "GradientAccumulationScheduler(scheduling=3): must be a dict {from_epoch: int}, not an int",
        ),
    ],
)
def test_a_callback(make, said):
    with says(said):
        make()


@pytest.mark.parametrize("value", [3, "data"])
def test_a_datamodule_that_is_none(value):
    with says(f"trainer.fit(datamodule={value!r}): a", "is no data module; give an object with train_dataloader()"):
        trainer().fit(Net(), datamodule=value)


@pytest.mark.parametrize("value", [None, 3, ""])
def test_a_checkpoint_without_a_name(value):
    with says(f"trainer.save_checkpoint({value!r}): this names no file; give a path"):
        fit(Net()).save_checkpoint(value)


@pytest.mark.parametrize("value", ["nowhere", [], {"cpu": "nowhere"}])
def test_a_map_location_that_is_no_device(value, tmp_path):
    with says(f"load_from_checkpoint(map_location={value!r}): names no device; give 'cpu'"):
        Net.load_from_checkpoint(tmp_path / "a.ckpt", map_location=value)


def test_an_hparams_file_that_is_no_path(tmp_path):
    with says("Net.load_from_checkpoint(hparams_file=3): must be a path, not an int"):
        Net.load_from_checkpoint(tmp_path / "a.ckpt", hparams_file=3)


@pytest.mark.parametrize("world", [Net, JaxPlain])
def test_log_dict_of_a_list(world):
    with says("self.log_dict([1]): a list has no names; give a dict {name: value}", error=TypeError):
        world().log_dict([1])


@pytest.mark.parametrize(
    ("weight", "said", "error"),
    [
        ("x", "'weight' is 'x'; give a number", TypeError),
        (None, "'weight' is None; give a number", TypeError),
        ("of each", "'weight' has shape (4,); give a number of samples", ValueError),
    ],
)
def test_a_weight_that_is_no_number(weight, said, error):
    def training_step(self, batch, batch_idx):
        given = batch[0].new_ones(4) if weight == "of each" else weight
        return {"loss": Net.training_step(self, batch, batch_idx), "weight": given}

    with says("the training step's", said, error=error):
        fit(net(training_step=training_step))


def test_log_dict_takes_a_collection_of_metrics():
    torchmetrics = pytest.importorskip("torchmetrics")

    class Measured(Net):
        def __init__(self):
            super().__init__()
            self.metrics = torchmetrics.MetricCollection({"sum": torchmetrics.SumMetric()})

        def training_step(self, batch, batch_idx):
            self.metrics["sum"].update(1.0)
            self.log_dict(self.metrics, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    assert float(fit(Measured(), max_epochs=1).callback_metrics["sum"]) == 3.0


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_directory_that_is_no_path(kind):
    with says(f"{kind.__name__}(save_dir=3): must be a path or a URL"):
        kind(3)


@pytest.mark.parametrize("package", [pl, ft], ids=["torch", "jax"])
def test_the_step_of_a_loss_function_or_an_optimizer_that_is_none(package):
    optimizer = optax.sgd(0.1) if package is ft else partial(torch.optim.SGD, lr=0.1)
    with says("make_step(None, ...): give a loss function, called with (params, batch)"):
        package.make_step(None, optimizer)
    with says("make_step(optimizer=None): a NoneType is no optimizer; give"):
        package.make_step(lambda params, batch: 0, None)
    for name, value in (("accumulate", 0), ("accumulate", 2.0), ("tbptt", -1)):
        with says(f"make_step({name}={value!r}): must be an int >= 1"):
            package.make_step(lambda params, batch: 0, optimizer, **{name: value})


@pytest.mark.parametrize(("package", "module"), [(pl, Net), (ft, JaxPlain)], ids=["torch", "jax"])
def test_flags_of_a_step_are_those_of_functional_also_where_they_are_wrong(package, module):
    for name, value in (("foo", 1), ("precision", "x"), ("accumulate_grad_batches", 0)):
        with says(f"functional({name}={value!r}): "):
            package.functional(module(), **{name: value})


@pytest.mark.parametrize("module", [Net, JaxPlain], ids=["torch", "jax"])
def test_a_number_in_the_place_of_a_checkpoint(module):
    with says("3: an int names no checkpoint; give a path", error=CheckpointError):
        module.load_from_checkpoint(3)


def test_an_evaluation_of_an_empty_list():
    with says("dataloaders=[]: there is no loader and no batch in it"):
        trainer().validate(Net(), [])


@pytest.mark.parametrize("flag", ["max_epochs", "accumulate_grad_batches", "limit_val_batches", "log_every_n_steps"])
def test_numbers_of_numpy_are_numbers(flag):
    for kind in (np.int64, np.int32, np.uint8):
        run = trainer(**{flag: kind(3)})
        assert (getattr(run, flag), type(getattr(run, flag))) == (3, int)


def test_fractions_of_numpy_are_fractions():
    run = trainer(limit_train_batches=np.float32(0.5), gradient_clip_val=np.float32(0.25))
    assert [run.limit_train_batches, run.gradient_clip_val] == [0.5, 0.25]
    assert {type(run.limit_train_batches), type(run.gradient_clip_val)} == {float}
