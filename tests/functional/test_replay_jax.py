"""A run that ends for a value that is not finite leaves what it takes to run the step again."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

import functrain_jax as ft
from tests import inside
from tests.adapters.jax.common import bits, same, trainer


class Root(ft.Module):
    def __init__(self):
        self.params = {"w": jnp.ones(3)}

    def training_step(self, batch, batch_idx):
        loss = (jnp.sqrt(batch) * self.params["w"]).mean()
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return optax.adam(0.1)


GOOD = [np.full(3, value, np.float32) for value in (1.0, 2.0, 3.0, 4.0)]
BAD = np.float32([1.0, -1.0, 2.0])


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("windows", [1, 2])
def test_the_state_before_a_nan_and_its_batch_run_the_step_again(tmp_path, place, windows):
    batches = [*GOOD[:place], BAD, *GOOD[place:]]
    run = trainer(tmp_path, max_epochs=1, terminate_on_nan=True, accumulate_grad_batches=windows)
    with pytest.raises(ft.NotFiniteError, match="not_finite-epoch=0") as caught:
        run.fit(Root(), batches)
    path = caught.value.path
    assert path.startswith(str(tmp_path))
    step = ft.functional(Root(), donate=False, accumulate_grad_batches=windows)
    state = ft.load_state(path, step)
    assert int(state.clock.batch) == place
    np.testing.assert_array_equal(ft.failing_batch(path), BAD)
    assert np.isnan(step.step(state, ft.failing_batch(path))[1].logged["loss"])

    if place and windows == 1:
        undisturbed = trainer(max_epochs=1, terminate_on_nan=True)
        undisturbed.fit(Root(), GOOD[:place])
        same(bits(state.params), bits(inside.train_state(undisturbed).params))

    rest = trainer(max_epochs=1, terminate_on_nan=True, accumulate_grad_batches=windows)
    rest.fit(Root(), [*GOOD[:place], GOOD[0], *GOOD[place:]], ckpt_path=path)
    assert np.isfinite(float(rest.callback_metrics["loss_epoch"]))


def test_a_checkpoint_without_a_batch_says_so(tmp_path):
    run = trainer(tmp_path, max_epochs=1)
    run.fit(Root(), GOOD)
    run.save_checkpoint(tmp_path / "whole.ckpt")
    with pytest.raises(ft.CheckpointError, match="holds no batch"):
        ft.failing_batch(tmp_path / "whole.ckpt")


def test_hooks_that_change_a_batch_on_its_way_are_not_called_again_for_what_they_have_made_of_it(tmp_path):
    class Halves(Root):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            return {"roots of": batch / 2}

        def training_step(self, batch, batch_idx):
            return super().training_step(batch["roots of"], batch_idx)

    run = trainer(tmp_path, max_epochs=1, terminate_on_nan=True)
    with pytest.raises(ft.NotFiniteError) as caught:
        run.fit(Halves(), [GOOD[0], BAD])
    batch = ft.failing_batch(caught.value.path)
    np.testing.assert_array_equal(batch["roots of"], BAD / 2)
    step = ft.functional(Halves(), terminate_on_nan=True)
    after, _ = step.step(ft.load_state(caught.value.path, step), batch)
    same(bits(after.params), bits(inside.train_state(run).params))


def test_a_batch_of_a_class_of_its_own_is_read_back_as_a_dict_of_its_fields(tmp_path):
    @struct.dataclass
    class Sample:
        x: np.ndarray
        n: np.ndarray

    class Takes(Root):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch.x, batch_idx)

    run = trainer(tmp_path, max_epochs=1, terminate_on_nan=True)
    with pytest.raises(ft.NotFiniteError) as caught:
        run.fit(Takes(), [Sample(GOOD[0], np.int32(3)), Sample(BAD, np.int32(4))])
    held = ft.failing_batch(caught.value.path)
    assert held.keys() == {"x", "n"}
    step = ft.functional(Takes(), terminate_on_nan=True)
    after, _ = step.step(ft.load_state(caught.value.path, step), Sample(**held))
    same(bits(after.params), bits(inside.train_state(run).params))
