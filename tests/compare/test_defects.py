"""Real runs of both worlds, one of each pair with a defect that spoils a reproduction: each is found and named."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen  # noqa: F401  its import draws from Python's generator, so it comes before the seed
import jax
import numpy as np
import optax
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint, StateDigest
from functrain.compare import Comparison, compare, read_run
from functrain.compare.__main__ import main
from functrain.loggers import CSVLogger
from tests.one_weight import JaxWeight, TorchWeight

WORLDS = pytest.mark.parametrize("world", ["torch", "jax"])
CALLS: list[float] = []
BATCHES = [np.array([i, i + 1], np.float32) for i in range(6)]
ROOT = Path(__file__).parents[2]


class Steps:
    """Loss (w - x)^2, and what a test puts around it."""

    weight: Any
    log: Any

    def __init__(self, around: Callable[[Any], Any] = lambda x: x) -> None:
        super().__init__()
        self.around = around

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        loss = self.around(((self.weight() - batch) ** 2).mean())
        self.log("loss", loss)
        return loss


class TorchNet(Steps, TorchWeight): ...


class JaxNet(Steps, JaxWeight): ...


def trained(
    world: str,
    folder: Path,
    batches: Any = None,
    net: Any = None,
    seed: int = 1,
    more: Sequence[Any] = (),
    ckpt_path: str | None = None,
    **flags: Any,
) -> str:
    """Train, and return the run's directory."""
    package, kind = {"torch": (pl, TorchNet), "jax": (ft, JaxNet)}[world]
    package.seed_everything(seed)
    given = BATCHES if batches is None else batches
    if world == "torch" and isinstance(given, list):
        given = [torch.from_numpy(batch) for batch in given]
    trainer = package.Trainer(
        logger=CSVLogger(folder, version=0), checkpoint_callback=bool(more), progress_bar_refresh_rate=0,
        weights_summary=None, callbacks=[StateDigest(1), *more], **{"max_epochs": 1, "log_every_n_steps": 1, **flags},
    )  # fmt: skip
    trainer.fit(kind() if net is None else net, given, ckpt_path=ckpt_path)
    return trainer.log_dir


def compared(a: str, b: str) -> Comparison:
    return compare(read_run(a), read_run(b))


@WORLDS
def test_two_equal_runs_are_equal_and_their_manifests_too(world: str, tmp_path: Path):
    a, b = trained(world, tmp_path / "a"), trained(world, tmp_path / "b")
    found = compared(a, b)
    assert found.difference is None
    assert found.generators == ()
    assert found.compared == tuple(range(7))
    assert [name for name, *_ in found.manifests] == ["flags.logger"] or not found.manifests
    done = subprocess.run(
        [sys.executable, "-m", "functrain.compare", a, b], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("EQUAL")


@WORLDS
def test_another_order_of_batches(world: str, tmp_path: Path):
    other = [*BATCHES[:2], BATCHES[3], BATCHES[2], *BATCHES[4:]]
    found = compared(trained(world, tmp_path / "a"), trained(world, tmp_path / "b", other)).difference
    assert found is not None
    assert (found.update, found.kind, found.equal_until) == (3, "data", 2)


@WORLDS
def test_one_changed_weight(world: str, tmp_path: Path):
    def net(value: float) -> Any:
        if world == "torch":
            made = TorchNet()
            made.w.data.fill_(value)
            return made
        made = JaxNet()
        made.params = {"w": jax.numpy.float32(value)}
        return made

    small = float(np.nextafter(np.float32(0.5), np.float32(1)))
    a, b = trained(world, tmp_path / "a", net=net(0.5)), trained(world, tmp_path / "b", net=net(small))
    found = compared(a, b).difference
    assert found is not None
    assert (found.update, found.kind) == (0, "start")
    assert found.first.startswith("parameters")
    assert found.first.endswith("w")


@WORLDS
def test_an_operator_that_is_not_deterministic(world: str, tmp_path: Path):
    def wavers(at: int | None) -> Callable[[Any], Any]:
        CALLS.clear()

        def factor(loss: Any) -> np.ndarray:
            if float(loss) not in CALLS:
                CALLS.append(float(loss))
            return np.float32(1 + 2**-10) if len(CALLS) == at else np.float32(1)

        def jax_factor(loss: Any) -> Any:
            return loss * jax.pure_callback(factor, jax.ShapeDtypeStruct((), np.float32), jax.lax.stop_gradient(loss))

        return (lambda loss: loss * float(factor(loss.detach()))) if world == "torch" else jax_factor

    kind = TorchNet if world == "torch" else JaxNet
    # JAX may call such a function more often than once a step; what it is given says in which step that is.
    a = trained(world, tmp_path / "a", net=kind(wavers(None)))
    b = trained(world, tmp_path / "b", net=kind(wavers(4)))
    found = compared(a, b).difference
    assert found is not None
    assert (found.kind, found.update, found.equal_until) == ("arithmetic", 4, 3)
    assert found.first.startswith("parameters")


@WORLDS
def test_another_seed(world: str, tmp_path: Path):
    def noisy(loss: Any) -> Any:
        return loss + torch.rand(())

    net = (lambda: TorchNet(noisy)) if world == "torch" else (lambda: None)
    found = compared(trained(world, tmp_path / "a", net=net()), trained(world, tmp_path / "b", net=net(), seed=2))
    assert world in found.generators
    assert ("seed", 1, 2, 0, None) in found.manifests
    assert found.difference is None  # what was drawn moved no weight


def test_another_seed_that_changes_what_is_trained(tmp_path: Path):
    def noisy(loss: Any) -> Any:
        return loss * torch.rand(())

    a, b = (trained("torch", tmp_path / str(seed), net=TorchNet(noisy), seed=seed) for seed in (1, 2))
    found = compared(a, b).difference
    assert found is not None
    assert (found.update, found.kind) == (1, "randomness")


class WorkerData(Dataset[Any]):
    """Each worker draws from a generator of its own, seeded by the numbers given here."""

    def __init__(self, *seeds: int) -> None:
        self.seeds, self.rng = seeds, None

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        if self.rng is None:
            info: Any = torch.utils.data.get_worker_info()
            self.rng = np.random.default_rng(self.seeds[info.id])
        return torch.from_numpy(self.rng.normal(size=1).astype(np.float32))


def test_another_seed_in_one_worker(tmp_path: Path):
    def loader(*seeds: int) -> Any:
        return DataLoader(WorkerData(*seeds), batch_size=2, num_workers=2)

    found = compared(trained("torch", tmp_path / "a", loader(1, 2)), trained("torch", tmp_path / "b", loader(1, 3)))
    difference = found.difference
    assert difference is not None
    assert (difference.update, difference.kind) == (2, "data")  # the second worker makes the second batch


@WORLDS
def test_another_version_string_differs_in_the_manifest_alone(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a = trained(world, tmp_path / "a")
    known = np.__version__
    monkeypatch.setattr(np, "__version__", "1.2.3")
    found = compared(a, trained(world, tmp_path / "b"))
    assert found.difference is None
    assert ("versions.numpy", known, "1.2.3", 0, None) in found.manifests


@WORLDS
def test_other_flags(world: str, tmp_path: Path):
    found = compared(trained(world, tmp_path / "a"), trained(world, tmp_path / "b", accumulate_grad_batches=2))
    assert found.difference is not None
    assert found.difference.update == 1
    assert ("flags.accumulate_grad_batches", "(not there)", 2, 0, None) in found.manifests


class Several(Steps):
    """Three weights, of which one is not touched before the third step."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self.at = at

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        a, b, c = self.weights()
        loss = ((a * b - batch) ** 2).mean() + (0 if self.at is None else (batch_idx == self.at) * 2.0**-10) * c
        self.log("loss", loss)
        return loss


class TorchSeveral(Several, pl.LightningModule):
    def __init__(self, at: int | None = None) -> None:
        super().__init__(at)
        self.layer = torch.nn.ParameterDict({name: torch.nn.Parameter(torch.ones(())) for name in "abc"})

    def weights(self) -> Any:
        return [self.layer[name] for name in "abc"]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class JaxSeveral(Several, ft.Module):
    def __init__(self, at: int | None = None) -> None:
        super().__init__(at)
        self.params = {"layer": {name: jax.numpy.ones(()) for name in "abc"}}

    def weights(self) -> Any:
        return [self.params["layer"][name] for name in "abc"]

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.1)


@WORLDS
def test_the_parameter_that_moved_first_among_several(world: str, tmp_path: Path):
    kind = TorchSeveral if world == "torch" else JaxSeveral
    a, b = trained(world, tmp_path / "a", net=kind()), trained(world, tmp_path / "b", net=kind(2))
    found = compared(a, b).difference
    assert found is not None
    assert (found.update, found.equal_until, found.kind) == (3, 2, "arithmetic")
    (name,) = found.arrays["parameters"]
    assert name.endswith("layer.c")
    assert found.first == f"parameters {name}"


@WORLDS
@pytest.mark.parametrize("saved", [3, 4])
def test_a_run_that_was_continued_is_compared_part_by_part(world: str, saved: int, tmp_path: Path, capsys: Any):
    """It trains what the undisturbed one does; what it was continued with is told with the update from where on."""

    def saver() -> ModelCheckpoint:
        return ModelCheckpoint(dirpath=folder, every_n_train_steps=saved, save_top_k=-1, filename="{step}")

    whole, folder = trained(world, tmp_path / "whole"), tmp_path / "continued"
    trained(world, folder, more=[saver()], max_steps=5)
    last = str(folder / f"step={saved}.ckpt")
    log_dir = trained(world, folder, more=[saver()], ckpt_path=last, log_every_n_steps=2)
    capsys.readouterr()
    assert main([whole, log_dir]) == 0
    out = capsys.readouterr().out
    assert out.startswith("EQUAL to the bit, at all 7 rows")
    assert f"  flags.max_steps: '(not there)' | 5, up to update {saved}\n" in out
    assert f"  flags.log_every_n_steps: 1 | 2, from update {saved} on" in out
    assert f"Note on B: it was continued at update {saved}." in out
    assert ("flags.max_steps", "(not there)", 5, 0, saved) in compared(whole, log_dir).manifests


def test_another_number_of_threads_is_named(tmp_path: Path):
    before = torch.get_num_threads()
    a = trained("torch", tmp_path / "a")
    try:
        torch.set_num_threads(before + 1)
        b = trained("torch", tmp_path / "b")
    finally:
        torch.set_num_threads(before)
    assert ("threads", before, before + 1, 0, None) in compared(a, b).manifests
