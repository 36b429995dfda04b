"""What hooks get of the training steps in JAX: as in torch."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functrain_jax as ft
from tests.adapters.jax.common import Batches, Plain, trainer


class Told(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.at_batches: tuple[Any, ...] = ()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.at_batches += (outputs,)


def test_outputs_loss_works_where_the_step_returned_the_loss_alone():
    model = Told()
    trainer(max_epochs=1).fit(model, Batches(n=24))
    assert [outputs.keys() for outputs in model.at_batches] == [{"loss"}] * 3
    assert np.isfinite([float(outputs["loss"]) for outputs in model.at_batches]).all()


class Several(ft.Module):
    """Two players, which say who they are."""

    def __init__(self, turns: tuple[int, ...]) -> None:
        self.params = {"a": jnp.ones(6)}
        self.vars = {}
        self.turns = turns
        self.at_batches: tuple[Any, ...] = ()
        self.other = ft.from_linen(_Dense(), jnp.ones((1, 6)))

    def training_step(self, batch: Any, batch_idx: Any, optimizer_idx: int) -> Any:
        x, _ = batch
        loss = jnp.square(x @ self.params["a"]).mean() + jnp.square(self.other(x)).mean()
        return {"loss": loss, "player": optimizer_idx}

    def configure_optimizers(self) -> Any:
        specs = [{"optimizer": optax.sgd(1e-3), "params": name} for name in ("params", "other")]
        return [{**s, "frequency": n} for s, n in zip(specs, self.turns, strict=True)] if self.turns else specs

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.at_batches += (outputs,)


def _Dense() -> Any:
    from flax import linen

    return linen.Dense(1)


@pytest.mark.parametrize(("turns", "played"), [((), [[0, 1]] * 3), ((1, 2), [[0], [1], [1]])])
def test_on_train_batch_end_gets_the_outputs_of_the_optimizers_that_played(turns: Any, played: Any):
    model = Several(turns)
    trainer(max_epochs=1).fit(model, Batches(n=24))
    assert [[int(outputs["player"]) for outputs in batch] for batch in model.at_batches] == played


def test_gradients_that_were_never_finite_are_told():
    class Infinite(Plain):
        def training_step(self, batch: Any, batch_idx: Any) -> Any:
            return super().training_step(batch, batch_idx) * jnp.inf

    with pytest.warns(UserWarning, match=r"without a single update: no update's gradients .* Infinite.training_step"):
        trainer(max_epochs=2, precision=16).fit(Infinite(), Batches(n=24))


def test_a_forgotten_return_loss_is_an_error_that_names_the_method():
    class Forgotten(Plain):
        def training_step(self, batch: Any, batch_idx: Any) -> Any:
            super().training_step(batch, batch_idx)

    with pytest.raises(ft.ConfigurationError, match=r"Forgotten\.training_step"):
        trainer(max_epochs=1).fit(Forgotten(), Batches(n=24))


def test_ones_own_lr_scheduler_step_is_an_error_since_schedules_are_the_optimizers():
    class Scheduled(Plain):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            pass

    with pytest.raises(ft.ConfigurationError, match="lr_scheduler_step is overridden, but the steps of Scheduled"):
        trainer(max_epochs=1).fit(Scheduled(), Batches(n=24))


@pytest.mark.parametrize("windows", [1, 3])
def test_a_first_epoch_whose_every_batch_weighs_nothing_is_told(windows):
    class Weightless(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return {"loss": loss, "weight": jnp.where(batch_idx >= 0, 0.0, 1.0)}

    with pytest.warns(UserWarning, match=r"every batch weighed 0; .*'weight' that Weightless\.training_step gives"):
        trainer(max_epochs=2, accumulate_grad_batches=windows).fit(Weightless(), Batches())
