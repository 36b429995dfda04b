"""An exported module gives the same numbers where others run it, and is itself as it was."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import functrain_torch as pl
from functrain import Callback
from functrain.seed import rng_state
from functrain.trainer.errors import ConfigurationError

# TorchScript is deprecated by torch, and what it says is the caller's to hear.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

QUIET: Any = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Net(pl.LightningModule):
    """Dropout and statistics, so that the mode matters; a child that is a LightningModule too."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.first = Part(width)
        self.norm, self.dropout = torch.nn.BatchNorm1d(width), torch.nn.Dropout(0.5)
        self.last = torch.nn.Linear(width, 2)
        self.example_input_array = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    @property
    def depth(self) -> int:
        return 2

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.dropout(self.norm(self.first(x)))) * self.depth

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", loss := self(batch).square().mean())
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Part(pl.LightningModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


def data() -> DataLoader[Any]:
    return DataLoader(torch.randn(24, 3, generator=torch.Generator().manual_seed(1)), 4)  # pyright: ignore


def trained(**flags: Any) -> tuple[Net, pl.Trainer]:
    torch.manual_seed(0)
    module, trainer = Net(), pl.Trainer(**QUIET, max_epochs=1, **flags)
    trainer.fit(module, data())
    return module, trainer


def truth(module: torch.nn.Module, *inputs: Any) -> Tensor:
    """What the module itself gives in evaluation mode."""
    modes = [(part, part.training) for part in module.modules()]
    with torch.no_grad():
        value = module.eval()(*inputs)
    for part, training in modes:
        part.training = training
    return value


def by_onnx(file: Any, *inputs: Tensor, names: tuple[str, ...] = ()) -> Any:
    session = onnxruntime.InferenceSession(file)
    names = names or tuple(each.name for each in session.get_inputs())
    return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]


X = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))


# ---- TorchScript


@pytest.mark.parametrize("method", ["script", "trace"])
def test_torchscript_gives_the_same_numbers(tmp_path, method: str):
    module, _ = trained()
    path = tmp_path / "new" / "net.pt"
    made = module.to_torchscript(path, method=method)
    loaded = torch.jit.load(path)
    torch.testing.assert_close(made(X), truth(module, X), rtol=0, atol=0)
    torch.testing.assert_close(loaded(X), truth(module, X), rtol=0, atol=0)
    # Any number of samples, and no mode of training.
    torch.testing.assert_close(loaded(X[:2]), truth(module, X[:2]))
    assert not loaded.training
    assert os.listdir(tmp_path / "new") == ["net.pt"]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Net().to_torchscript()
    assert os.listdir(tmp_path) == []


def test_torchscript_goes_to_open_files_and_urls():
    module, buffer = Net(), io.BytesIO()
    module.to_torchscript(buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(X), truth(module, X))
    module.to_torchscript("memory://exported/net.pt")
    import fsspec

    with fsspec.open("memory://exported/net.pt") as file:
        torch.testing.assert_close(torch.jit.load(io.BytesIO(file.read()))(X), truth(module, X))  # pyright: ignore


class Sum(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.layer(a) + 2 * self.layer(b)


@pytest.mark.parametrize("example", [(X, X + 1), {"b": X, "a": X + 1}])
def test_several_arguments(tmp_path, example: Any):
    module = Sum()
    traced = module.to_torchscript(method="trace", example_inputs=example)
    torch.testing.assert_close(traced(X, X - 3), truth(module, X, X - 3))
    module.to_onnx(tmp_path / "sum.onnx", example)
    ours = by_onnx(tmp_path / "sum.onnx", X, X - 3, names=("a", "b"))
    np.testing.assert_allclose(ours, truth(module, X, X - 3), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:This property will be removed:DeprecationWarning")
def test_what_modules_hold_does_not_hinder_torchscript():
    class Holds(Net):
        def __init__(self) -> None:
            super().__init__()
            self.accuracy, self.ratio, self.area = pl.metrics.Accuracy(), pl.metrics.PSNR(), pl.metrics.AUROC()
            self.matrix, self.f1 = pl.metrics.ConfusionMatrix(3), pl.metrics.F1()
            self.seen, self.names = {}, set()
            self.prepare_data_per_node = False
            self.automatic_optimization = False
            self.truncated_bptt_steps = 2
            self.loss = torch.nn.MSELoss()
            self.call = print

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.accuracy(batch, batch)

    module = Holds()
    torch.testing.assert_close(module.to_torchscript()(X), truth(module, X))


# ---- ONNX


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings("ignore:You are using the legacy:DeprecationWarning")
def test_onnx_gives_the_same_numbers(tmp_path, dynamo: bool):
    module, _ = trained()
    module.to_onnx(tmp_path / "net.onnx", dynamo=dynamo)
    np.testing.assert_allclose(by_onnx(tmp_path / "net.onnx", X), truth(module, X), rtol=1e-5, atol=1e-6)
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_arguments_of_torch_are_handed_on(tmp_path):
    module, path = Net(), str(tmp_path / "net.onnx")
    module.to_onnx(path, X, input_names=["points"], dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert onnxruntime.InferenceSession(path).get_inputs()[0].name == "points"
    np.testing.assert_allclose(by_onnx(path, X[:2]), truth(module, X[:2]), rtol=1e-5, atol=1e-6)


def test_onnx_goes_to_open_files_and_urls():
    module, buffer = Net(), io.BytesIO()
    module.to_onnx(buffer)
    np.testing.assert_allclose(by_onnx(buffer.getvalue(), X), truth(module, X), rtol=1e-5, atol=1e-6)
    module.to_onnx("memory://exported/net.onnx")
    import fsspec

    with fsspec.open("memory://exported/net.onnx") as file:
        assert file.read() == buffer.getvalue()  # pyright: ignore
    with pytest.raises(ConfigurationError, match="files of their own"):
        module.to_onnx(io.BytesIO(), external_data=True)


# ---- the module afterwards


def whole(module: Net) -> dict[str, Any]:
    """All that an export could change, as values and as the very objects."""
    return {
        "modes": [part.training for part in module.modules()],
        "weights": [value.clone() for value in module.state_dict().values()],
        "tensors": [id(value) for value in (*module.parameters(), *module.buffers())],
        "requires": [parameter.requires_grad for parameter in module.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "trainer": [id(part._trainer) for part in (module, module.first)],
        "attributes": {name: id(value) for name, value in vars(module).items() if not name.startswith("_")},
        "hooks": [len(part._forward_hooks) for part in module.modules()],
        "rng": str(rng_state()),
        "grad mode": torch.is_grad_enabled(),
    }


def same(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return [name for name in a if not _same(a[name], b[name])]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


EXPORTS: dict[str, Any] = {
    "script": lambda module: module.to_torchscript(),
    "trace": lambda module: module.to_torchscript(method="trace"),
    "onnx": lambda module: module.to_onnx(io.BytesIO()),
}


@pytest.mark.parametrize("how", EXPORTS)
def test_the_module_is_as_it_was(how: str):
    module, trainer = trained()
    module(X).sum().backward()
    module.norm.eval()
    module.first.layer.weight.requires_grad_(False)
    module.last.register_forward_hook(lambda *_: None)
    if how == "script":
        module.last._forward_hooks.clear()  # TorchScript compiles hooks, and this one has no types
    before = whole(module)
    EXPORTS[how](module)
    assert same(before, whole(module)) == []
    assert module.trainer is trainer


@pytest.mark.parametrize("how", EXPORTS)
def test_the_module_is_as_it_was_after_an_export_that_fails(how: str):
    class Fails(Net):
        def forward(self, x):
            raise KeyError(open)

    module = Fails()
    before = whole(module)
    with pytest.raises(Exception):  # noqa: B017 (whatever torch raises)
        EXPORTS[how](module)
    assert same(before, whole(module)) == []


def test_in_a_hook_the_run_goes_on():
    class Exports(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx in (1, 3):
                for export in EXPORTS.values():
                    export(pl_module)

    with_it, _ = trained(callbacks=[Exports()])
    without, _ = trained()
    assert all(torch.equal(a, b) for a, b in zip(with_it.parameters(), without.parameters(), strict=True))


# ---- what cannot be


def test_what_cannot_be(tmp_path, monkeypatch):
    module, path = Sum(), tmp_path / "sum.onnx"
    for call, said in (
        (lambda: module.to_onnx(path), r"to_onnx: needs an example of what Sum.forward takes; give input_sample="),
        (lambda: module.to_torchscript(method="trace"), "give example_inputs="),
        (lambda: module.to_torchscript(method="compile"), "method='compile'"),
        (lambda: pl.LightningModule().to_torchscript(), "defines no forward"),
        (lambda: pl.LightningModule().to_onnx(path, X), "defines no forward"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            call()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigurationError, match=r"onnxscript cannot be imported.*pip install onnx onnxscript"):
        Net().to_onnx(path)
    assert os.listdir(tmp_path) == []
