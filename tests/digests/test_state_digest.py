"""What StateDigest writes: rows where they are due, equal for equal runs, and the same whether a run was killed on its
way or not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import functrain_torch as pl
from functrain.callbacks import StateDigest
from functrain.trainer.errors import ConfigurationError
from tests.conformance.kits import Jax, Numpy, Torch, data
from tests.digests.killed import KITS, fit

ROOT = Path(__file__).parents[2]
WORLDS = pytest.mark.parametrize("world", ["torch", "jax"])


def records(path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def rows(path: Any) -> list[dict[str, Any]]:
    return [record for record in records(path) if "format" not in record]


def trained(world: str, folder: Any, batches: Any = None, every: int = 2, seed: int = 1, **flags: Any) -> list[Any]:
    pl.seed_everything(seed)
    kit, digest = KITS[world], StateDigest(every, dirpath=folder)
    given = [kit.batch(*batch) for batch in (data(6) if batches is None else batches)]
    flags = {"max_epochs": 2, **flags}
    kit.trainer(callbacks=[digest], **flags).fit(kit.module(), given)
    return rows(digest.path)


@WORLDS
def test_a_row_before_the_first_update_where_they_are_due_and_at_the_end(world: str, tmp_path: Path):
    assert [row["update"] for row in trained(world, tmp_path, every=5)] == [0, 5, 10, 12]
    names = records(tmp_path / "digests.jsonl")[0]["names"]
    assert len(names["parameters"]) == 2
    assert list(names) == ["parameters", "variables", "optimizer"]


@WORLDS
def test_accumulated_batches_are_one_update(world: str, tmp_path: Path):
    found = trained(world, tmp_path, every=1, accumulate_grad_batches=4)
    assert [(row["update"], row["batch"]) for row in found] == [(0, 0), (1, 4), (2, 6), (3, 4), (4, 6)]


@WORLDS
def test_equal_runs_have_equal_rows(world: str, tmp_path: Path):
    assert trained(world, tmp_path / "a") == trained(world, tmp_path / "b")


@WORLDS
def test_another_order_of_batches_is_seen_in_data_and_then_in_the_parameters(world: str, tmp_path: Path):
    batches = data(6)
    one = trained(world, tmp_path / "a", batches, every=1, max_epochs=1)
    other = trained(world, tmp_path / "b", [*batches[:2], batches[3], batches[2], *batches[4:]], every=1, max_epochs=1)
    assert [a["data"] == b["data"] for a, b in zip(one, other, strict=True)] == [True, True, True, *[False] * 4]
    moved = [a["parameters"] == b["parameters"] for a, b in zip(one, other, strict=True)]
    assert moved[:4] == [True, True, True, False]


@WORLDS
def test_another_seed_is_seen_in_the_random_states(world: str, tmp_path: Path):
    one, other = trained(world, tmp_path / "a", seed=1)[0], trained(world, tmp_path / "b", seed=2)[0]
    assert all(other["random"][name] != digest for name, digest in one["random"].items())
    assert one["parameters"] == other["parameters"]


@WORLDS
def test_rows_do_not_depend_on_how_often_they_are_written(world: str, tmp_path: Path):
    often = {row["update"]: row for row in trained(world, tmp_path / "a", every=1)}
    for row in trained(world, tmp_path / "b", every=5):
        # The last row is written when the position has turned to the next epoch, and its metrics are gone.
        placed = {name: row[name] for name in ("epoch", "batch", "metrics")}
        assert {**often[row["update"]], **placed} == row


@WORLDS
def test_the_file_of_a_killed_run_that_continues_is_that_of_an_undisturbed_one(world: str, tmp_path: Path):
    folder = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-m", "tests.digests.killed", world, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    assert [row["update"] for row in rows(folder / "digests.jsonl")][-1] in (8, 10)
    saved = sorted(name for name in os.listdir(folder) if "step=9" in name)
    fit(world, str(folder), str(folder / saved[0]))
    fit(world, str(tmp_path / "undisturbed"), None)
    killed, whole = ((tmp_path / name / "digests.jsonl").read_bytes() for name in ("killed", "undisturbed"))
    run = json.loads(killed.splitlines()[0])["run"]
    assert killed == whole.replace(json.loads(whole.splitlines()[0])["run"].encode(), run.encode())


def test_a_file_of_another_run_is_added_to(tmp_path: Path):
    first = trained("torch", tmp_path)
    assert trained("torch", tmp_path) == first * 2
    assert len({record["run"] for record in records(tmp_path / "digests.jsonl") if "run" in record}) == 2


def test_a_torn_last_row_is_taken_out_when_the_run_continues(tmp_path: Path):
    fit("torch", str(tmp_path), None)
    path, last = tmp_path / "digests.jsonl", tmp_path / "epoch=1-step=9.ckpt"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"update": 99, "para')
    fit("torch", str(tmp_path), str(last))
    assert path.read_bytes() == whole


def test_without_a_directory_of_its_own_the_file_is_beside_the_logs(tmp_path: Path):
    kit, digest = Torch(), StateDigest()
    trainer = kit.trainer(callbacks=[digest], max_epochs=1, default_root_dir=tmp_path)
    trainer.fit(kit.module(), [kit.batch(*batch) for batch in data(2)])
    assert digest.path == str(tmp_path / "digests.jsonl")


def test_fast_dev_run_writes_nothing(tmp_path: Path):
    kit, digest = Torch(), StateDigest(dirpath=tmp_path)
    kit.trainer(callbacks=[digest], fast_dev_run=True).fit(kit.module(), [kit.batch(*batch) for batch in data(2)])
    assert os.listdir(tmp_path) == []


def test_an_adapter_that_makes_no_digests_is_an_error():
    kit = Numpy()
    with pytest.raises(ConfigurationError, match="makes no digests"):
        kit.trainer(callbacks=[StateDigest()], max_epochs=1).fit(kit.module(), data(2))


@pytest.mark.parametrize("every", [0, -1, 1.5, "10", True, None])
def test_what_is_no_interval(every: Any):
    with pytest.raises(ConfigurationError, match="every_n_updates"):
        StateDigest(every)


class Pieces(pl.LightningModule):
    """Batches of six steps, cut along time into three pieces."""

    truncated_bptt_steps = 2

    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRU(1, 2, batch_first=True)

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        out, hiddens = self.cell(batch, hiddens)
        return {"loss": out.pow(2).mean(), "hiddens": hiddens}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


def test_several_updates_in_a_batch_are_run_past(tmp_path: Path):
    digest = StateDigest(2, dirpath=tmp_path)
    Torch().trainer(callbacks=[digest], max_epochs=1).fit(Pieces(), [torch.randn(2, 6, 1) for _ in range(3)])
    assert [row["update"] for row in rows(digest.path)] == [0, 3, 6, 9]


class ByHand(pl.LightningModule):
    """Two optimizers, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.a, self.b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer, net in zip(self.optimizers(), (self.a, self.b), strict=True):
            optimizer.zero_grad()
            self.manual_backward(net(batch[0]).pow(2).mean())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.a.parameters(), 0.1), torch.optim.Adam(self.b.parameters())


def test_optimization_by_hand_of_two_optimizers(tmp_path: Path):
    digest = StateDigest(1, dirpath=tmp_path)
    Torch().trainer(callbacks=[digest], max_epochs=1).fit(ByHand(), [torch.randn(3, 2)[None] for _ in range(2)])
    found = rows(digest.path)
    assert [row["update"] for row in found] == [0, 1, 2]
    assert len({tuple(row["parameters"]) for row in found}) == 3
    names = [record["names"]["optimizer"] for record in records(digest.path) if "format" in record][-1]
    assert "1.exp_avg.b.weight" in names
    assert "0.numbers" in names


class Reads(TorchDispatchMode):
    """Counts how often a value of a tensor is read on the host."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_no_value_is_read_from_the_device_within_an_epoch(tmp_path: Path):
    class Looks(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(reads.count)

    kit, seen = Torch(), list[int]()
    batches = [kit.batch(*batch) for batch in data(20)]
    for every in (1, 1000):
        with Reads() as reads:
            digest = StateDigest(every, dirpath=tmp_path / str(every))
            kit.trainer(callbacks=[Looks(), digest], max_epochs=1).fit(kit.module(), batches)
    assert seen[0] == seen[1]


def test_the_random_states_of_the_world_are_not_moved(tmp_path: Path):
    kit = Jax()
    pl.seed_everything(3)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    trainer = kit.trainer(callbacks=[StateDigest(1, dirpath=tmp_path)], max_epochs=1)
    trainer.fit(kit.module(), [kit.batch(*batch) for batch in data(3)])
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]
