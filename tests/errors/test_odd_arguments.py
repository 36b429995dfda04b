"""Arguments that make no sense: each is answered at once, in a sentence that names the call, the value and what to
do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import functrain_torch as pl
from functrain.callbacks import EarlyStopping, GradientAccumulationScheduler, ModelCheckpoint
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
