"""torch: saved at every batch, and continued in a fresh Trainer: the very bits, whatever the state is made of."""

from __future__ import annotations

import pytest

from tests.resume import torch_cases as cases
from tests.resume.common import differences

# torchdata asks torch for something that torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


# In and at the end of windows of 2 and of 3 batches, in both epochs and at their ends.
SOME = (1, 3, 5, 7, 9, 14)


def check_batches(case: cases.Case, directory, batches=SOME) -> None:
    expected, saved = cases.whole(case, directory, ("on_train_batch_end",))
    places = [place for place in saved if place[1] in batches]
    assert len(places) >= 2
    for place in places:
        path, rows = saved[place]
        found = cases.continued(case, (path, rows))
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, f"saved at {place}: "), place


@pytest.mark.parametrize("name", ["everything", "stream", "own_sampler"])
def test_every_batch(name, tmp_path):
    check_batches(cases.CASES[name], tmp_path, range(99))


@pytest.mark.parametrize("name", cases.CASES)
def test_every_kind_of_state(name, tmp_path):
    check_batches(cases.CASES[name], tmp_path)


@pytest.mark.parametrize("name", cases.WITH_WORKERS)
def test_with_worker_processes(name, tmp_path):
    check_batches(cases.WITH_WORKERS[name], tmp_path, (5, 8, 13))
