"""Weights of another kind of numbers than the module's are refused by name; another precision of them is not."""

import jax.numpy as jnp
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from tests.adapters.jax.common import Batches, Plain, trainer
from tests.adapters.torch.small import QUIET, Net, batches


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
@pytest.mark.parametrize("strict", [True, False])
def test_integer_and_complex_weights_do_not_become_a_float_model(dtype, strict, tmp_path):
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Net(), batches(2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["state_dict"]["net.0.weight"] = content["state_dict"]["net.0.weight"].to(dtype)
    torch.save(content, tmp_path / "b.ckpt")
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(pl.CheckpointError, match=rf"b\.ckpt.*net\.0\.weight {kind} instead of float32"):
        Net.load_from_checkpoint(tmp_path / "b.ckpt", strict=strict)
    with pytest.raises(pl.CheckpointError, match=rf"b\.ckpt.*net\.0\.weight {kind} instead of float32"):
        pl.Trainer(**QUIET, max_epochs=2).fit(Net(), batches(2), ckpt_path=tmp_path / "b.ckpt")


def test_another_precision_of_the_weights_is_taken(tmp_path):
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(Net(), batches(2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["state_dict"]["net.0.weight"] = content["state_dict"]["net.0.weight"].double()
    torch.save(content, tmp_path / "b.ckpt")
    assert Net.load_from_checkpoint(tmp_path / "b.ckpt").net[0].weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
def test_integer_and_complex_weights_do_not_become_a_float_model_in_jax(dtype, tmp_path):
    class Other(Plain):
        def on_save_checkpoint(self, checkpoint):
            checkpoint["state_dict"] = {**checkpoint["state_dict"], "params.w": jnp.ones((6, 3), dtype)}

    run = trainer(max_epochs=1)
    run.fit(Other(), Batches())
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ft.CheckpointError, match=rf"a\.ckpt.*params\.w {jnp.dtype(dtype)} instead of float32"):
        Plain.load_from_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ft.CheckpointError, match=rf"a\.ckpt.*params\.w {jnp.dtype(dtype)} instead of float32"):
        trainer(max_epochs=2).fit(Plain(), Batches(), ckpt_path=str(tmp_path / "a.ckpt"))
