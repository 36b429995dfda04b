"""self.log in JAX: as in torch, whatever is compiled and however many batches are dispatched at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import functrain_jax as fj
from functrain.loggers import CSVLogger
from tests.adapters.jax.common import trainer


class Rows(CSVLogger):
    """Keeps the rows that a logger gets."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def values(self, name: str) -> list[tuple[int | None, float]]:
        return [(step, row[name]) for step, row in self.rows if name in row]


class Net(fj.Module):
    """One layer on dicts of arrays; logs what a subclass says."""

    def __init__(self) -> None:
        self.net = nnx.Linear(3, 1, rngs=nnx.Rngs(0))

    def say(self, batch_idx: Any) -> None:
        pass

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        self.say(batch_idx)
        return (self.net(batch["x"]) ** 2).mean()

    def validation_step(self, batch: Any, batch_idx: Any) -> None:
        self.say(batch_idx)

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        import optax

        return optax.sgd(0.1)


class Loader:
    """Batches of these sizes. The labels' key sorts first, but was put in last."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Any:
        return iter([{"x": np.ones((n, 3), np.float32), "a": np.ones((1, 7), np.float32)} for n in self.sizes])


def metrics(run: Any) -> dict[str, float]:
    return {name: float(value) for name, value in run.callback_metrics.items()}


class Both(Net):
    """Logs the batch's number, with both flags."""

    def say(self, batch_idx: Any) -> None:
        self.log("v", batch_idx, on_step=True, on_epoch=True)


def test_epoch_means_go_by_the_first_inserted_entry_of_a_dict():
    """Nine zeros and a one: 0.1, as in torch."""
    run = trainer()
    run.validate(Both(), Loader(9, 1), verbose=False)
    assert metrics(run)["v"] == pytest.approx(0.1)


def test_a_step_gets_a_dict_batch_in_the_order_in_which_it_was_made():
    seen: list[list[str]] = []

    class Ordered(Net):
        def say(self, batch_idx: Any) -> None:
            pass

        def validation_step(self, batch: Any, batch_idx: Any) -> None:
            assert type(batch) is dict
            seen.append(list(batch))

    trainer().validate(Ordered(), Loader(2), verbose=False)
    assert set(map(tuple, seen)) == {("x", "a")}


def test_a_batch_without_arrays_is_told_once():
    class Scalars(Net):
        def validation_step(self, batch: Any, batch_idx: Any) -> None:
            self.log("v", batch["x"])

    loader = Loader(1, 1)
    loader.__class__ = type("Few", (Loader,), {"__iter__": lambda self: iter([{"x": 1.0}, {"x": 3.0}])})
    run = trainer()
    with pytest.warns(UserWarning, match="pass batch_size=") as told:
        run.validate(Scalars(), loader, verbose=False)
    assert len(told) == 1
    assert metrics(run) == {"v": 2.0}


def test_steps_of_a_validation_reach_the_loggers(tmp_path: Path):
    logger = Rows(tmp_path)
    run = trainer(max_epochs=2, logger=logger, log_every_n_steps=1)
    model = Both()
    run.fit(model, Loader(2, 2), Loader(4, 4, 4))
    in_training, in_validation = logger.values("v_step")[:2], logger.values("v_step")[2:5]
    assert in_training == [(1, 0.0), (2, 1.0)]
    assert in_validation == [(2, 0.0), (2, 1.0), (2, 2.0)]
    assert logger.values("v_step")[7:] == [(4, 0.0), (4, 1.0), (4, 2.0)]
    run.test(model, [Loader(1), Loader(1, 1)], verbose=False)
    assert logger.values("v_step/dataloader_idx_1") == [(0, 0.0), (1, 1.0)]


def test_several_loaders_with_both_flags_give_a_dict_each():
    results = trainer().test(Both(), [Loader(1), Loader(1, 1, 1)], verbose=False)
    assert results == [{"v_epoch/dataloader_idx_0": 0.0}, {"v_epoch/dataloader_idx_1": 1.0}]


def test_one_name_with_contradictory_options_in_one_step_is_an_error():
    class Contradicting(Net):
        def say(self, batch_idx: Any) -> None:
            self.log("v", 1.0)
            self.log("v", 2.0, reduce_fx="sum")

    with pytest.raises(ValueError, match=r"self.log\('v', ...\): logged in training_step with reduce_fx='mean' before"):
        trainer(max_epochs=1).fit(Contradicting(), Loader(2))


def test_a_value_logged_at_an_epochs_end_is_not_mixed_with_those_of_the_steps():
    class Twice(Net):
        def say(self, batch_idx: Any) -> None:
            self.log("v", batch_idx, on_epoch=True)

        def on_validation_epoch_end(self) -> None:
            self.log("v", 100.0)

        def on_train_epoch_end(self) -> None:
            self.log("t", 50.0)

    run = trainer(max_epochs=2)
    model = Twice()
    run.fit(model, Loader(2, 2), None)
    assert metrics(run)["t"] == 50.0
    assert run.validate(model, Loader(2, 2), verbose=False) == [{"v": 100.0}]


def test_callback_metrics_show_the_steps_value_in_mid_epoch_where_both_flags_are_set():
    seen: list[Any] = []

    class Reading(fj.Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            seen.append(metrics(trainer)["v"])

    run = trainer(max_epochs=2, callbacks=Reading())
    run.fit(Both(), Loader(2, 2, 2), None)
    assert seen == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]
    assert metrics(run) == {"v_step": 2.0, "v_epoch": 1.0, "v": 1.0}


@pytest.mark.parametrize("reduce_fx", ["min", "max"])
def test_booleans_can_be_reduced(reduce_fx: str):
    class Booleans(Net):
        def say(self, batch_idx: Any) -> None:
            self.log("v", jnp.equal(batch_idx, 1), reduce_fx=reduce_fx)

    run = trainer()
    run.validate(Booleans(), Loader(2, 2, 2), verbose=False)
    assert metrics(run) == {"v": float(reduce_fx == "max")}


def test_logging_outside_a_run_is_told_once():
    model = Net()
    with pytest.warns(UserWarning, match=r"self.log\('v', ...\): no Trainer is running this Net"):
        model.log("v", 1.0)
    model.log("v", 1.0)
