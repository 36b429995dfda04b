"""torch: loaders that are none, are empty, or are used up."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from functrain.data import ArrayLoader
from tests.errors.torch_parts import Net, Validated, X, Y, fit, loader, net, trainer


def batches(n: int = 3):
    return [(X[i * 4 : i * 4 + 4], Y[i * 4 : i * 4 + 4]) for i in range(n)]


NONE = [
    (3, r"an int \(3\) cannot be iterated over; give a loader of batches"),
    (object(), r"an object \(<object object.*cannot be iterated over"),
    (TensorDataset(X, Y), r"a TensorDataset .*cannot be iterated over.*wrap the data set in a DataLoader"),
    (DataLoader, r"the class DataLoader cannot be iterated over"),
    ("data", r"a str is no loader of batches; give a DataLoader, a list of batches, or a dict of loaders"),
    ({"x": X}, r"a dict is no loader of batches"),
    (X, r"a Tensor of shape \(12, 4\) is no loader"),
]


@pytest.mark.parametrize(("given", "says"), NONE, ids=lambda v: type(v).__name__)
def test_no_loader(given, says):
    with pytest.raises(pl.ConfigurationError, match=rf"train_dataloader: {says}"):
        fit(train=given)
    with pytest.raises(pl.ConfigurationError, match=rf"val_dataloader: {says}"):
        fit(Validated(), val=given)
    with pytest.raises(pl.ConfigurationError, match=rf"predict_dataloader: {says}"):
        trainer().predict(net(forward=lambda self, batch: batch), given)


def test_several_where_one_is_needed():
    step = pl.functional(Net())
    with pytest.raises(pl.ConfigurationError, match=r"a list of 2 loaders.*give a CombinedLoader of them, or join"):
        step.epoch(step.init(), [loader(), loader()])


def test_a_batch_where_a_loader_is_needed():
    with pytest.raises(pl.ConfigurationError, match=r"val_dataloader: a tuple of 2 arrays is a batch.*into a list"):
        fit(Validated(), val=batches()[0])
    made = fit(Validated(), val=batches())
    assert "val_loss" in made.callback_metrics


@pytest.mark.parametrize("given", [[], loader(0), loader(2, drop_last=True)], ids=["list", "data", "drop_last"])
def test_length_0(given):
    says = r"the loader has length 0. Is the data set empty, or smaller than one batch with drop_last=True\?"
    with pytest.raises(pl.ConfigurationError, match=rf"train_dataloader: {says}"):
        fit(train=given)
    with pytest.warns(UserWarning, match=rf"val_dataloader: {says} Nothing of it is evaluated"):
        made = fit(Validated(), val=(given,))
    assert not made.enable_validation
    with pytest.warns(UserWarning, match="test_dataloader: the loader has length 0"):
        results = made.test(net(test_step=lambda self, batch, batch_idx: self.log("n", 1.0)), (given, loader()))
    assert results == [{}, {"n/dataloader_idx_1": 1.0}]


def test_none_at_all():
    with pytest.raises(
        pl.ConfigurationError, match=r"trainer\.fit\(Net\): no training loader; give train_dataloaders="
    ):
        trainer().fit(Net())
    for stage in ("validate", "test", "predict"):
        with pytest.raises(pl.ConfigurationError, match=r"Validated: no loader was given, and it has no .*_dataloader"):
            getattr(trainer(), stage)(Validated())


def test_two_names_of_one_argument():
    with pytest.raises(
        pl.ConfigurationError, match=r"train_dataloaders=\.\.\. and train_dataloader=\.\.\. were both given"
    ):
        trainer().fit(Net(), loader(), train_dataloader=loader())


def test_a_generator_is_used_up_after_an_epoch(tmp_path):
    """The epoch that was trained stays: it is told by the counters and can be saved."""
    made, module = trainer(), Net()
    with pytest.raises(pl.ConfigurationError, match=r"the generator was used up before epoch 1.*or set max_epochs=1"):
        made.fit(module, (batch for batch in batches()))
    assert (made.current_epoch, made.global_step) == (1, 3)
    fit(train=(batch for batch in batches()), max_epochs=1)


def test_a_generator_for_validation():
    says = "val_dataloader: a generator can be iterated over only once, and is needed again.*int limit_val_batches"
    with pytest.raises(pl.ConfigurationError, match=says):
        fit(Validated(), val=(batch for batch in batches()))
    with pytest.raises(pl.ConfigurationError, match=r"validation loader 0: the generator gave no batch.*used up"):
        fit(Validated(), val=(batch for batch in batches(2)), limit_val_batches=2)
    results = trainer().validate(Validated(), (batch for batch in batches()), verbose=False)
    assert set(results[0]) == {"val_loss"}


def test_a_generator_does_for_the_only_validation():
    made = fit(Validated(), val=(batch for batch in batches()), max_epochs=1, num_sanity_val_steps=0)
    assert "val_loss" in made.callback_metrics
    with pytest.raises(pl.ConfigurationError, match=r"validation loader 0: the generator gave no batch.*used up"):
        fit(Validated(), val=(batch for batch in batches()), num_sanity_val_steps=0)


def test_a_step_without_a_loader_and_a_loader_without_a_step():
    with pytest.warns(UserWarning, match="Validated defines a validation_step, and there is no val_dataloader"):
        fit(Validated())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(Validated(), limit_val_batches=0)
    with pytest.warns(UserWarning, match="a validation loader was given, and Mine defines no validation_step"):
        fit(val=loader())


def test_a_shuffling_loader_where_it_is_evaluated():
    with pytest.warns(UserWarning, match="val_dataloader: its sampler has shuffling enabled") as caught:
        fit(Validated(), val=[loader(), {"a": loader(shuffle=True)}], reload_dataloaders_every_n_epochs=1)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="predict_dataloader: its sampler has shuffling enabled"):
        trainer().predict(net(forward=lambda self, batch: batch[0]), loader(shuffle=True))
    quiet = net(Validated, validation_step=lambda self, batch, batch_idx: None)
    with pytest.warns(UserWarning, match="val_dataloader: its sampler has shuffling enabled"):
        trainer().validate(quiet, ArrayLoader((X, Y), 4, shuffle=True), verbose=False)


def test_without_a_length_and_empty():
    class Empty(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    for limits in ({}, {"max_steps": 3, "max_epochs": -1}):
        with pytest.raises(pl.ConfigurationError, match=r"train_dataloader: the DataLoader gave no batch in epoch 0"):
            fit(train=DataLoader(Empty()), **limits)
    with pytest.raises(pl.ConfigurationError, match="validation loader 1: the DataLoader gave no batch"):
        fit(Validated(), val=[loader(), DataLoader(Empty())])


def test_limits_that_fit_no_loader():
    with pytest.raises(
        pl.ConfigurationError, match=r"limit_train_batches=0\.1\): of 3 batches this is none; give at least 0\.333"
    ):
        fit(limit_train_batches=0.1)
    with pytest.raises(
        pl.ConfigurationError, match=r"limit_train_batches=0\.5\): the loader has no length, so give an int"
    ):
        fit(train=(batch for batch in batches()), limit_train_batches=0.5)
    with pytest.raises(
        pl.ConfigurationError, match=r"val_check_interval=4\): an epoch has only 3 batches; use at most 3"
    ):
        fit(Validated(), val=loader(), val_check_interval=4)
    with pytest.raises(pl.ConfigurationError, match=r"val_check_interval=0\.5\): the training loader has no length"):
        fit(Validated(), train=(batch for batch in batches()), val=loader(), val_check_interval=0.5)


def test_no_training_at_all():
    """limit_train_batches=0 trains nothing, and ends."""
    made = fit(limit_train_batches=0, max_epochs=-1)
    assert (made.current_epoch, made.global_step) == (0, 0)
