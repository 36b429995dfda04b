"""Learning rates for monitors: what optax keeps to itself is found, at the right update, or told once."""

import warnings

import jax
import numpy as np
import optax
import pytest

from functrain.callbacks import LearningRateMonitor
from functrain.loggers import CSVLogger
from functrain_jax.rates import current_rate
from tests.adapters.jax.common import Batches, Plain, trainer

FALLS = optax.linear_schedule(0.1, 0.0, 12)

KNOWN = {
    "adamw": (optax.adamw(1e-3), lambda k: 1e-3),
    "adamw with a mask": (
        optax.adamw(FALLS, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)),
        FALLS,
    ),
    "sgd": (optax.sgd(0.1, momentum=0.9), lambda k: 0.1),
    "a schedule": (optax.adamw(FALLS), FALLS),
    "clipped": (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(FALLS)), FALLS),
    "injected": (optax.inject_hyperparams(optax.adam)(learning_rate=FALLS), FALLS),
    "injected number": (optax.inject_hyperparams(optax.sgd)(learning_rate=0.25), lambda k: 0.25),
    "injected in a chain": (
        optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=FALLS)),
        FALLS,
    ),
    "scaled again": (optax.chain(optax.adam(1e-2), optax.scale(0.5)), lambda k: 5e-3),
    "told": ({"optimizer": optax.adam(FALLS), "learning_rate": FALLS}, FALLS),
}


class Configured(Plain):
    def __init__(self, given):
        super().__init__()
        self.given = given

    def configure_optimizers(self):
        return self.given


def rows(tmp_path, given):
    monitor = LearningRateMonitor(logging_interval="step")
    run = trainer(
        tmp_path, max_epochs=1, log_every_n_steps=3, callbacks=monitor, logger=CSVLogger(str(tmp_path), "a", "b")
    )
    run.fit(Configured(given), Batches())
    return monitor.lrs


@pytest.mark.parametrize("case", KNOWN)
def test_the_monitor_logs_the_rate_of_the_next_update(tmp_path, case):
    given, rate = KNOWN[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lrs = rows(tmp_path, given)
    np.testing.assert_allclose(lrs["lr"], [float(rate(k)) for k in (3, 6, 9, 12)], rtol=1e-6, atol=1e-9)


UNKNOWN = {
    "masked": optax.masked(optax.adam(1e-3), {"params": {"w": True, "b": False}}),
    "several": optax.multi_transform(
        {"fast": optax.adam(1e-1), "slow": optax.adam(1e-3)}, {"params": {"w": "fast", "b": "slow"}}
    ),
    "windows of its own": optax.MultiSteps(optax.adam(1e-3), 2).gradient_transformation(),
    "by hand": optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (g, s)),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_rate_that_cannot_be_known_is_told_once(tmp_path, case):
    with pytest.warns(UserWarning, match="learning rate 'lr' cannot be read.*'learning_rate': schedule") as caught:
        lrs = rows(tmp_path, UNKNOWN[case])
    assert not lrs
    assert len([w for w in caught if "cannot be read" in str(w.message)]) == 1


@pytest.mark.parametrize(
    "name", ["adabelief", "adagrad", "adamax", "lamb", "lion", "nadam", "radam", "rmsprop", "yogi"]
)
def test_the_optimizers_of_optax_tell_their_rate(name):
    tx = getattr(optax, name)(0.125)
    assert current_rate(None, tx, tx.init({"w": np.ones(2, np.float32)}), 0) == 0.125
