"""ArrayLoader: every sample once an epoch, an order that depends on (seed, epoch) alone, continuing by index."""

from __future__ import annotations

import numpy as np
import pytest

from functrain.data import ArrayLoader

X, Y = np.arange(22).reshape(11, 2), np.arange(11)


def seen(loader: ArrayLoader) -> list[int]:
    return [int(y) for _, batch in loader for y in batch]


def test_every_sample_once_an_epoch_in_a_new_order() -> None:
    loader = ArrayLoader((X, Y), batch_size=4, shuffle=True, seed=3)
    first, second = seen(loader), seen(loader)
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != second
    assert len(loader) == 3


def test_rows_stay_together() -> None:
    for x, y in ArrayLoader((X, Y), batch_size=4, shuffle=True):
        assert np.array_equal(x, X[y])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    a, b = (ArrayLoader((X, Y), batch_size=4, shuffle=True, seed=5) for _ in range(2))
    seen(a)
    b.set_epoch(1)
    assert seen(a) == seen(b)


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_continues_where_it_stood(batches: int) -> None:
    whole = ArrayLoader((X, Y), batch_size=4, shuffle=True, seed=7)
    iterator = iter(whole)
    for _ in range(batches):
        next(iterator)
    again = ArrayLoader((X, Y), batch_size=4, shuffle=True, seed=0)
    again.load_state_dict(whole.state_dict())
    rest = [batch[1].tolist() for batch in iterator]
    assert [batch[1].tolist() for batch in again] == rest
    assert seen(again) == seen(whole)


def test_forms_and_drop_last() -> None:
    assert [len(batch) for batch in ArrayLoader(X, batch_size=4)] == [4, 4, 3]
    assert [len(batch["x"]) for batch in ArrayLoader({"x": X}, batch_size=4, drop_last=True)] == [4, 4]


def test_a_batch_may_be_nested() -> None:
    batches = list(ArrayLoader({"in": {"x": X, "y": (Y, X)}, "n": Y}, batch_size=4, shuffle=True))
    assert len(batches) == 3
    for batch in batches:
        assert np.array_equal(batch["in"]["x"], X[batch["n"]])
        assert np.array_equal(batch["in"]["y"][0], batch["n"])


@pytest.mark.parametrize(("arrays", "words"), [([Y, Y], r"Give parts as a tuple, \(x, y\)"), ((X, 3), "3 is no array")])
def test_what_is_no_array_is_told_instead_of_taken_for_samples(arrays: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ArrayLoader(arrays, batch_size=1)


def test_bad_arguments_name_themselves() -> None:
    with pytest.raises(ValueError, match=r"\[10, 11\] samples"):
        ArrayLoader((X, Y[:10]), batch_size=4)
    with pytest.raises(ValueError, match="batch_size=0"):
        ArrayLoader(X, batch_size=0)
