"""The learning-rate range test: its numbers against loops written by hand and against Lightning, and what it sets."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
import torch

import functrain_torch as pl
from functrain.tuner import LRFinder
from tests.structure.graph import ROOT
from tests.tuner.small import QUIET, Regression, loader, trainer


def by_hand(rates: list[float], accumulate: int = 1, threshold: float | None = None) -> list[float]:
    """A loop of plain torch: a rate an update, the running mean of the loss with its start corrected."""
    module = Regression()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.9)
    batches, mean, losses = cycle(loader()), 0.0, []
    for i, rate in enumerate(rates, start=1):
        optimizer.param_groups[0]["lr"] = rate
        window = []
        for x, y in islice(batches, accumulate):
            loss = (module(x) - y).square().mean()
            (loss / accumulate).backward()
            window.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        mean = 0.98 * mean + 0.02 * sum(window) / accumulate
        losses.append(mean / (1 - 0.98**i))
        if threshold is not None and i > 1 and losses[-1] > threshold * min(losses[:-1]):
            break
    return losses


def rates(mode: str, lowest: float, highest: float, n: int) -> list[float]:
    """The rates that Lightning uses: the first is the lowest, the i-th is i/n of the way."""
    parts = [0.0, *((i + 1) / n for i in range(1, n))]
    if mode == "linear":
        return [lowest + part * (highest - lowest) for part in parts]
    return [lowest * (highest / lowest) ** part for part in parts]


@pytest.mark.parametrize("mode", ["exponential", "linear"])
def test_the_losses_are_those_of_a_loop_by_hand(mode: Any):
    found = trainer().tuner.lr_find(Regression(), loader(), min_lr=1e-4, max_lr=0.05, num_training=40, mode=mode)
    assert found is not None
    np.testing.assert_allclose(found.results["lr"], rates(mode, 1e-4, 0.05, 40), rtol=1e-12)
    np.testing.assert_allclose(found.results["loss"], by_hand(found.results["lr"]), rtol=1e-5)


def test_with_accumulation_a_rate_is_a_windows():
    found = trainer(accumulate_grad_batches=3).tuner.lr_find(Regression(), loader(), max_lr=0.1, num_training=20)
    assert found is not None
    assert len(found.results["lr"]) == 20
    np.testing.assert_allclose(found.results["loss"], by_hand(found.results["lr"], accumulate=3), rtol=1e-5)


def test_it_ends_where_the_loss_diverges():
    found = trainer().tuner.lr_find(Regression(), loader(), min_lr=1e-3, max_lr=100.0, num_training=60)
    assert found is not None
    losses = found.results["loss"]
    assert len(losses) < 60
    np.testing.assert_allclose(losses, by_hand(rates("exponential", 1e-3, 100.0, 60), threshold=4.0), rtol=1e-4)
    never = trainer().tuner.lr_find(
        Regression(), loader(), min_lr=1e-3, max_lr=100.0, num_training=60, early_stop_threshold=None
    )
    assert never is not None
    assert len(never.results["loss"]) == 60


def test_a_loss_that_is_not_finite_ends_it_too():
    found = trainer(terminate_on_nan=True).tuner.lr_find(
        Regression(), loader(), min_lr=1e-3, max_lr=1e30, num_training=60, early_stop_threshold=1e300
    )
    assert found is not None
    assert len(found.results["loss"]) < 60
    assert math.isfinite(found.results["loss"][-2])
    assert not math.isfinite(found.results["loss"][-1])


@pytest.mark.filterwarnings("ignore")
def test_the_numbers_are_lightnings(tmp_path):
    lightning = pytest.importorskip("pytorch_lightning")
    from pytorch_lightning.tuner import Tuner

    class Theirs(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.lr = Regression().net, 0.05

        def training_step(self, batch, batch_idx):
            return (self.net(batch[0]) - batch[1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    options: Any = {"min_lr": 1e-5, "max_lr": 0.1, "num_training": 50}
    peer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=9,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    theirs = Tuner(peer).lr_find(Theirs(), loader(), update_attr=False, **options)
    ours = trainer().tuner.lr_find(Regression(), loader(), **options)
    assert theirs is not None
    assert ours is not None
    np.testing.assert_allclose(ours.results["lr"], theirs.results["lr"], rtol=1e-9)
    # Lightning corrects the start of the running mean as if there had been an update more.
    updates = np.arange(1, 51)
    corrected = np.array(theirs.results["loss"]) * (1 - 0.98 ** (updates + 1)) / (1 - 0.98**updates)
    np.testing.assert_allclose(ours.results["loss"], corrected, rtol=1e-5)


# ---- the result


def result(losses: list[float]) -> LRFinder:
    finder = LRFinder("exponential", 1e-3, 1.0, len(losses))
    finder.results = {"lr": [float(i) for i in range(len(losses))], "loss": losses}
    return finder


FALLS = [5.0, 4.9, 4.8, 4.0, 2.0, 1.0, 0.9, 0.9, 1.5]


def test_the_suggestion_is_where_the_loss_falls_most():
    assert result(FALLS).suggestion(0, 0) == 4.0
    assert result(FALLS).suggestion(skip_begin=5, skip_end=0) == 5.0
    assert result([9.0, 8.0, 1.0, 0.0]).suggestion(0, 1) == 2.0
    # What is not finite is left out, and the places of the others stay.
    assert result([5.0, math.nan, 4.9, 4.8, 1.0, 0.2]).suggestion(0, 0) == 4.0


def test_too_few_losses_suggest_nothing_and_say_so():
    with pytest.warns(UserWarning, match="9 rates were tried, of which skip_begin=10"):
        assert result(FALLS).suggestion() is None
    with pytest.warns(UserWarning, match="fewer than two with a finite loss"):
        assert result([math.nan] * 30).suggestion() is None


def test_the_plot_has_the_curve_and_the_suggestion():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    finder = trainer().tuner.lr_find(Regression(), loader(), max_lr=0.1, num_training=40)
    assert finder is not None
    figure = finder.plot(suggest=True)
    curve, point = figure.axes[0].lines
    np.testing.assert_array_equal(curve.get_xdata(), finder.results["lr"])
    np.testing.assert_array_equal(curve.get_ydata(), finder.results["loss"])
    assert point.get_xdata()[0] == finder.suggestion()
    assert figure.axes[0].get_xscale() == "log"
    other = plt.figure()
    assert finder.plot(ax=other.add_subplot()) is other
    plt.close("all")


def test_matplotlib_is_loaded_for_a_plot_only():
    code = """
import json, sys
from tests.tuner.small import *
found = trainer().tuner.lr_find(Regression(), loader(), max_lr=0.1, num_training=30)
before = "matplotlib" in sys.modules
found.plot()
print(json.dumps([before, "matplotlib" in sys.modules]))
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    env = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, True]


# ---- what is set


class ByHparams(Regression):
    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        del self.lr
        self.save_hyperparameters()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)


class Named(Regression):
    def __init__(self) -> None:
        super().__init__()
        del self.lr
        self.rate = 0.05

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate, momentum=0.9)


class Data(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.05

    def train_dataloader(self):
        return loader()


SHORT: Any = {"min_lr": 1e-4, "max_lr": 0.1, "num_training": 30}


def test_without_update_attr_nothing_is_set():
    module = Regression()
    trainer().tuner.lr_find(module, loader(), **SHORT)
    assert module.lr == 0.05


def test_tune_sets_the_attribute(capsys):
    module = Regression()
    found = trainer(auto_lr_find=True).tune(module, loader(), lr_find_kwargs=SHORT)
    assert module.lr == found["lr_find"].suggestion() != 0.05
    assert capsys.readouterr().out == f"lr_find: Regression.lr = {module.lr:.4g}.\n"


def test_tune_sets_a_hyperparameter_and_a_named_attribute_and_that_of_a_data_module():
    module = ByHparams()
    found = trainer(auto_lr_find=True).tune(module, loader(), lr_find_kwargs=SHORT)
    assert module.hparams.lr == found["lr_find"].suggestion()
    named = Named()
    trainer(auto_lr_find="rate").tune(named, train_dataloader=loader(), lr_find_kwargs=SHORT)
    assert named.rate == module.hparams.lr
    by_name = Named()
    trainer().tuner.lr_find(by_name, loader(), attr_name="rate", update_attr=True, **SHORT)
    assert by_name.rate == named.rate
    data = Data()
    trainer(auto_lr_find=True).tune(Named(), datamodule=data, lr_find_kwargs=SHORT)
    assert data.lr == named.rate
    # A data module in the place of the loader.
    in_place = Data()
    trainer(auto_lr_find=True).tune(Named(), in_place, lr_find_kwargs=SHORT)
    assert in_place.lr == data.lr


def test_a_missing_attribute_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"neither Named nor its hparams have 'lr' or 'learning_rate'"):
        trainer(auto_lr_find=True).tune(Named(), loader())
    with pytest.raises(pl.ConfigurationError, match=r"have 'rat'.*Did you mean 'rate'"):
        trainer(auto_lr_find="rat").tune(Named(), loader())
    with pytest.raises(pl.ConfigurationError, match=r"Trainer\(auto_lr_find=1.5\)"):
        trainer(auto_lr_find=1.5)


def test_where_nothing_can_be_suggested_the_attribute_stays():
    module = Regression()
    with pytest.warns(UserWarning, match="none is suggested"):
        trainer().tuner.lr_find(module, loader(), num_training=5, update_attr=True)
    assert module.lr == 0.05


def test_tune_without_flags_says_that_it_does_nothing():
    with pytest.warns(UserWarning, match="asks for anything"):
        assert trainer().tune(Regression(), loader()) == {}


def test_a_fit_without_tune_says_that_nothing_is_tuned():
    run, module = trainer(auto_lr_find=True, auto_scale_batch_size="power", max_steps=1), Regression()
    with pytest.warns(UserWarning, match=r"auto_scale_batch_size='power'\): trainer.fit tunes nothing"):
        run.fit(module, loader())
    run.fit(module, loader())  # once
    tuned = trainer(auto_lr_find=True, max_steps=1)
    tuned.tune(module, loader(), lr_find_kwargs=SHORT)
    tuned.fit(module, loader())


def test_fast_dev_run_leaves_it_out():
    with pytest.warns(UserWarning, match="lr_find: skipped"):
        assert trainer(fast_dev_run=True, auto_lr_find=True).tune(Regression(), loader()) == {"lr_find": None}


def test_the_tuner_of_newer_scripts_sets_it_by_itself():
    module = Regression()
    found = pl.tuner.Tuner(trainer()).lr_find(module, train_dataloaders=loader(), **SHORT)
    assert found is not None
    assert module.lr == found.suggestion()
    with pytest.raises(pl.ConfigurationError, match="method='validate'"):
        pl.tuner.Tuner(trainer()).lr_find(module, loader(), method="validate")


# ---- what cannot be


class Two(Regression):
    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), lr=self.lr) for part in (self.net[0], self.net[2])]


class ByHand(Regression):
    automatic_optimization = False


class SetsItself(Regression):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx=0, optimizer_closure=None, **_):
        optimizer.param_groups[0]["lr"] = 0.123
        optimizer.step(optimizer_closure)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Two, "Two.configure_optimizers returns 2 optimizers"),
        (ByHand, "ByHand steps its optimizers itself"),
        (SetsItself, r"something in SetsItself sets the learning rate too \(to 0.123\)"),
    ],
)
def test_what_modules_it_cannot_serve(module: type[Regression], said: str):
    with pytest.raises(pl.ConfigurationError, match=said):
        trainer().tuner.lr_find(module(), loader())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"min_lr": 0.0}, r"min_lr=0.0, max_lr=1\): must be numbers, 0 < min_lr < max_lr"),
        ({"min_lr": 2.0}, "0 < min_lr < max_lr"),
        ({"num_training": 1}, "num_training=1"),
        ({"mode": "cosine"}, "mode='cosine'"),
        ({"early_stop_threshold": -1}, "early_stop_threshold=-1"),
        ({"train_dataloader": loader()}, "were both given"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], said: str):
    with pytest.raises(pl.ConfigurationError, match=said):
        trainer().tuner.lr_find(Regression(), loader(), **arguments)


def test_a_loader_that_can_be_read_once_is_an_error():
    with pytest.raises(pl.ConfigurationError, match="is an iterator"):
        trainer().tuner.lr_find(Regression(), iter(loader()))


def test_a_class_and_nothing_are_errors():
    with pytest.raises(pl.ConfigurationError, match=r"trainer.tune\(Regression\): this is a class"):
        trainer().tuner.lr_find(Regression, loader())
    with pytest.raises(pl.ConfigurationError, match=r"trainer.tune\(\): no module was given"):
        trainer().tuner.lr_find(None, loader())


# ---- JAX


def jax_module() -> Any:
    import jax.numpy as jnp
    import optax

    import functrain_jax

    class Module(functrain_jax.Module):
        def __init__(self) -> None:
            self.params, self.lr = {"w": jnp.ones(3)}, 0.1

        def training_step(self, batch, batch_idx):
            return ((batch @ self.params["w"]) ** 2).mean()

        def configure_optimizers(self):
            return optax.sgd(self.lr)

    return Module


def test_a_jax_module_whose_optimizer_is_made_of_the_attribute():
    import functrain_jax

    data = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    module, run = jax_module()(), functrain_jax.Trainer(**QUIET, auto_lr_find=True)
    found = run.tune(module, functrain_jax.ArrayLoader(data, 4), lr_find_kwargs={"num_training": 30})["lr_find"]
    weights, mean = np.ones(3), 0.0
    for i, (rate, loss) in enumerate(zip(*found.results.values(), strict=True)):
        batch = data[i % 10 * 4 : i % 10 * 4 + 4]
        mean = 0.98 * mean + 0.02 * ((batch @ weights) ** 2).mean()
        np.testing.assert_allclose(loss, mean / (1 - 0.98 ** (i + 1)), rtol=1e-4)
        weights = weights - rate * 2 * batch.T @ (batch @ weights) / 4
    np.testing.assert_array_equal(module.params["w"], np.ones(3))
    assert module.lr == found.suggestion()


def test_a_jax_module_that_makes_it_of_something_else_is_an_error():
    import optax

    import functrain_jax

    class Fixed(jax_module()):
        def configure_optimizers(self):
            return optax.sgd(0.1)

    class Computes(jax_module()):
        def configure_optimizers(self):
            return optax.sgd(self.lr * 2)

    data = functrain_jax.ArrayLoader(np.ones((40, 3), np.float32), 4)
    run = functrain_jax.Trainer(**QUIET)
    with pytest.raises(pl.ConfigurationError, match="of something else than self"):
        run.tuner.lr_find(Fixed(), data)
    with pytest.raises(pl.ConfigurationError, match="cannot work with a schedule in place of self"):
        run.tuner.lr_find(Computes(), data)
    module = jax_module()()
    del module.lr
    with pytest.raises(pl.ConfigurationError, match="part of its optax transformation"):
        run.tuner.lr_find(module, data)
