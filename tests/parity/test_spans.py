"""A profiler measures spans: each is closed, also by an exception, and without a profiler nothing is wrapped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from functrain.trainer.foreign import ActionProfiler
from tests import inside

QUIET: dict[str, Any] = {"logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
BATCHES = [np.full((4, 2), i, np.float32) for i in range(6)]


class Recorder:
    """Counts spans, and knows those that are open."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.open: list[str] = []

    @contextmanager
    def profile(self, name: str) -> Generator[None]:
        self.counts[name] += 1
        self.open.append(name)
        try:
            yield
        finally:
            assert self.open.pop() == name


class Fails:
    """Fails where it is told to."""

    fails, failed = "", False

    def failing(self, where: str) -> None:
        if where == self.fails:
            self.failed = True
            raise ArithmeticError(where)

    def on_train_batch_end(self) -> None:
        self.failing("on_train_batch_end")


class OfTorch(Fails, pl.LightningModule):
    """One weight a feature."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any) -> Any:
        self.failing("training_step")
        return self.linear(torch.as_tensor(batch)).square().mean()

    def validation_step(self, batch: Any) -> Any:
        self.failing("validation_step")

    def on_after_backward(self) -> None:
        self.failing("on_after_backward")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class ByHand(OfTorch):
    """Steps its optimizer itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any) -> Any:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch))
        self.failing("optimizer_step")
        optimizer.step()


class Moved(OfTorch):
    """Has a way of its own to the device."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        self.failing("batch_transfer")
        return torch.as_tensor(batch)


class OfJax(Fails, ft.Module):
    """The same in JAX."""

    def __init__(self) -> None:
        self.params = {"w": jnp.ones(2)}

    def training_step(self, batch: Any) -> Any:
        self.failing("training_step")
        return jnp.square(batch @ self.params["w"]).mean()

    def validation_step(self, batch: Any) -> None:
        self.failing("validation_step")

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.01)


class Dispatched(OfJax):
    """Without a hook at every batch."""

    on_train_batch_end = ft.Module.on_train_batch_end


class Breaks:
    """A loader that fails at its third batch."""

    def __iter__(self) -> Any:
        yield from BATCHES[:2]
        raise ArithmeticError("loader")


IN_JAX = ("training_step", "validation_step", "on_train_batch_end")
IN_TORCH = (*IN_JAX, "on_after_backward")
WHERE = {
    OfTorch: IN_TORCH,
    ByHand: (*IN_TORCH, "optimizer_step"),
    Moved: (*IN_TORCH, "batch_transfer"),
    OfJax: IN_JAX,
    Dispatched: IN_JAX[:2],
}
KINDS = list(WHERE)


def trainer(kind: type, profiler: ActionProfiler | None, **flags: Any) -> Any:
    """A Trainer of the module's world."""
    world = pl if issubclass(kind, pl.LightningModule) else ft
    made = world.Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET, **flags)
    made.profiler = profiler
    return made


STEPS = {"training_step": 6, "backward": 6, "optimizer_step": 6, "validation_step": 2}


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (OfTorch, {**STEPS, "OfTorch.on_after_backward": 6, "OfTorch.on_train_batch_end": 6}),
        (ByHand, {**STEPS, "ByHand.on_after_backward": 6, "ByHand.on_train_batch_end": 6}),
        (Moved, {**STEPS, "batch_transfer": 8, "Moved.transfer_batch_to_device": 8}),
        (OfJax, {"training_step": 6, "batch_transfer": 7, "validation_step": 1, "OfJax.on_train_batch_end": 6}),
    ],
)
def test_spans_of_a_fit(kind, counts, tmp_path):
    recorder = Recorder()
    trainer(kind, recorder, callbacks=[ModelCheckpoint(str(tmp_path))]).fit(kind(), BATCHES, BATCHES[:2])
    counts = {**counts, "get_train_batch": 6, "get_validate_batch": 2 + 1, "save_checkpoint": 1}
    assert {name: recorder.counts[name] for name in counts} == counts
    assert recorder.counts["ModelCheckpoint.checkpoint"]
    assert recorder.open == []


def test_a_compiled_dispatch_of_several_batches_is_one_span():
    recorder = Recorder()
    trainer(Dispatched, recorder, checkpoint_callback=False).fit(Dispatched(), BATCHES, BATCHES[:2])
    counts = recorder.counts
    assert counts["training_step"] < counts["get_train_batch"] == 6
    assert counts["batch_transfer"] == counts["training_step"] + counts["validation_step"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", [*IN_TORCH, "batch_transfer", "optimizer_step"])
def test_every_span_is_closed_where_an_exception_ends_it(kind, where):
    recorder, module = Recorder(), kind()
    module.fails = where
    made = trainer(kind, recorder, checkpoint_callback=False)
    with suppress(ArithmeticError):
        made.fit(module, BATCHES, BATCHES[:2])
    assert module.failed == (where in WHERE[kind])
    assert recorder.counts["get_train_batch"]
    assert recorder.open == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_span_is_closed_where_the_loader_fails(kind):
    recorder = Recorder()
    with pytest.raises(ArithmeticError, match="loader"):
        trainer(kind, recorder, checkpoint_callback=False).fit(kind(), Breaks())
    assert recorder.counts["get_train_batch"] == 3
    assert recorder.open == []


@pytest.mark.parametrize("kind", [OfTorch, OfJax])
def test_without_a_profiler_a_call_is_the_very_same(kind):
    made, call, items = trainer(kind, None, checkpoint_callback=False), BATCHES.append, iter(BATCHES)
    made.fit(kind(), BATCHES)
    assert inside.span(made, "training_step", call) is call
    assert inside.span_of_each(made, "get_train_batch", items) is items
