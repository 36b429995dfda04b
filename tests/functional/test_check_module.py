"""check_module runs every check that applies, hides nothing, and raises no alarm on modules without a defect;
check_same holds a torch and a JAX module against one another."""

import math
from typing import Any

import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch import nn
from torch.nn.functional import cross_entropy

import functrain_jax as ft
import functrain_torch as pl
from functrain.testing import check_module, check_same

CLASSES = 3


def labelled(*shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.integers(0, CLASSES, shape[0]).astype(np.int32)


class TorchClassifier(pl.LightningModule):
    """Whatever network is given."""

    def __init__(self, net: nn.Module, rate: float = 1e-2) -> None:
        super().__init__()
        self.net, self.rate = net, rate

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = cross_entropy(self(batch[0]), batch[1].long())
        self.log("loss", loss)
        return loss

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), self.rate)


class JaxClassifier(ft.Module):
    """Whatever network is given."""

    def __init__(self, net: Any, rate: float = 1e-2) -> None:
        super().__init__()
        self.net, self.rate = net, rate

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        loss = optax.softmax_cross_entropy_with_integer_labels(self.net(batch[0]), batch[1]).mean()
        self.log("loss", loss)
        return loss

    def predict_step(self, batch: Any, batch_idx: Any) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        return optax.adam(self.rate)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.last(self.rnn(x)[0][:, -1])


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, CLASSES)
    )


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(40, CLASSES))


class Mlp(nnx.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(4, 16, rngs=rngs), nnx.Linear(16, CLASSES, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(self.dropout(nnx.tanh(self.first(x))))


class JaxConvnet(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.conv, self.norm = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.last = nnx.Linear(4 * 36, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.norm(self.conv(x)))
        return self.last(x.reshape(x.shape[0], -1))


GOOD: dict[str, tuple[Any, tuple[int, ...]]] = {
    "torch mlp": (lambda: TorchClassifier(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, CLASSES))), (6, 4)),
    "torch dropout": (
        lambda: TorchClassifier(nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.Linear(16, CLASSES))), (6, 4),
    ),
    "torch convnet": (lambda: TorchClassifier(convnet()), (6, 1, 6, 6)),
    "torch lstm": (lambda: TorchClassifier(Recurrent()), (6, 5, 4)),
    "torch transformer": (lambda: TorchClassifier(transformer()), (6, 5, 8)),
    "jax mlp": (lambda: JaxClassifier(Mlp()), (6, 4)),
    "jax dropout": (lambda: JaxClassifier(Mlp(0.2)), (6, 4)),
    "jax convnet": (lambda: JaxClassifier(JaxConvnet()), (6, 6, 6, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_no_alarm_on_a_module_without_a_defect(name: str):
    make, shape = GOOD[name]
    torch.manual_seed(0)
    batch = labelled(*shape)
    given = tuple(map(torch.from_numpy, batch)) if name.startswith("torch") else batch
    lines: list[str] = []
    results = {
        each.check: each
        for each in check_module(
            make(), given, loss_at_init=math.log(CLASSES), overfits=300, print=lines.append,
            options={"check_loss_at_init": {"rtol": 0.6}},
        )
    }  # fmt: skip
    assert results["check_replicas"].verdict == "left out"
    for check in ("check_pure", "check_gradients", "check_no_leak", "check_resume", "check_overfits"):
        assert results[check].verdict == "passed", results[check]
    # Dropout of torch on a CPU draws the same numbers for two halves of a batch as for the whole.
    normalises, draws = "convnet" in name, name == "jax dropout"
    assert results["check_accumulation"].verdict == ("left out" if normalises or draws else "passed")
    assert ("BatchNorm" in results["check_accumulation"].why) == normalises
    of_checks = [line for line in lines[1:] if not line.startswith("   ")]
    assert [line.split()[0] for line in of_checks] == list(results)


class Broken(TorchClassifier):
    """A counter in the step, and a part that nothing uses."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, CLASSES))
        self.unused, self.count = nn.Linear(2, 2), 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.count += 1
        return super().training_step(batch, batch_idx) * (1 + self.count)


BATCH = tuple(map(torch.from_numpy, labelled(6, 4)))


def test_every_broken_law_is_in_the_table_and_in_the_error(capsys: Any):
    with pytest.raises(AssertionError) as error:
        check_module(Broken(), BATCH)
    message, table = str(error.value), capsys.readouterr().out
    assert message.startswith("check_module: 3 of 9 laws do not hold for Broken.")
    for check, said in (
        ("check_pure", "changed count from 0 to 1"), ("check_gradients", "unused.weight"), ("check_resume", "first in"),
    ):  # fmt: skip
        assert f"\n{check}: " in message
        assert said in message
        assert f"{check:<18}  FAILED" in table


def test_an_exception_of_the_step_is_a_failure_and_not_hidden():
    class Raises(TorchClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("no such column")

    with pytest.raises(AssertionError, match=r"check_pure: RuntimeError: .*no such column") as error:
        check_module(Raises(nn.Linear(4, CLASSES)), BATCH, print=str)
    assert isinstance(error.value.__cause__, RuntimeError)


class WithoutPredictions(pl.LightningModule):
    """What the first page of the documentation shows: a training step and no predict_step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return cross_entropy(self.net(batch[0]), batch[1].long())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class WithForward(WithoutPredictions):
    def forward(self, x: Any) -> Any:
        return self.net(x)


@pytest.mark.parametrize("module", [WithoutPredictions, WithForward])
@pytest.mark.parametrize("samples", [6, 7])
def test_a_module_without_predict_step_passes_with_a_batch_of_any_length(module: Any, samples: int):
    batch = tuple(map(torch.from_numpy, labelled(samples, 4)))
    results = {each.check: each for each in check_module(module(), batch, print=lambda line: None)}
    assert results["check_accumulation"].verdict == "passed"
    assert "define predict_step" in results["check_no_leak"].why


def test_the_table_is_no_wider_than_a_terminal(capsys: Any):
    with pytest.raises(AssertionError):
        check_module(TorchClassifier(nn.Sequential(nn.Linear(4, CLASSES), Mixes())), LABELLED)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "or a normalisation by the batch's own numbers" in " ".join(map(str.strip, lines))


class Mixes(nn.Module):
    def forward(self, x: Any) -> Any:
        return x - x.mean(0)


LABELLED = tuple(map(torch.from_numpy, labelled(6, 4)))


def test_checks_are_left_out_and_given_arguments_by_name():
    results = check_module(
        TorchClassifier(nn.Linear(4, CLASSES)), BATCH, leave_out=["check_precision"],
        options={"check_overfits": {"updates": 300, "factor": 0.5}}, print=str,
    )  # fmt: skip
    verdicts = {each.check: each.verdict for each in results}
    assert verdicts["check_precision"] == "left out"
    assert verdicts["check_overfits"] == "passed"
    for wrong in ({"leave_out": ["precision"]}, {"options": {"precision": {}}}):
        with pytest.raises(ValueError, match="there is no 'precision'; the checks are check_pure"):
            check_module(TorchClassifier(nn.Linear(4, CLASSES)), BATCH, **wrong)
    with pytest.raises(TypeError, match="no module of functrain"):
        check_module(nn.Linear(4, CLASSES), BATCH)


# a torch and a JAX module


class TorchMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.last(torch.tanh(self.first(x)))


class TorchConv(nn.Module):
    def __init__(self, momentum: float = 0.01) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=momentum)
        self.last = nn.Linear(4 * 36, CLASSES)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.norm(self.conv(x.permute(0, 3, 1, 2))))
        return self.last(x.permute(0, 2, 3, 1).flatten(1))


MANY = [labelled(6, 4, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}], ids=str)
def test_two_modules_that_are_the_same_agree(flags: dict[str, Any]):
    check_same(TorchClassifier(TorchMlp()), JaxClassifier(Mlp()), MANY, updates=4, **flags)
    check_same(TorchClassifier(TorchMlp()), JaxClassifier(Mlp()), MANY[0], **flags)


def test_another_rate_is_seen_in_the_parameters_of_the_first_update():
    with pytest.raises(AssertionError, match=r"after batch 1 net\.\w+\.\w+ of torch and net\.\w+\.\w+ of JAX"):
        check_same(TorchClassifier(TorchMlp(), rate=0.02), JaxClassifier(Mlp()), MANY)


def test_another_loss_is_seen_in_the_loss_of_the_first_batch():
    class Sum(JaxClassifier):
        def training_step(self, batch: Any, batch_idx: Any) -> Any:
            return super().training_step(batch, batch_idx) * 6

    with pytest.raises(AssertionError, match="the loss of batch 1 is"):
        check_same(TorchClassifier(TorchMlp()), Sum(Mlp()), MANY)


def test_kernels_of_convolutions_are_turned_and_statistics_compared():
    batches = [labelled(6, 6, 6, 1, seed=seed) for seed in range(2)]
    check_same(TorchClassifier(TorchConv()), JaxClassifier(JaxConvnet()), batches, rtol=1e-2)
    with pytest.raises(AssertionError, match=r"norm\.running_\w+ of torch and net\.norm\.\w+ of JAX"):
        check_same(TorchClassifier(TorchConv(momentum=0.5)), JaxClassifier(JaxConvnet()), batches, rtol=1e-2)


def test_names_that_differ_are_given_and_what_has_no_partner_is_named():
    def net() -> Any:
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, CLASSES))

    torch_module, jax_module = TorchClassifier(net()), JaxClassifier(Mlp())
    with pytest.raises(ValueError, match=r"Of torch net\.0\.weight, .* found no partner, and of JAX net\.first\.bias"):
        check_same(torch_module, jax_module, MANY)
    ends = {"weight": "kernel", "bias": "bias"}
    layers = {"0": "first", "2": "last"}

    def partner(path: str) -> str:
        net, layer, end = path.split(".")
        return f"{net}.{layers[layer]}.{ends[end]}"

    check_same(torch_module, jax_module, MANY, names=partner)
    check_same(
        torch_module, jax_module, MANY, names={path: partner(path) for path, _ in torch_module.named_parameters()}
    )
    layers = {"0": "last", "2": "first"}
    with pytest.raises(ValueError, match="Is it the right one"):
        check_same(torch_module, jax_module, MANY, names=partner)


def test_running_variances_may_be_corrected():
    """torch's is, by n / (n - 1), and flax's is not: no default of either is to blame."""
    batches = [labelled(6, 6, 6, 1, seed=seed) for seed in range(2)]
    check_same(TorchClassifier(TorchConv()), JaxClassifier(JaxConvnet()), batches)


class TorchNormed(nn.Module):
    def __init__(self, epsilon: float, gelu: str) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 16), nn.LayerNorm(16, eps=epsilon), nn.Linear(16, CLASSES)
        self.gelu = gelu

    def forward(self, x: Any) -> Any:
        return self.last(nn.functional.gelu(self.norm(self.first(x)), approximate=self.gelu))


class JaxNormed(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.norm = nnx.Linear(4, 16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs)
        self.last = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(nnx.gelu(self.norm(self.first(x))))


def test_another_epsilon_or_formula_is_seen():
    """flax's defaults: 1e-6, and the approximation by tanh."""
    check_same(TorchClassifier(TorchNormed(1e-6, "tanh")), JaxClassifier(JaxNormed()), MANY)
    for epsilon, gelu in ((1e-5, "tanh"), (1e-6, "none")):
        with pytest.raises(AssertionError, match=r"the loss of batch \d is"):
            check_same(TorchClassifier(TorchNormed(epsilon, gelu)), JaxClassifier(JaxNormed()), MANY)


def test_another_weight_decay_is_seen():
    class Torch(TorchClassifier):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)  # torch's default: 1e-2

    class Jax(JaxClassifier):
        decay = 1e-4  # optax's

        def configure_optimizers(self) -> Any:
            return optax.adamw(1e-3, weight_decay=self.decay)

    with pytest.raises(AssertionError, match="are apart by"):
        check_same(Torch(TorchMlp()), Jax(Mlp()), MANY)
    Jax.decay = 1e-2
    check_same(Torch(TorchMlp()), Jax(Mlp()), MANY)


def test_what_holds_on_to_single_precision_is_told():
    class Single(TorchClassifier):
        def forward(self, x: Any) -> Any:
            return self.net(x.float())

    with pytest.warns(UserWarning, match="compared in single precision"):
        check_same(Single(TorchMlp()), JaxClassifier(Mlp()), MANY)
    check_same(Single(TorchMlp()), JaxClassifier(Mlp()), MANY, precision=32)


def test_arguments_of_check_same_with_which_it_would_check_nothing():
    torch_module, jax_module = TorchClassifier(TorchMlp()), JaxClassifier(Mlp())
    with pytest.raises(TypeError, match="is no module of functrain_torch"):
        check_same(jax_module, torch_module, MANY)
    with pytest.raises(ValueError, match="updates=0"):
        check_same(torch_module, jax_module, MANY, updates=0)
    with pytest.raises(ValueError, match=r"torch has no net\.third\.weight; it has net\.first"):
        check_same(torch_module, jax_module, MANY, names={"net.third.weight": "net.third.kernel"})
