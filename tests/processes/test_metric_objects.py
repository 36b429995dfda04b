"""Metric objects, and rows of single evaluation steps, of two real processes that have different data."""

from __future__ import annotations

import csv
import os

import pytest

torch_alone = pytest.mark.parametrize("pair", ["torch"], indirect=True)


@torch_alone
def test_a_metric_object_has_the_value_of_both(pair, tmp_path):
    """The first process validates on 1, the second on 5, 6, 7; both in batches of two."""
    first, second = pair.run("metric_objects.objects", tmp_path, first=[1.0, 5.0], counts=[[1], [3]])
    assert first["known"]["train_mean"] == second["known"]["train_mean"] == (1 + 2 + 3 + 5 + 6 + 7) / 6
    for known in (first["known"], second["known"]):
        assert known["mean"] == (1 + 5 + 6 + 7) / 4
        assert known["most"] == 7
        assert known["total"] == known["mean"] + 7
        assert known["mse"] == pytest.approx((1 + 25 + 36 + 49) / 4)
    assert (first["seen"], second["seen"]) == (2, 6), "what a hook computes by itself is the process's own"
    assert not first["left"]


@torch_alone
def test_a_metric_object_that_is_not_brought_together_is_told(pair, tmp_path):
    first, second = pair.run("metric_objects.objects", tmp_path, first=[1.0, 5.0], counts=[[1], [1]])
    for name in ("own", "outside"):
        assert (first["known"][name], second["known"][name]) == (1.0, 5.0)
    (message,) = [text for text in first["warnings"] if "sync_dist" in text]
    assert "its own data for outside, own, and" in message
    assert "where it is an attribute of the module" in message
    assert not [text for text in second["warnings"] if "sync_dist" in text]


@torch_alone
def test_a_metric_object_that_only_one_process_has_seen_is_known_to_both(pair, tmp_path):
    told = pair.run("metric_objects.objects", tmp_path, first=[1.0, 5.0], counts=[[1], [3]], logs_in=["none", "all"])
    for each in told:
        assert (each["known"]["mean"], each["known"]["most"]) == (6.0, 7.0)
        assert not [text for text in each["warnings"] if "before the ``update``" in text]


@torch_alone
def test_every_loader_has_its_value_of_both(pair, tmp_path):
    told = pair.run(
        "metric_objects.objects", tmp_path, first=[1.0, 5.0], counts=[[1, 2], [3, 1]], logs_in=["all", "all"]
    )
    for known in (each["known"] for each in told):
        assert known["mean/dataloader_idx_0"] == (1 + 5 + 6 + 7) / 4
        assert known["mean/dataloader_idx_1"] == pytest.approx((1 + 2 + 5) / 3)
        assert known["most/dataloader_idx_1"] == 5


@torch_alone
def test_states_that_cannot_be_brought_together_are_named_on_both(pair, tmp_path):
    for kind, error in pair.outcomes("metric_objects.objects", tmp_path, first=1.0, counts=[[1], [3]], logs_in="lists"):
        assert kind == "raised"
        assert "self.log('lists', ...): the processes have different numbers of states" in error.splitlines()[0]


def test_an_object_of_no_known_kind_is_each_processs_own_and_told(pair, tmp_path):
    first, second = pair.run("metric_objects.in_a_hook", tmp_path, first=[1.0, 5.0])
    assert (first["own"], second["own"]) == (1.0, 5.0)
    assert sum("its own data for own" in text for text in first["warnings"]) == 1


def written(log_dir):
    with open(os.path.join(log_dir, "metrics.csv"), newline="") as file:
        made = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [[row[f"{name}_step"] for name in ("mean", "sum", "min", "max")] for row in made if "mean_step" in row]


@pytest.mark.parametrize("counts", [[2, 3], [3, 2]])
def test_rows_of_single_validation_steps_are_of_both(pair, tmp_path, counts):
    """A batch that only one of them has is that one's."""
    log_dir = pair.run("metric_objects.rows", tmp_path, first=[1.0, 5.0], count=counts, sync_dist=True)[0]
    last = 3.0 if counts[0] == 3 else 7.0
    assert written(log_dir) == [[3.0, 6.0, 1.0, 5.0], [4.0, 8.0, 2.0, 6.0], [last] * 4]


def test_rows_of_single_validation_steps_without_sync_dist_are_the_firsts(pair, tmp_path):
    log_dir = pair.run("metric_objects.rows", tmp_path, first=[1.0, 5.0], count=[2, 3], sync_dist=False)[0]
    assert written(log_dir) == [[1.0] * 4, [2.0] * 4]
