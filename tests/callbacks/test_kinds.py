"""What a callback is for is told by its base class, never by what it has."""

from __future__ import annotations

import ast
from typing import Any

from functrain import Trainer
from functrain.callbacks import (
    Callback,
    Checkpoint,
    EarlyStop,
    EarlyStopping,
    ModelCheckpoint,
    Progress,
    TQDMProgressBar,
)
from functrain.trainer.ckpt_path import best, standing, written
from tests.structure.graph import ROOT

QUIET: dict[str, Any] = {"logger": False, "weights_summary": None}


class Saver(Checkpoint):
    """A user's own, which sets nothing of what its base class has."""


class Bar(Progress):
    pass


class Stopper(EarlyStop):
    pass


class Slow(Callback):
    """Has what savers, bars and stoppers have, each at a cost, and is none of them."""

    def __init__(self) -> None:
        self.evaluated: list[str] = []

    @property
    def best_model_path(self) -> str:
        self.evaluated.append("best_model_path")
        return ""

    @property
    def refresh_rate(self) -> int:
        self.evaluated.append("refresh_rate")
        return 1

    @property
    def stopped_epoch(self) -> int:
        self.evaluated.append("stopped_epoch")
        return 0

    def print(self, *args: Any) -> None:
        """Nothing."""


def test_a_callback_that_only_has_what_a_kind_has_is_none_of_it_and_no_property_is_evaluated():
    slow = Slow()
    trainer = Trainer(callbacks=[slow], **QUIET)
    assert slow in trainer.callbacks
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint), "the default stands beside it"
    assert isinstance(trainer.progress_bar_callback, TQDMProgressBar)
    assert trainer.early_stopping_callback is None
    trainer.print("one line")
    assert slow.evaluated == []


def test_a_users_own_saver_bar_and_stopper_stand_in_the_place_of_the_defaults():
    given = [Saver(), Bar(), Stopper()]
    trainer = Trainer(callbacks=given, **QUIET)
    assert trainer.callbacks == [given[1], given[2], given[0]], "those that save come last"
    assert trainer.checkpoint_callback is given[0]
    assert trainer.checkpoint_callbacks == [given[0]]
    assert trainer.progress_bar_callback is given[1]
    assert trainer.early_stopping_callback is given[2]


def test_a_saver_that_sets_nothing_has_written_nothing(tmp_path):
    saver = Saver()
    assert best([saver]) is None
    assert list(written([saver])) == []
    assert list(standing([saver], ".ckpt")) == []
    saver.best_model_path = str(tmp_path)
    assert best([saver]) == str(tmp_path)
    assert list(written([saver])) == [str(tmp_path)]


def test_our_own_are_of_their_kinds():
    assert issubclass(ModelCheckpoint, Checkpoint)
    assert issubclass(EarlyStopping, EarlyStop)
    assert issubclass(TQDMProgressBar, Progress)


ASKED_OF_OURS = {
    "best_model_path", "best_k_models", "last_model_path", "dirpath", "may_open_best", "stopped_epoch", "refresh_rate",
    "tick_seconds", "every_n_updates", "accumulation", "state_key", "begin_run", "rewind", "log_dir", "version",
    "log_metrics", "set_epoch", "get_state",
}  # fmt: skip


def test_nobody_asks_by_the_name_of_an_attribute_what_a_class_or_a_protocol_tells():
    asked: list[str] = []
    for path in [*ROOT.glob("functrain/**/*.py"), *ROOT.glob("adapters/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("hasattr", "getattr")
            ):
                name = node.args[1]
                if isinstance(name, ast.Constant) and name.value in ASKED_OF_OURS:
                    asked.append(f"{path.name}:{node.lineno} {name.value}")
    assert not asked
