"""torch: a run over several training loaders, saved at every batch and continued: the very bits, in every mode."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from functrain.data import ArrayLoader
from functrain.trainer.walk import MODES
from tests.resume import torch_cases as cases
from tests.resume.common import differences

# torchdata asks torch for something that torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


class Both(cases.Plain):
    """One loss over the batches of all loaders that have one."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        batches = batch.values() if isinstance(batch, dict) else [batch]  # of 'sequential', or of one loader
        there = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in (pair for pair in batches if pair is not None)]
        losses = [nn.functional.cross_entropy(self.net(nn.functional.dropout(x, 0.2)), y) for x, y in there]
        self.log("loss", sum(losses), on_step=True, on_epoch=True, batch_size=len(there))
        return sum(losses)


def short(**more: Any) -> DataLoader[Any]:
    """Three batches, each time in another order."""
    return DataLoader(TensorDataset(*cases.samples(8, 5)), batch_size=3, shuffle=True, **more)


def arrays() -> ArrayLoader:
    x, y = cases.samples(10, 6)
    return ArrayLoader((x.numpy(), y.numpy().astype(np.int64)), 3, shuffle=True, seed=4)


def all_kinds() -> dict[str, Any]:
    return {
        "long": cases.shuffled(),
        "short": short(),
        "own": short(generator=torch.Generator().manual_seed(9)),
        "stream": DataLoader(cases.Stream(7), batch_size=3),
        "arrays": arrays(),
        "list": list(DataLoader(TensorDataset(*cases.samples(4)), batch_size=2)),
        "grain": cases.GrainLike(),
    }


def combined(mode: str, **more: Any) -> Any:
    return lambda: pl.CombinedLoader({"long": cases.shuffled(**more), "short": short(**more)}, mode)


CASES: dict[str, cases.Case] = {
    "dict": (Both, lambda: {"long": cases.shuffled(), "short": short()}, {"accumulate_grad_batches": 2}),
    "every kind": (Both, all_kinds, {}),
    "min_size": (Both, combined("min_size"), {}),
    "max_size": (Both, combined("max_size"), {"accumulate_grad_batches": 3}),
    "every kind, max_size": (Both, all_kinds, {"multiple_trainloader_mode": "max_size"}),
    "sequential": (Both, combined("sequential"), {}),
    "every kind, sequential": (Both, all_kinds, {"multiple_trainloader_mode": "sequential", "limit_train_batches": 2}),
    "limited": (Both, combined("max_size_cycle"), {"limit_train_batches": 5}),
    "unsized": (Both, lambda: {"a": short(), "b": DataLoader(cases.Stream(), batch_size=3)}, {"max_steps": 11}),
    "stateful": (Both, lambda: {"a": cases.shuffled(), "b": cases.stateful()}, {}),
    "one for all": (Both, lambda: (lambda loader: {"a": loader, "b": loader, "c": short()})(cases.shuffled()), {}),
}
WITH_WORKERS: dict[str, cases.Case] = {
    "workers": (Both, lambda: {"a": cases.augmented(), "b": short(num_workers=1)}, {}),
    "workers_persistent": (Both, lambda: {"a": cases.augmented(persistent_workers=True), "b": short()}, {}),
}


def check(case: cases.Case, directory: Any, batches: Any) -> None:
    expected, saved = cases.whole(case, directory, ("on_train_batch_end",))
    places = [place for place in saved if place[1] in batches]
    assert len(places) >= 2
    for place in places:
        path, rows = saved[place]
        found = cases.continued(case, (path, rows))
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, f"saved at {place}: "), place


@pytest.mark.parametrize("name", CASES)
def test_every_batch(name, tmp_path):
    check(CASES[name], tmp_path, range(99))


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_with_worker_processes(name, tmp_path):
    check(WITH_WORKERS[name], tmp_path, (2, 5, 8, 13))


def test_as_one_loop_by_hand(tmp_path):
    """The batches of two shuffling loaders, one beginning again, are those that zip and cycle would draw."""
    seen: list[Any] = []

    class Seeing(Both):
        def training_step(self, batch, batch_idx):
            seen.append({name: x for name, (x, _) in batch.items()})
            return self.net(batch["long"][0]).sum()  # no random numbers in between

    case = (Seeing, CASES["dict"][1], {})
    trainer, module, train, _ = cases.parts(case, 1, [])
    torch.manual_seed(3)
    trainer.fit(module, train)
    torch.manual_seed(3)
    loaders, drawn = CASES["dict"][1](), []
    for _ in range(cases.EPOCHS):
        long, brief = iter(loaders["long"]), iter(loaders["short"])
        for _ in range(cases.BATCHES):
            x = next(long)[0]
            z = next(brief, None)
            if z is None:
                brief = iter(loaders["short"])
                z = next(brief)
            drawn.append({"long": x, "short": z[0]})
    assert not differences(seen, drawn)


def test_other_loaders_than_those_of_the_checkpoint_are_told(tmp_path):
    _, saved = cases.whole(CASES["dict"], tmp_path, ("on_train_batch_end",))
    path = saved["on_train_batch_end", 2][0]
    for given, says in (
        (cases.shuffled(), "drew from several training loaders"),
        ([short()], "drew from 2 training loaders, and this one has 1"),
    ):
        trainer, module, *_ = cases.parts(CASES["dict"], 1, [])
        with pytest.raises(pl.CheckpointError, match=says):
            trainer.fit(module, given, ckpt_path=path)
    _, saved = cases.whole((cases.Plain, cases.shuffled, {}), tmp_path, ("on_train_batch_end",))
    trainer, module, *_ = cases.parts((cases.Plain, cases.shuffled, {}), 1, [])
    with pytest.raises(pl.CheckpointError, match="drew from one training loader, and this one has 2"):
        trainer.fit(module, {"a": short(), "b": short()}, ckpt_path=saved["on_train_batch_end", 2][0])


@pytest.mark.parametrize("mode", MODES)
def test_a_fit_within_draws_from_the_same_loaders_and_leaves_no_trace(mode):
    def fitted(within: bool) -> Any:
        class Within(Both):
            def on_train_batch_end(self, outputs, batch, batch_idx):
                if within and self.trainer.run.outer is None:
                    with self.trainer.stacked(max_epochs=1, limit_train_batches=2):
                        self.trainer.fit(self, train)

        trainer, module, train, _ = cases.parts((Within, all_kinds, {"multiple_trainloader_mode": mode}), 1, [])
        trainer.fit(module, train)
        return module.state_dict()

    assert not differences(fitted(True), fitted(False))


class Failing(Both):
    """Not finite at one update; notes its batches."""

    seen: ClassVar[list[Any]] = []
    fails_at: ClassVar[int | None] = None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(batch)
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.trainer.global_step == self.fails_at else loss


def drawn(case: cases.Case, seed: int, path: Any = None, fails_at: int | None = None) -> tuple[list[Any], str | None]:
    """The batches that a run sees, and the checkpoint of before its failing step."""
    Failing.seen, Failing.fails_at = [], fails_at
    trainer, module, train, _ = cases.parts(case, seed, [])
    with pytest.raises(pl.NotFiniteError) if fails_at is not None else nullcontext() as caught:
        trainer.fit(module, train, ckpt_path=path)
    return Failing.seen, caught and caught.value.path


def check_from_before_a_nan(loader: Any, directory: Any, places: Any, **flags: Any) -> None:
    case = (Failing, loader, {"terminate_on_nan": True, "default_root_dir": str(directory), **flags})
    whole, _ = drawn(case, 1)
    for n in (place for place in places if place < len(whole)):
        before, path = drawn(case, 1, fails_at=n)
        assert not differences(before, whole[: n + 1])
        assert not differences(drawn(case, 66, path)[0], whole[n:]), n


@pytest.mark.parametrize("mode", MODES)
def test_from_before_a_nan_the_failing_batch_is_drawn_again(mode, tmp_path):
    """Also the first of an epoch, and that with which a loader begins again: their orders were drawn already."""

    def loader() -> Any:
        return {**all_kinds(), "stateful": cases.stateful()}

    check_from_before_a_nan(loader, tmp_path, (2, 3, 7, 10), multiple_trainloader_mode=mode)


def test_so_it_is_of_one_loader(tmp_path):
    check_from_before_a_nan(cases.with_generator, tmp_path, (3, 7))
