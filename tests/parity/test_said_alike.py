"""What a module may say, and what is wrong with it, is the same in torch and in JAX: one place answers for both."""

from __future__ import annotations

import re
from typing import Any

import jax.numpy as jnp
import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.trainer.weights import ArraySpec, differences

QUIET: dict[str, Any] = {
    "logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
}  # fmt: skip


class OfTorch(pl.LightningModule):
    """Two linear parts, and what `configure_optimizers` and the step return is given."""

    def __init__(self, hparams: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(hparams or {})
        self.a, self.b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        self.dicts: Any = None
        self.returned: Any = None

    def optimizer(self, part: str) -> Any:
        return torch.optim.SGD(getattr(self, part).parameters(), 0.1)

    def training_step(self, batch: Any) -> Any:
        x = torch.ones(3, 2)
        return (self.a(x) + self.b(x)).mean() if self.returned is None else self.returned

    def configure_optimizers(self) -> Any:
        return [{"optimizer": self.optimizer(part), **extra} for part, extra in zip("ab", self.dicts, strict=True)]


class OfJax(ft.Module):
    """The same in JAX."""

    def __init__(self, hparams: Any = None) -> None:
        self.save_hyperparameters(hparams or {})
        self.params = {"w": jnp.ones(2)}
        self.dicts: Any = None
        self.returned: Any = None

    def training_step(self, batch: Any) -> Any:
        return self.params["w"].sum() if self.returned is None else self.returned

    def configure_optimizers(self) -> Any:
        return [{"optimizer": optax.sgd(0.1), "params": "params", **extra} for extra in self.dicts]


WORLDS = [(pl, OfTorch), (ft, OfJax)]


def said(world: Any, module: Any) -> str:
    """What the error of a fit says."""
    with pytest.raises(world.ConfigurationError) as caught:
        world.Trainer(max_epochs=1, **QUIET).fit(module, [0.0])
    return str(caught.value).replace("OfJax", "OfTorch")


@pytest.mark.parametrize(
    ("dicts", "message"),
    [
        (
            ({"frequency": 0}, {"frequency": 2}),
            r"configure_optimizers: frequencies \[0, 2\]: give",
        ),
        (({"frequency": True}, {"frequency": 2}), r"frequencies \[True, 2\]: .*an int >= 1"),
        (({"frequency": 1.5}, {"frequency": 2}), r"frequencies \[1.5, 2\]"),
        (({"frequency": 1}, {}), r"frequencies \[1, None\]: give 'frequency' for every optimizer or for none"),
        (({"frequencies": 1}, {}), r"unknown key 'frequencies'; the keys are .* Did you mean 'frequency'"),
    ],
)
@pytest.mark.parametrize(("world", "kind"), WORLDS)
def test_a_dict_of_an_optimizer_that_cannot_be(world, kind, dicts, message):
    module = kind()
    module.dicts = dicts
    assert re.search(message, said(world, module))


@pytest.mark.parametrize(("world", "kind"), WORLDS)
def test_a_dict_without_a_loss(world, kind):
    module = kind()
    module.dicts, module.returned = ({}, {}), {"los": 1.0}
    if world is ft:
        module.dicts = ({},)
    assert said(world, module).endswith("returned a dict without 'loss'; it has 'los'.")


@pytest.mark.parametrize(("world", "kind"), WORLDS)
def test_a_step_that_is_missing_names_the_loop_that_needs_it(world, kind):
    with pytest.raises(world.ConfigurationError, match=rf"{kind.__name__}.test_step is not defined; the test loop"):
        world.Trainer(**QUIET).test(kind(), [0.0])


def checkpoint(world: Any, kind: Any, path: Any) -> str:
    """A file of a module that got its hyperparameters as one object."""
    module = kind({"rate": 0.5})
    trainer = world.Trainer(max_epochs=0, **QUIET)
    module.dicts = ({}, {}) if world is pl else ({},)
    trainer.fit(module, [0.0])
    trainer.save_checkpoint(path / "a.ckpt")
    return str(path / "a.ckpt")


@pytest.mark.parametrize(("world", "kind"), WORLDS)
def test_hyperparameters_that_were_given_as_one_object_come_back_so(world, kind, tmp_path):
    loaded = kind.load_from_checkpoint(checkpoint(world, kind, tmp_path), depth=3)
    assert loaded.hparams == {"rate": 0.5, "depth": 3}


class Deeper(OfJax):
    def __init__(self, depth: int = 1) -> None:
        super().__init__()


class Deep(OfTorch):
    def __init__(self, depth: int = 1) -> None:
        super().__init__()


@pytest.mark.parametrize(("world", "kind"), [(pl, Deep), (ft, Deeper)])
def test_an_argument_that_init_does_not_have_is_named(world, kind, tmp_path):
    module = kind(2)
    trainer = world.Trainer(max_epochs=0, **QUIET)
    module.dicts = ({}, {}) if world is pl else ({},)
    trainer.fit(module, [0.0])
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(
        world.ConfigurationError, match=r"\(detph=3\): __init__ has no such argument. Did you mean 'depth'"
    ):
        kind.load_from_checkpoint(tmp_path / "a.ckpt", detph=3)


def test_what_is_no_checkpoint_of_a_module_is_said_alike(tmp_path):
    class Bare(OfTorch):
        def on_load_checkpoint(self, checkpoint):
            del checkpoint["state_dict"]

    class BareOfJax(OfJax):
        def on_load_checkpoint(self, checkpoint):
            del checkpoint["state_dict"]

    for world, kind, bare in ((pl, OfTorch, Bare), (ft, OfJax, BareOfJax)):
        (folder := tmp_path / bare.__name__).mkdir()
        path = checkpoint(world, kind, folder)
        with pytest.raises(world.CheckpointError) as raised:
            bare.load_from_checkpoint(path)
        assert str(raised.value) == (
            f"{path}: has no weights (no 'state_dict'), so it is no checkpoint of {bare.__name__}."
        )


@pytest.mark.parametrize("name", ["16-true", "bf16-true"])
def test_weights_in_half_are_torchs_alone(name):
    with pytest.raises(ValueError, match=rf"precision='{name}': under JAX a module makes its parameters itself"):
        ft.make_step(len, optax.sgd(0.1), precision=name)


@pytest.mark.parametrize("name", ["32-mixed", "half"])
def test_a_name_that_is_no_precision_is_none_anywhere(name):
    for world, optimizer in ((pl, len), (ft, optax.sgd(0.1))):
        with pytest.raises(ValueError, match=rf"precision='{name}': must be one of 64, 32, 16, bf16, 16-mixed"):
            world.make_step(len, optimizer, precision=name)


def test_differences_in_words():
    one = {
        "a": ArraySpec((2, 3), "float32"),
        "b": ArraySpec((), "int64"),
        "c": ArraySpec((1,), "bfloat16"),
        "extra": None,
    }
    other = {"a": ArraySpec((3, 2), "float64"), "b": ArraySpec((), "bool"), "c": ArraySpec((1,), "float16"), "d": None}
    kinds = "of another type: b int64 instead of bool"
    assert differences(one, one) is None
    assert differences(one, other, strict=False) == kinds
    assert differences(one, other) == (
        f"missing d; unexpected extra; of another shape: a (2, 3) instead of (3, 2); {kinds}"
    )


@pytest.mark.parametrize(("world", "kind"), WORLDS)
def test_the_hooks_of_a_batch_and_of_prediction_have_the_same_defaults(world, kind):
    module, batch = kind(), [1.0]
    assert module.on_before_batch_transfer(batch) is batch
    assert module.on_after_batch_transfer(batch, 1) is batch
    assert module.transfer_batch_to_device(batch, "cpu") == batch
    assert (module.automatic_optimization, module.truncated_bptt_steps, module.example_input_array) == (
        True,
        None,
        None,
    )


@pytest.mark.parametrize(("world", "kind"), WORLDS)
def test_the_module_decides_the_modes_of_one_stage_alone(world, kind):
    called: list[str] = []

    class Own(kind):
        def validation_step(self, batch: Any) -> None: ...

        def test_step(self, batch: Any) -> None: ...

        def on_validation_model_eval(self) -> None:
            called.append("eval")

        def on_validation_model_train(self) -> None:
            called.append("train")

    trainer = world.Trainer(**QUIET)
    module = Own()
    trainer.validate(module, [0.0], verbose=False)
    trainer.test(module, [0.0], verbose=False)
    assert called == ["eval", "train"]
