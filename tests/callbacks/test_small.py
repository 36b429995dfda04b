"""The small callbacks: LambdaCallback, GradientAccumulationScheduler, ModelSummary."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

import functrain_torch as pl
from functrain.callbacks.summary import columns, human, totals
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.hook_table import CALLBACK, HOOKS
from functrain_torch.callbacks import GradientAccumulationScheduler, LambdaCallback, ModelSummary, RichModelSummary
from tests import inside
from tests.callbacks import test_jax as jax_parts
from tests.callbacks.helpers import Scripted, by_epoch, fit

# ---- LambdaCallback


def test_functions_are_called_as_hooks(make):
    calls = []
    callback = LambdaCallback(
        setup=lambda *args: calls.append(("setup", *args[2:])),
        on_train_start=lambda: calls.append(("start",)),
        on_train_epoch_start=lambda trainer: calls.append(("epoch", trainer.current_epoch)),
        on_train_batch_end=lambda trainer, module, outputs, batch, batch_idx: calls.append(("batch", batch_idx)),
        checkpoint=lambda trainer, module, moment: calls.append(("checkpoint", moment)),
        on_fit_end=None,
    )
    fit(make(callback, max_epochs=1), Scripted(by_epoch(1)), n=2)
    assert calls == [
        ("setup", "fit"),
        ("start",),
        ("epoch", 0),
        ("batch", 0),
        ("batch", 1),
        ("checkpoint", "epoch"),
    ]


def test_what_is_not_given_costs_nothing(make):
    trainer = fit(make(LambdaCallback(on_fit_end=lambda *args: None), max_epochs=1), Scripted(by_epoch(1)))
    assert not inside.per_batch(trainer)


def test_every_hook_of_callbacks_is_an_argument():
    names = set(inspect.signature(LambdaCallback).parameters)
    assert {hook.name for hook in HOOKS if CALLBACK in hook.owners} <= names
    for name in names:
        LambdaCallback(**{name: lambda *args: None})


def test_wrong_functions():
    with pytest.raises(ConfigurationError, match=r"on_fit_ended=.*Did you mean 'on_fit_end'"):
        LambdaCallback(on_fit_ended=print)
    with pytest.raises(ConfigurationError, match="on_fit_end=3"):
        LambdaCallback(on_fit_end=3)


# ---- GradientAccumulationScheduler


def test_it_is_the_flag_as_a_callback(make):
    steps = []
    note = LambdaCallback(on_train_epoch_end=lambda trainer: steps.append(trainer.global_step))
    fit(make(GradientAccumulationScheduler({1: 2, 2: 3}), note, max_epochs=3), Scripted(by_epoch(1, 1, 1)))
    by_flag = fit(make(accumulate_grad_batches={1: 2, 2: 3}, max_epochs=3), Scripted(by_epoch(1, 1, 1)))
    assert steps == [4, 6, 8]
    assert by_flag.global_step == 8


def test_its_schedule_is_not_left_in_the_flags_for_a_run_without_it(make):
    trainer = make(GradientAccumulationScheduler({0: 3}), max_epochs=1)
    fit(trainer, Scripted(by_epoch(1)))
    assert trainer.flags.accumulate_grad_batches == 1
    trainer.callbacks.pop()
    fit(trainer, Scripted(by_epoch(1)))
    assert trainer.global_step == 4


def test_two_schedules_contradict_each_other(make):
    two = [GradientAccumulationScheduler({0: 3}), GradientAccumulationScheduler({0: 2})]
    with pytest.raises(ConfigurationError, match=r"\{0: 3\}.*\{0: 2\}.*contradict each other"):
        fit(make(*two), Scripted(by_epoch(1)))


def test_impossible_schedules(make):
    with pytest.raises(ConfigurationError, match=r"scheduling=\{0: 0\}"):
        GradientAccumulationScheduler({0: 0})
    with pytest.raises(ConfigurationError, match=r"accumulate_grad_batches=4.*\{1: 2\}"):
        fit(make(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=4), Scripted(by_epoch(1)))


# ---- ModelSummary


class Two(Scripted):
    def __init__(self):
        super().__init__(by_epoch(1))
        del self.weight
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.body = torch.nn.Sequential(torch.nn.Linear(9, 99), torch.nn.Linear(99, 9))
        self.body[0].requires_grad_(False)


def test_the_table(make, capsys):
    fit(make(ModelSummary(), max_epochs=0), Two())
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["|", "Name", "|", "Type", "|", "Params"] in lines
    assert ["0", "|", "body", "|", "Sequential", "|", "1.9", "K"] in lines
    assert ["901", "Trainable", "params"] in lines
    assert ["990", "Non-trainable", "params"] in lines
    assert ["1.9", "K", "Total", "params"] in lines
    assert "body.0" not in out
    assert ["0.008", "Total", "estimated", "model", "params", "size", "(MB)"] in lines


@pytest.mark.parametrize(("depth", "inner", "outer"), [(-1, True, True), ("full", True, True), (0, False, False)])
def test_its_depth(make, capsys, depth, inner, outer):
    fit(make(ModelSummary(depth), max_epochs=0), Two())
    out = capsys.readouterr().out
    assert ("body.0" in out) == inner
    assert ("| body" in out) == outer
    assert "1.9 K     Total params" in out


def test_the_flag(tmp_path, capsys):
    for flag, expected in (("top", 1), ("full", -1)):
        trainer = pl.Trainer(logger=False, weights_summary=flag, default_root_dir=str(tmp_path))
        assert [c.max_depth for c in trainer.callbacks if isinstance(c, ModelSummary)] == [expected]
    trainer = pl.Trainer(logger=False, weights_summary="top", callbacks=[ModelSummary(3)])
    assert [c.max_depth for c in trainer.callbacks if isinstance(c, ModelSummary)] == [3]
    assert ModelSummary(mode="full").max_depth == -1
    with pytest.raises(ConfigurationError, match="'all'"):
        ModelSummary("all")


def test_a_row_of_the_whole_gives_the_totals():
    rows = [("", "Net", 10, 4, 40), ("a", "Layer", 10, 4, 40), ("b", "Layer", 10, 4, 40), ("b.c", "Layer", 9, 0, 36)]
    assert totals(rows) == (10, 4, 40e-6)
    assert totals(rows[1:]) == (20, 8, 80e-6)
    assert dict(columns(rows))["Name"] == ["a", "b", "b.c"]


@pytest.mark.parametrize("kind", [ModelSummary, RichModelSummary])
def test_what_is_printed_may_be_otherwise(make, kind):
    told = []

    class Own(kind):
        @staticmethod
        def summarize(summary_data, total_parameters, trainable_parameters, model_size):
            told.append((summary_data, total_parameters, trainable_parameters, model_size))

    fit(make(Own(), max_epochs=0), Two())
    heads = {"": ["0", "1"], "Name": ["body", "(own parameters)"], "Type": ["Sequential", "Two"]}
    assert told == [([*heads.items(), ("Params", ["1.9 K", "1"])], 1891, 901, 1891 * 4 / 1e6)]


@pytest.mark.parametrize(("depth", "inner", "outer"), [(1, False, True), ("full", True, True), (0, False, False)])
def test_the_table_of_rich(make, capsys, monkeypatch, depth, inner, outer):
    monkeypatch.setenv("COLUMNS", "120")
    trainer = fit(make(RichModelSummary(depth), max_epochs=0), Two())
    assert [type(each) for each in trainer.callbacks] == [RichModelSummary]
    out = capsys.readouterr().out
    assert ("body.0" in out) == inner
    assert ("│ body " in out) == outer
    assert ("1.9 K │" in out) == outer
    assert re.search(r"Non-trainable params +990", out)
    assert re.search(r"Total estimated model params size \(MB\) +0\.008", out)


def test_of_a_jax_module_too(tmp_path, capsys):
    jax_parts.run(tmp_path, 0, RichModelSummary(), progress_bar_refresh_rate=0)
    assert re.search(r"Total params +1", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 K"),
        (55_100, "55.1 K"),
        (99_960, "100 K"),
        (999_600, "1.0 M"),
        (7e9, "7.0 B"),
    ],
)
def test_counts_are_short(count, text):
    assert human(int(count)) == text
