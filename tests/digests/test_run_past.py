"""A compiled run does not come back to the host for a digest, and the rows are those of a run that does."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from functrain.callbacks import LambdaCallback, StateDigest
from tests import inside
from tests.adapters.jax.common import trainer
from tests.digests.test_state_digest import rows

BATCHES = 12


class Dense(ft.Module):
    """Dropout and a moving average: each step draws, and changes variables."""

    def __init__(self) -> None:
        self.net = nnx.Sequential(
            nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.BatchNorm(8, rngs=nnx.Rngs(0)), nnx.Dropout(0.3, rngs=nnx.Rngs(1)),
            nnx.Linear(8, 1, rngs=nnx.Rngs(2)),
        )  # fmt: skip

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        loss = (self.net(batch) ** 2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return optax.adam(0.01)


class Plain(Dense):
    """Draws nothing."""

    def __init__(self) -> None:
        self.net = nnx.Linear(4, 1, rngs=nnx.Rngs(0))


class Convolution(Dense):
    """A step that is slow in loops, and is called once a batch."""

    def __init__(self) -> None:
        self.net = nnx.Conv(1, 2, (3,), rngs=nnx.Rngs(0))

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return super().training_step(batch[..., None], batch_idx)


class Two(Plain):
    """An optimizer for each of two parts, which take turns."""

    def __init__(self) -> None:
        self.net, self.other = nnx.Linear(4, 1, rngs=nnx.Rngs(0)), nnx.Linear(4, 1, rngs=nnx.Rngs(1))

    def training_step(self, batch: Any, batch_idx: Any, optimizer_idx: int) -> Any:
        return ((self.net(batch) + self.other(batch)) ** 2).mean()

    def configure_optimizers(self) -> Any:
        return (
            {"optimizer": optax.adam(0.01), "params": "net", "frequency": 1},
            {"optimizer": optax.sgd(0.01), "params": "other", "frequency": 2},
        )


class Drawing:
    """Batches that are drawn from the generators that all share."""

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[np.ndarray]:
        for _ in range(BATCHES):
            yield np.random.normal(size=(3, 4)).astype(np.float32) + np.float32(random.random())


class Calls:
    """A profiler that counts how often each part of a run is called."""

    def __init__(self) -> None:
        self.counts = Counter[str]()

    def profile(self, name: str) -> Any:
        self.counts[name] += 1
        return nullcontext()


def fitted(
    kind: type[ft.Module], folder: Path, every: int | None, *callbacks: Any, calls: Any = None, **flags: Any
) -> tuple[Any, list[dict[str, Any]]]:
    ft.seed_everything(3)
    module = kind()
    digests = [] if every is None else [StateDigest(every, dirpath=folder)]
    run = trainer(max_epochs=2, callbacks=[*digests, *callbacks], **flags)
    run.profiler = calls
    run.fit(module, Drawing())
    return module, rows(folder / "digests.jsonl") if digests else []


def one_by_one() -> LambdaCallback:
    return LambdaCallback(on_train_batch_end=lambda *given: None)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (Dense, {}),
        (Plain, {}),
        (Plain, {"accumulate_grad_batches": 5}),
        (Dense, {"terminate_on_nan": True}),
        (Plain, {"precision": 16, "gradient_clip_val": 0.1}),
        (Convolution, {}),
        (Two, {}),
        (Two, {"accumulate_grad_batches": 2}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else ", ".join(value) or "plain",
)
def test_rows_of_a_run_that_goes_past_them_are_those_of_one_that_stops_at_each(kind, flags, tmp_path):
    past, found = fitted(kind, tmp_path / "past", 3, **flags)
    stopped, want = fitted(kind, tmp_path / "stopped", 3, one_by_one(), **flags)
    assert len(found) > 2
    for row, wanted in zip(found, want, strict=True):
        assert row == wanted
    assert all(np.array_equal(a, b) for a, b in zip(_leaves(past), _leaves(stopped), strict=True))


@pytest.mark.parametrize("kind", [Dense, Convolution])
def test_to_digest_a_run_changes_no_bit_of_it(kind, tmp_path):
    with_digests, without = fitted(kind, tmp_path, 3)[0], fitted(kind, tmp_path, None)[0]
    assert all(np.array_equal(a, b) for a, b in zip(_leaves(with_digests), _leaves(without), strict=True))


def test_a_dispatch_does_not_end_where_a_row_is_due(tmp_path, monkeypatch):
    inside.look_up_at_events_only(monkeypatch)
    plain, digested, stopping = Calls(), Calls(), Calls()
    fitted(Plain, tmp_path / "a", None, calls=plain)
    fitted(Plain, tmp_path / "b", 3, calls=digested)
    ends = LambdaCallback(checkpoint=lambda *given: None)
    ends.every_n_updates = lambda: 3
    fitted(Plain, tmp_path / "c", None, ends, calls=stopping)
    plain, digested, stopping = (calls.counts["training_step"] for calls in (plain, digested, stopping))
    assert plain == digested < stopping


def test_an_observer_that_may_look_at_the_module_is_called_when_the_run_is_there(tmp_path):
    class Looks(ft.Callback):
        def observes_every_n_updates(self) -> int:
            return 5

        def observe(self, trainer: Any, pl_module: Any, moment: Any) -> None:
            assert moment.passed(5)
            seen.append((trainer.global_step, float(pl_module.net.kernel[...].sum())))

    seen, every = [], []
    ends = LambdaCallback(on_train_batch_end=lambda trainer, module, *given: every.append(module.net.kernel[...].sum()))
    fitted(Plain, tmp_path / "a", None, Looks())
    fitted(Plain, tmp_path / "b", None, ends)
    assert seen == [(n, float(every[n - 1])) for n in (5, 10, 15, 20)]


def _leaves(module: Any) -> list[np.ndarray]:
    states = [nnx.state(net) for net in vars(module).values() if isinstance(net, nnx.Module)]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(states) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
