"""What the Trainer adds to a bare torch loop, against what pytorch-lightning adds, in one run, on five kinds of models.

Three cases: plain (nothing switched on), one `self.log` a step, and the defaults (bar, logger, checkpoint). Times are
the process's own, on one thread: the wall clock of a shared machine tells more of the neighbours. The smaller a model
is, the more exactly its row says what is added.

`python -m benchmarks.overhead [model or case ...]` measures those alone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from itertools import pairwise
from time import process_time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.measure import interleaved, machine, median, python_calls, timed

STEPS = 300
ROUNDS = 11
CASES = ("plain", "one log", "defaults")
OWN = {
    "functrain": ("functrain/", "functrain_torch/"),
    "lightning": ("pytorch_lightning", "lightning_fabric", "lightning_utilities"),
}
PLAIN = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


class ConvNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.rnn(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.last = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(x).mean(1))


def mlp(*widths: int) -> nn.Module:
    first, *others = (nn.Linear(a, b) for a, b in pairwise(widths))
    return nn.Sequential(first, *(part for layer in others for part in (nn.ReLU(), layer)))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tiny-mlp": (lambda: mlp(8, 8, 10), (8, 8)),
    "mlp": (lambda: mlp(784, 128, 10), (64, 784)),
    "convnet": (ConvNet, (8, 1, 12, 12)),
    "lstm": (Lstm, (8, 10, 8)),
    "transformer": (Transformer, (8, 10, 16)),
}
"""What makes a model, and the shape of its batches."""


class Batches(list[Any]):
    """A loader that costs nothing: the same tensors again and again."""


def batches(shape: tuple[int, ...], n: int) -> DataLoader[Any]:
    one = (torch.randn(shape), torch.randint(0, 10, shape[:1]))
    return DataLoader(Batches([one] * n), batch_size=None)  # type: ignore[arg-type]


def module_of(base: type, network: Callable[[], nn.Module], logs: bool) -> Any:
    class Net(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            x, y = batch
            loss = nn.functional.cross_entropy(self.net(x), y)
            if logs:
                self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    return Net()


def bare(network: Callable[[], nn.Module], loader: Any) -> Callable[[], None]:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def run() -> None:
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    return run


def trained(package: Any, model: str, case: str, n: int, folder: str) -> Callable[[], None]:
    """A run of one epoch of n batches under a Trainer."""
    flags: dict[str, Any] = {"max_epochs": 1, "default_root_dir": folder}
    if case != "defaults":
        flags.update(dict.fromkeys(PLAIN, False))
    network, shape = MODELS[model]
    loader = batches(shape, n)

    def run() -> None:
        module = module_of(package.LightningModule, network, case != "plain")
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            package.Trainer(**flags).fit(module, loader)

    return run


def per_step(package: Any, model: str, case: str, folder: str) -> float:
    """Microseconds a step: a long epoch less a short one, over the difference in steps."""
    once = timed(1, trained(package, model, case, 2, folder), process_time)
    return (timed(1, trained(package, model, case, STEPS + 2, folder), process_time) - once) / STEPS


def calls_per_step(package: Any, model: str, case: str, own: tuple[str, ...], folder: str) -> float:
    few, many = (python_calls(trained(package, model, case, n, folder), own) for n in (100, 300))
    return (many - few) / 200


def quiet() -> None:
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    torch.set_num_threads(1)
    import pytorch_lightning

    import functrain_torch

    quiet()
    packages = {"functrain": functrain_torch, "lightning": pytorch_lightning}
    wanted = sys.argv[1:]
    models = [model for model in MODELS if model in wanted] or list(MODELS)
    cases = [case for case in CASES if case in wanted] or list(CASES)
    print(machine("torch", "pytorch-lightning"))
    print()
    print(
        "| model | case | bare us/step | functrain adds | pytorch-lightning adds | ratio | own calls: functrain | "
        "pytorch-lightning |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for case in cases:
                print(row(model, case, packages, folder), flush=True)


def row(model: str, case: str, packages: dict[str, Any], folder: str) -> str:
    network, shape = MODELS[model]
    loader = batches(shape, STEPS)
    runs: dict[str, Callable[[], float]] = {"bare": lambda: timed(STEPS, bare(network, loader), process_time)}
    for name, package in packages.items():
        runs[name] = lambda package=package: per_step(package, model, case, folder)
    for run in runs.values():
        run()
    figures = interleaved(runs, ROUNDS)
    base = figures["bare"]
    added = {name: median([a - b for a, b in zip(figures[name], base, strict=True)]) for name in packages}
    calls = {name: calls_per_step(package, model, case, OWN[name], folder) for name, package in packages.items()}
    return (
        f"| {model} | {case} | {median(base):.0f} | {added['functrain']:.0f} us | {added['lightning']:.0f} us | "
        f"{added['functrain'] / added['lightning']:.3f} | {calls['functrain']:.1f} | {calls['lightning']:.1f} |"
    )


if __name__ == "__main__":
    main()
