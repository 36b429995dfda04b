"""What the way to a compiled step costs: compilations, and our Python calls a dispatch, both counted."""

from collections import Counter

import pytest

from functrain.callbacks import LambdaCallback
from tests.adapters.jax.common import Batches, Classifier, Plain, trainer
from tests.counting import Calls

MOST_A_DISPATCH, MOST_A_BATCH = 150, 18
FIRST, LAST = 200, 400
"""Calls are counted between these batches, in mid-epoch."""


class Counted(Batches):
    """The same batch again and again; our calls are counted while it is asked for some of them."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(n=8)
        self.calls = calls

    def __iter__(self):
        for number in range(len(self)):
            self.calls.between(number, FIRST, LAST)
            yield self.batches[0]

    def __len__(self):
        return LAST + 20


def a_batch(**flags) -> tuple[float, Counter[str]]:
    """Our calls a batch in mid-epoch, and those of all counted batches by function."""
    calls = Calls()
    try:
        trainer(max_epochs=1, **flags).fit(Plain(), Counted(calls))
    finally:
        calls.stop()
    return sum(calls.counts.values()) / (LAST - FIRST), calls.counts


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 4}], ids=str)
def test_calls_a_dispatch(flags):
    """Who looks at every batch makes each of them a dispatch."""
    hooked = LambdaCallback(on_train_batch_end=lambda *args: None)
    count, by_function = a_batch(callbacks=hooked, **flags)
    assert 0 < count <= MOST_A_DISPATCH, (count, by_function.most_common(30))


def test_calls_a_batch_of_a_long_dispatch():
    count, by_function = a_batch(log_every_n_steps=100)
    assert 0 < count <= MOST_A_BATCH, (count, by_function.most_common(30))


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 3}], ids=str)
def test_compilations_of_every_stage_and_of_the_second_time(compiles, flags):
    """Two programs for a fit (training, validation), one for the test, one for predictions, and none again."""

    def all_stages():
        module, run = Classifier(), trainer(max_epochs=2, num_sanity_val_steps=0, **flags)
        stages = {
            "fit": lambda: run.fit(module, Batches(), Batches()),
            "second fit": lambda: run.fit(module, Batches(), Batches()),
            "validate": lambda: run.validate(module, Batches(), verbose=False),
            "test": lambda: run.test(module, Batches(), verbose=False),
            "second test": lambda: run.test(module, Batches(), verbose=False),
            "predict": lambda: run.predict(module, Batches()),
            "second predict": lambda: run.predict(module, Batches()),
        }
        counts = {}
        for name, stage in stages.items():
            before = compiles()
            stage()
            counts[name] = compiles() - before
        return counts

    all_stages()  # the operations of setting up, which belong to no module
    assert all_stages() == {
        "fit": 2, "second fit": 0, "validate": 0, "test": 1, "second test": 0, "predict": 1, "second predict": 0,
    }  # fmt: skip
