"""base.py: what counts as a number, a logger of one's own, and several as one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from functrain.loggers import Logger, LoggerCollection
from functrain.loggers.base import numbers
from functrain.trainer.errors import ConfigurationError


class Recorder(Logger):
    """A logger of one's own: only what must be there."""

    def __init__(self, name="mine", version=0, failing=False):
        self.calls = []
        self._name, self._version, self._failing = name, version, failing

    @property
    def name(self):
        return self._name

    @property
    def version(self):
        return self._version

    def log_metrics(self, metrics, step=None):
        self.calls.append(("metrics", dict(metrics), step))

    def log_hyperparams(self, params, metrics=None):
        self.calls.append(("hyperparams", params, metrics))

    def save(self):
        self.calls.append(("save",))
        if self._failing:
            raise OSError(f"{self._name} is full")


def test_a_logger_of_ones_own_has_defaults():
    logger = Recorder()
    assert (logger.save_dir, logger.log_dir, logger.experiment) == (None, None, None)
    logger.log_graph(object())
    logger.finalize("success")
    logger.after_save_checkpoint("a.ckpt")
    assert logger.calls == [("save",), ("save",)]


def test_an_incomplete_logger_cannot_be_made():
    class Half(Logger):
        pass

    with pytest.raises(TypeError, match=r"log_hyperparams.*log_metrics|log_metrics.*log_hyperparams"):
        Half()  # type: ignore[abstract]


def test_numbers():
    got = numbers(
        {
            "float": 0.5,
            "int": 3,
            "bool": True,
            "f32": np.float32(0.25),
            "array": np.array([2]),
            "zero_d": np.array(1.5),
            "losses": {"a": 1.0, "b": np.float64(2)},
            "nan": float("nan"),
            "inf": -np.inf,
        }
    )
    assert math.isnan(got.pop("nan"))
    assert got == {
        "float": 0.5,
        "int": 3,
        "bool": 1.0,
        "f32": 0.25,
        "array": 2,
        "zero_d": 1.5,
        "losses/a": 1.0,
        "losses/b": 2.0,
        "inf": -math.inf,
    }
    assert {type(value) for value in got.values()} == {int, float}
    assert numbers({"a": 1, "b": {"c": 2}}, prefix="run") == {"run-a": 1, "run-b/c": 2}


@pytest.mark.parametrize("bad", ["0.5", b"1", None, [1.0], np.zeros(2), object(), 1j])
def test_what_is_no_number_is_named(bad):
    with pytest.raises(TypeError, match=r"the metric 'val_loss' is a \w+ .*loggers take numbers"):
        numbers({"val_loss": bad})


def test_a_collection_passes_everything_on():
    first, second = Recorder("a", 0), Recorder("b", "x")
    both = LoggerCollection(logger for logger in (first, second))
    both.log_metrics({"loss": 1.0}, 3)
    both.log_hyperparams({"lr": 1}, 0.5)
    both.log_graph(object())
    both.save()
    both.after_save_checkpoint("a.ckpt")
    both.finalize("success")
    assert first.calls == second.calls
    assert first.calls == [("metrics", {"loss": 1.0}, 3), ("hyperparams", {"lr": 1}, 0.5), *[("save",)] * 3]
    assert (both.name, both.version) == ("a_b", "0_x")
    assert (len(both), both[1], list(both)) == (2, second, [first, second])
    assert both.experiment == [None, None]
    assert (both.save_dir, both.log_dir) == (None, None)


def test_texts_and_images_go_to_those_that_take_them():
    class Shows(Recorder):
        def log_image(self, *args, **kwargs):
            self.calls.append(("image", args, kwargs))

    plain, shows = Recorder(), Shows()
    both = LoggerCollection([plain, shows])
    both.log_image("a", [1], step=3)
    assert (plain.calls, shows.calls) == ([], [("image", ("a", [1]), {"step": 3})])
    with pytest.raises(ConfigurationError, match="none of Recorder, Shows can do that"):
        both.log_text("a", ["b"])


def test_an_empty_collection():
    empty = LoggerCollection([])
    empty.log_metrics({"a": 1.0})
    assert (empty.name, empty.version, empty.save_dir, empty.log_dir) == ("", "", None, None)


def test_every_logger_of_a_collection_is_closed():
    loggers = [Recorder("a", failing=True), Recorder("b"), Recorder("c", failing=True)]
    with pytest.raises(OSError, match="a is full"):
        LoggerCollection(loggers).finalize("failed")
    assert all(logger.calls == [("save",)] for logger in loggers)


def test_a_collection_of_something_else():
    with pytest.raises(TypeError, match="given a str"):
        LoggerCollection(["tensorboard"])  # type: ignore[list-item]
