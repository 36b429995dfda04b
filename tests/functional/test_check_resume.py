"""`check_resume` passes sound modules, and names what is in no checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functrain.testing import NothingToCheck, check_resume
from tests.functional.modules_checked import CLASSES, SOUND, WORLDS, JaxMlp, TorchMlp, batch_of

CALLS = [0]


class Counts(TorchMlp):
    """Its step depends on a counter among its attributes."""

    calls = 0

    def training_step(self, batch, batch_idx):
        self.calls += 1
        return super().training_step(batch, batch_idx) * self.calls


class CountsLate(Counts):
    """The counter acts from the third step on."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss / self.calls * (2 if self.calls > 2 else 1)


class CountsEpochs(TorchMlp):
    epochs = 0

    def on_train_epoch_end(self):
        self.epochs += 1

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.epochs)


class Forgets(TorchMlp):
    """Its checkpoints lack what the optimizer keeps."""

    def on_save_checkpoint(self, checkpoint):
        for kept in checkpoint["optimizer_states"][0]["state"].values():
            kept["exp_avg"].zero_()


class JaxOutside(JaxMlp):
    """Its step depends on a counter outside of the state."""

    def training_step(self, batch, batch_idx):
        def count():
            CALLS[0] += 1
            return np.float32(CALLS[0])

        return super().training_step(batch, batch_idx) * jax.pure_callback(count, jax.ShapeDtypeStruct((), jnp.float32))


@pytest.mark.parametrize(("world", "name"), SOUND)
def test_a_sound_module_passes(world, name):
    check_resume(CLASSES[world][name](), batch_of(world, name))


@pytest.mark.parametrize("flags", [{"accumulate_grad_batches": 3}, {"precision": 16}, {"gradient_clip_val": 0.1}])
@pytest.mark.parametrize("world", WORLDS)
def test_a_sound_module_passes_with_flags(world, flags):
    check_resume(CLASSES[world]["mlp"](), batch_of(world), **flags)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Counts, r"update 2 after .* gives other bits \(batch 2\): first in first\.weight .* a counter or a cache"),
        (CountsLate, r"update 3 after .* gives other bits \(batch 3\): first in first\.weight"),
        (CountsEpochs, r"update 3 after .* \(batch 3\)"),
        (Forgets, r"state after update 1 is another once .* first in optimizer 0: exp_avg of first\.weight"),
        (JaxOutside, r"update 1 after .* first in first\.bias"),
    ],
)
def test_what_is_in_no_checkpoint_is_told_by_the_first_update_that_differs(module, said):
    CALLS[0] = 0
    with pytest.raises(AssertionError, match=said):
        check_resume(module(), batch_of("torch" if issubclass(module, TorchMlp) else "jax"))


class Skips(TorchMlp):
    def training_step(self, batch, batch_idx):
        return None


def test_a_step_that_makes_no_update_is_nothing_to_check():
    with pytest.raises(NothingToCheck, match="changed nothing"):
        check_resume(Skips(), batch_of("torch"))


def test_no_update_is_an_impossible_argument():
    with pytest.raises(ValueError, match="updates=0"):
        check_resume(TorchMlp(), batch_of("torch"), updates=0)


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    check_resume(TorchMlp(), batch_of("torch"))
    assert not list(tmp_path.iterdir())
