"""The Trainer's own moments: who acts at them is found out once, as with hooks, and a method takes what it uses."""

from __future__ import annotations

from typing import Any

import pytest

from functrain import Callback
from tests.callbacks import test_jax as jax_parts
from tests.callbacks.helpers import Scripted, by_epoch, fit

MOMENTS = ("log_step", "checkpoint", "should_stop")


@pytest.fixture(params=["torch", "jax"])
def run(request, make, tmp_path):
    """Runs so many epochs with these callbacks."""

    def run(epochs, *callbacks):
        if request.param == "jax":
            jax_parts.run(tmp_path, epochs, *callbacks, weights_summary=None, progress_bar_refresh_rate=0)
        else:
            fit(make(*callbacks, max_epochs=epochs), Scripted(by_epoch(*[0.5] * epochs)))

    return run


class LookedUp(Callback):
    """Notes how often each of its moments is looked up, and how often it acts."""

    def __init__(self) -> None:
        self.looked: dict[str, int] = {}
        self.acted: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in MOMENTS:
            self.looked[name] = self.looked.get(name, 0) + 1
        return super().__getattribute__(name)

    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        self.acted.append("log_step")

    def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.acted.append(f"checkpoint {moment}")

    def should_stop(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.acted.append(f"should_stop {moment}")


def test_a_longer_run_looks_no_moment_up_again(run):
    short, long = LookedUp(), LookedUp()
    run(1, short)
    run(4, long)
    assert long.acted.count("should_stop epoch") == long.acted.count("checkpoint epoch") == 4
    assert set(short.looked) == set(MOMENTS)
    assert long.looked == short.looked


class TakesLess(Callback):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def checkpoint(self, trainer: Any) -> None:
        self.seen.append(("checkpoint", trainer.current_epoch))

    def should_stop(self, moment: str) -> None:
        self.seen.append(("should_stop", moment))


def test_a_moment_takes_only_the_arguments_that_it_uses_as_a_hook_may(run):
    callback = TakesLess()
    run(1, callback)
    assert callback.seen == [("checkpoint", 0), ("should_stop", "epoch")]
