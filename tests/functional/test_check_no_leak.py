"""`check_no_leak` passes sound modules, and names the sample or the step whose prediction is not its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from functrain.seed import rng_state
from functrain.testing import NothingToCheck, check_no_leak
from tests.functional.modules_checked import (
    CLASSES,
    SOUND,
    WORLDS,
    JaxConv,
    JaxLstm,
    JaxMlp,
    TorchConv,
    TorchLstm,
    TorchMlp,
    X,
    batch_of,
)


class TorchDefect(TorchMlp):
    def __init__(self, defect):
        super().__init__()
        self.defect = defect
        if defect == "norm":
            self.norm = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, x):
        out = super().forward(x)
        if self.defect == "norm":
            return self.norm(out)
        if self.defect == "softmax":
            return out.softmax(0)
        if self.defect == "reshape":
            return out.reshape(3, -1).T
        return out - 1e-3 * out.mean(0)


class JaxDefect(JaxMlp):
    def __init__(self, defect):
        super().__init__()
        self.defect = defect

    def forward(self, x):
        out = super().forward(x)
        if self.defect == "norm":
            return (out - out.mean(0)) / out.std(0)
        if self.defect == "softmax":
            return jax.nn.softmax(out, 0)
        if self.defect == "reshape":
            return out.reshape(3, -1).T
        return out - 1e-3 * out.mean(0)


class TorchAttention(TorchMlp):
    """Attends to earlier steps; without `causal` to all."""

    def __init__(self, causal):
        super().__init__()
        self.causal, self.first, self.last = causal, nn.Linear(3, 8), nn.Linear(8, 1)

    def predict_step(self, batch, batch_idx):
        hidden = self.first(batch[0])
        scores = hidden @ hidden.transpose(1, 2)
        if self.causal:
            scores = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), float("-inf"))
        return {"steps": self.last(scores.softmax(-1) @ hidden), "length": torch.tensor(8)}


class JaxAttention(JaxMlp):
    """Attends to earlier steps; without `causal` to all."""

    def __init__(self, causal):
        super().__init__()
        self.causal = causal

    def predict_step(self, batch, batch_idx):
        x = batch[0]
        scores = x @ x.swapaxes(1, 2)
        if self.causal:
            scores = jnp.where(jnp.tril(jnp.ones((8, 8), bool)), scores, -jnp.inf)
        return {"steps": jax.nn.softmax(scores, -1) @ x, "length": jnp.array(8)}


class TorchBoth(TorchLstm):
    """Reads sequences in both directions."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.LSTM(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 1)


class JaxAhead(JaxLstm):
    """Looks one step ahead."""

    def forward(self, x):
        return super().forward(jnp.concatenate([x[:, 1:], x[:, :1] * 0], 1))


DEFECTS = {"torch": TorchDefect, "jax": JaxDefect}
ATTENTION = {"torch": TorchAttention, "jax": JaxAttention}


@pytest.mark.parametrize(("world", "name"), SOUND)
def test_a_sound_module_passes(world, name):
    check_no_leak(CLASSES[world][name](), batch_of(world, name))


@pytest.mark.parametrize("name", ["lstm", "pieces"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_sound_sequence_model_knows_no_later_step(world, name):
    check_no_leak(CLASSES[world][name](), batch_of(world, name), time_axis=1)


@pytest.mark.parametrize("defect", ["norm", "softmax", "reshape", "mean"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_sample_that_depends_on_another_is_named(world, defect):
    with pytest.raises(AssertionError, match=r"sample \d+ of 12 depends on sample 0: .* over axis 0"):
        check_no_leak(DEFECTS[world](defect), batch_of(world))


@pytest.mark.parametrize("world", WORLDS)
def test_a_missing_mask_is_told(world):
    check_no_leak(ATTENTION[world](True), batch_of(world, "lstm"), time_axis=1)
    with pytest.raises(AssertionError, match=r"step 0 of 8 depends on steps from 1 on: .* no causal mask"):
        check_no_leak(ATTENTION[world](False), batch_of(world, "lstm"), time_axis=1)


@pytest.mark.parametrize("module", [TorchBoth, JaxAhead])
def test_a_layer_that_reads_later_steps_is_told(module):
    world = "torch" if module is TorchBoth else "jax"
    check_no_leak(module(), batch_of(world, "lstm"))
    with pytest.raises(AssertionError, match=r"step 0 of 8 depends on steps from 1 on"):
        check_no_leak(module(), batch_of(world, "lstm"), time_axis=1)


@pytest.mark.parametrize("world", WORLDS)
def test_a_callable_predicts_in_place_of_predict_step(world):
    sound, unsound = CLASSES[world]["mlp"](), DEFECTS[world]("softmax")
    check_no_leak(sound, batch_of(world), predict=lambda module, batch: module(batch[0]))
    with pytest.raises(AssertionError, match="depends on sample 0"):
        check_no_leak(unsound, batch_of(world), predict=lambda module, batch: module(batch[0]))


def test_samples_may_be_along_another_axis():
    batch = batch_of("torch", "lstm")[0].transpose(0, 1)
    check_no_leak(TorchLstm(), batch, predict=lambda m, b: m(b.transpose(0, 1)).transpose(0, 1), batch_axis=1)
    with pytest.raises(AssertionError, match=r"sample \d of 8 depends on sample 0"):
        check_no_leak(TorchLstm(), batch, predict=lambda m, b: m(b.transpose(0, 1)).transpose(0, 1), batch_axis=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"predict": lambda module, batch: module(batch[0]).mean()}, r"no prediction has the 12 samples .* shape \(\)"),
        ({"predict": lambda module, batch: torch.ones(12, 3)}, "no prediction depends on its own sample"),
        ({"time_axis": 4}, "the batch has no array with an axis 4"),
    ],
)
def test_where_there_is_nothing_to_check_it_says_so(options, said):
    with pytest.raises(NothingToCheck, match=said):
        check_no_leak(TorchMlp(), batch_of("torch"), **options)


def test_a_batch_of_one_sample_is_nothing_to_check():
    with pytest.raises(NothingToCheck, match="1 sample, so there are no others"):
        check_no_leak(TorchMlp(), tuple(part[:1] for part in batch_of("torch")))


@pytest.mark.parametrize("module", [TorchConv, JaxConv])
def test_the_module_is_left_in_its_mode_and_generators_where_they_were(module):
    checked, before = module(), rng_state()
    check_no_leak(checked, batch_of("torch" if module is TorchConv else "jax", "conv"))
    assert rng_state() == before
    if module is TorchConv:
        assert all(part.training for part in checked.modules())
    else:
        assert not checked.norm.use_running_average


def test_a_module_that_refuses_changed_values_says_whose_they_are():
    def predict(module, batch):
        if batch[1][0] != 0:
            raise RuntimeError("the first label is not 0")
        return module(batch[0])

    with pytest.raises(RuntimeError) as raised:
        check_no_leak(TorchMlp(), batch_of("torch"), predict=predict)
    assert "check_no_leak had changed values of this batch" in "".join(getattr(raised.value, "__notes__", ()))


@pytest.mark.parametrize("world", WORLDS)
def test_the_first_array_of_a_dict_says_how_many_samples_there_are(world):
    batch = {"x": X, "a weight of each class": np.ones(3, np.float32)}
    if world == "torch":
        batch = {name: torch.from_numpy(array) for name, array in batch.items()}
    check_no_leak(CLASSES[world]["mlp"](), batch, predict=lambda module, batch: module(batch["x"]))
    with pytest.raises(AssertionError, match="of 12 depends on sample 0"):
        check_no_leak(DEFECTS[world]("softmax"), batch, predict=lambda module, batch: module(batch["x"]))


@pytest.mark.parametrize("world", WORLDS)
def test_samples_of_few_bits_are_changed_too(world):
    x = torch.from_numpy(X).bfloat16() if world == "torch" else jnp.asarray(X, jnp.bfloat16)
    predict = lambda module, batch: batch - 0.1 * batch.mean(0)  # noqa: E731
    with pytest.raises(AssertionError, match="of 12 depends on sample 0"):
        check_no_leak(CLASSES[world]["mlp"](), x, predict=predict)
