"""What the Trainer adds to a bare torch loop, against what pytorch-lightning adds, in one run.

Three cases: plain (nothing switched on), one `self.log` a step, and the defaults (bar, logger, checkpoint). Times are
the process's own, on one thread: the wall clock of a shared machine tells more of the neighbours.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from time import process_time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.measure import interleaved, machine, median, python_calls, timed

STEPS = 300
ROUNDS = 15
OWN = {
    "functrain": ("functrain/", "functrain_torch/"),
    "lightning": ("pytorch_lightning", "lightning_fabric", "lightning_utilities"),
}
PLAIN = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


class Batches(list[Any]):
    """A loader that costs nothing: the same tensors again and again."""


def batches(n: int) -> DataLoader[Any]:
    one = (torch.randn(64, 784), torch.randint(0, 10, (64,)))
    return DataLoader(Batches([one] * n), batch_size=None)  # type: ignore[arg-type]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def module_of(base: type, logs: bool) -> Any:
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


def bare(loader: Any) -> Callable[[], None]:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def run() -> None:
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    return run


def trained(package: Any, case: str, loader: Any, folder: str) -> Callable[[], None]:
    """A run of one epoch under a Trainer, without what happens once a run (measured apart by an epoch of 2 batches)."""
    flags: dict[str, Any] = {"max_epochs": 1, "default_root_dir": folder}
    if case != "defaults":
        flags.update(dict.fromkeys(PLAIN, False))

    def run() -> None:
        module = module_of(package.LightningModule, case != "plain")
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            package.Trainer(**flags).fit(module, loader)

    return run


def per_step(package: Any, case: str, folder: str) -> float:
    """Microseconds a step: a long epoch less a short one, over the difference in steps."""
    short, long = batches(2), batches(STEPS + 2)
    once = timed(1, trained(package, case, short, folder), process_time)
    return (timed(1, trained(package, case, long, folder), process_time) - once) / STEPS


def calls_per_step(package: Any, case: str, own: tuple[str, ...], folder: str) -> float:
    few, many = batches(100), batches(300)
    return (
        python_calls(trained(package, case, many, folder), own) - python_calls(trained(package, case, few, folder), own)
    ) / 200


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
    print(machine("torch", "pytorch-lightning"))
    print()
    print(
        "| case | bare us/step | functrain adds | pytorch-lightning adds | ratio | own calls: functrain | "
        "pytorch-lightning |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in ("plain", "one log", "defaults"):
            loader = batches(STEPS)
            runs: dict[str, Callable[[], float]] = {
                "bare": lambda loader=loader: timed(STEPS, bare(loader), process_time)
            }
            for name, package in packages.items():
                runs[name] = lambda package=package, case=case: per_step(package, case, folder)
            for run in runs.values():
                run()
            figures = interleaved(runs, ROUNDS)
            base = figures["bare"]
            added = {n: median([a - b for a, b in zip(figures[n], base, strict=True)]) for n in packages}
            calls = {n: calls_per_step(p, case, OWN[n], folder) for n, p in packages.items()}
            print(
                f"| {case} | {median(base):.0f} | {added['functrain']:.0f} us | {added['lightning']:.0f} us | "
                f"{added['functrain'] / added['lightning']:.3f} | {calls['functrain']:.1f} | {calls['lightning']:.1f} "
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
