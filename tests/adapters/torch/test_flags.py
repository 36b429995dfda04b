"""Flags of the Trainer: older names, unknown ones with the nearest right name, impossible and contradictory values."""

import warnings
from typing import Any

import pytest

import functrain_torch as pl
from functrain.trainer import flags as flag_table
from functrain.trainer.errors import OlderNameWarning
from functrain_torch.compat.trainer import OLDER_FLAGS
from tests.adapters.torch.small import QUIET, Net, batches, trainer


@pytest.mark.parametrize(
    ("old", "value", "new", "means"),
    [
        ("max_nb_epochs", 3, "max_epochs", 3),
        ("min_nb_epochs", 2, "min_epochs", 2),
        ("nb_sanity_val_steps", 5, "num_sanity_val_steps", 5),
        ("train_percent_check", 0.5, "limit_train_batches", 0.5),
        ("val_percent_check", 0.5, "limit_val_batches", 0.5),
        ("test_percent_check", 0.5, "limit_test_batches", 0.5),
        ("overfit_pct", 0.1, "overfit_batches", 0.1),
        ("distributed_backend", "cpu", "accelerator", "cpu"),
        ("reload_dataloaders_every_epoch", True, "reload_dataloaders_every_n_epochs", 1),
    ],
)
def test_an_older_name_works_and_says_what_replaced_it(old: str, value: Any, new: str, means: Any):
    with pytest.warns(OlderNameWarning, match=rf"Trainer\({old}=...\) is the older name of '{new}': use {new}"):
        run = trainer(**{old: value})
    assert getattr(run, new) == means


def test_the_warning_names_the_users_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pl.Trainer(max_nb_epochs=1, **QUIET)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("alias", "value", "flag", "means"),
    [
        ("enable_progress_bar", False, "progress_bar_refresh_rate", 0),
        ("enable_model_summary", False, "weights_summary", None),
        ("enable_checkpointing", False, "checkpoint_callback", None),
        ("use_distributed_sampler", False, "replace_sampler_ddp", False),
        ("detect_anomaly", True, "terminate_on_nan", True),
    ],
)
def test_another_name_of_equal_standing(alias: str, value: Any, flag: str, means: Any):
    quiet = {name: given for name, given in QUIET.items() if name != flag}
    assert getattr(pl.Trainer(**{alias: value}, **quiet), flag) == means


def test_two_names_of_one_flag_are_an_error():
    message = r"max_epochs=..., max_nb_epochs=...\): two names of one flag"
    with pytest.raises(pl.ConfigurationError, match=message), pytest.warns(OlderNameWarning):
        trainer(max_epochs=1, max_nb_epochs=2)


@pytest.mark.parametrize("old", OLDER_FLAGS)
def test_an_older_name_at_its_default_leaves_the_flag_as_it_is(old: str):
    now = OLDER_FLAGS[old].flag
    default = flag_table.DEFAULTS[now]
    with pytest.warns(OlderNameWarning, match=old):
        run = pl.Trainer(**{old: None, now: default})
    assert getattr(run.flags, now) == getattr(pl.Trainer().flags, now)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("max_epoch", "max_epochs"), ("gradient_clip", "gradient_clip_val"), ("acumulate_grad_batches", "accumulate"),
     ("Precision", "precision"), ("val_check_intervall", "val_check_interval")],
)  # fmt: skip
def test_an_unknown_flag_is_an_error_with_the_nearest_name(wrong: str, right: str):
    with pytest.raises(pl.ConfigurationError, match=rf"Trainer\({wrong}=1\): unknown flag\. Did you mean .*'{right}"):
        trainer(**{wrong: 1})


def test_an_unknown_attribute_too():
    with pytest.raises(AttributeError, match=r"Trainer has no attribute 'max_epoch'\. Did you mean .*'max_epochs'"):
        _ = trainer().max_epoch


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max_epochs": -2}, r"max_epochs=-2\): must be at least -1"),
        ({"max_epochs": 1.5}, r"max_epochs=1\.5\): must be an int, not float"),
        ({"accumulate_grad_batches": 0}, r"accumulate_grad_batches=0\)"),
        ({"accumulate_grad_batches": {0: 0}}, r"accumulate_grad_batches=\{0: 0\}\)"),
        ({"accumulate_grad_batches": 1.5}, r"accumulate_grad_batches=1\.5\)"),
        ({"gradient_clip_val": -1}, r"gradient_clip_val=-1\): must be a number >= 0"),
        ({"gradient_clip_algorithm": "l2"}, r"gradient_clip_algorithm='l2'\): must be one of 'norm', 'value'"),
        ({"track_grad_norm": 0}, r"track_grad_norm=0\): must be a p > 0"),
        ({"val_check_interval": 0}, r"val_check_interval=0\): must be > 0"),
        ({"limit_val_batches": -1}, r"limit_val_batches=-1\): must be an int >= 0"),
        ({"log_every_n_steps": 0}, r"log_every_n_steps=0\): must be at least 1"),
        ({"weights_summary": "all"}, r"weights_summary='all'\): must be one of 'top', 'full', None"),
        ({"min_epochs": 3, "max_epochs": 2}, r"min_epochs=3, max_epochs=2\): the minimum is above the maximum"),
        ({"min_steps": 3, "max_steps": 2}, r"min_steps=3, max_steps=2\): the minimum is above the maximum"),
        ({"accelerator": "abacus"}, r"accelerator='abacus'\)"),
        ({"gpus": 3}, r"gpus=3\): this version runs on one device"),
        ({"num_nodes": 2}, r"num_nodes=2\): this version runs on one device"),
        ({"accelerator": "cpu", "gpus": 1}, r"accelerator='cpu', gpus=1\): these contradict each other"),
        ({"tpu_cores": 8}, r"tpu_cores=8\): this flag is documented but not available in this version"),
    ],
)
def test_impossible_values(flags: dict[str, Any], message: str):
    with pytest.raises(pl.ConfigurationError, match=message):
        trainer(**flags)


def test_a_gpu_that_is_not_there():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(pl.ConfigurationError, match=r"gpus=1\): needs a CUDA device.*use accelerator='cpu'"):
        trainer(gpus=1).fit(Net(), batches(1))


def test_defaults_of_flags_that_come_later_are_taken():
    run = trainer(**flag_table.LATER)
    assert run.auto_lr_find is False


@pytest.mark.parametrize("name", flag_table.NAMES)
def test_every_flag_is_an_attribute(name: str):
    run = trainer()
    assert hasattr(run, name)


def test_defaults_of_the_documents():
    """A thousand epochs where nothing else ends the run; with another limit, that one."""
    assert trainer().max_epochs == 1000
    assert trainer(max_steps=5).max_epochs is None
    assert trainer(max_time={"hours": 1}).max_epochs is None
    assert trainer(max_epochs=-1, max_steps=5).max_epochs is None


def test_not_a_module_is_an_error():
    import torch

    with pytest.raises(pl.ConfigurationError, match=r"trainer\.fit\(Linear\): not a module of any adapter; subclass"):
        trainer().fit(torch.nn.Linear(1, 1), batches(1))


def test_accelerator_strategy_and_devices_are_three_flags():
    """As scripts of the 2.x generation give them."""
    run = pl.Trainer(accelerator="auto", strategy="auto", devices="auto", **QUIET)
    assert (run.accelerator, run.strategy) == ("auto", "auto")
    with pytest.raises(pl.ConfigurationError, match=r"strategy='ddp'\): this version runs on one device"):
        pl.Trainer(strategy="ddp", **QUIET)


def test_determinism_may_warn():
    import torch

    class Looks(Net):
        seen = (False, False)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen = (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            )
            return super().training_step(batch, batch_idx)

    for given, told in (("warn", (True, True)), (True, (True, False))):
        net = Looks()
        before = torch.are_deterministic_algorithms_enabled()
        try:
            trainer(deterministic=given, max_epochs=1).fit(net, batches(1))
        finally:
            torch.use_deterministic_algorithms(before)
        assert net.seen == told
    with pytest.raises(pl.ConfigurationError, match="deterministic='yes'"):
        trainer(deterministic="yes")


@pytest.mark.parametrize("given", [True, False])
def test_evaluation_may_compute_gradients(given: bool):
    import torch

    class Looks(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            assert not torch.is_grad_enabled()
            with torch.enable_grad():
                x = torch.ones(2, requires_grad=True)
                assert torch.autograd.grad(x.sum(), x)[0].tolist() == [1.0, 1.0]

    trainer(inference_mode=given).validate(Looks(), batches(1))
