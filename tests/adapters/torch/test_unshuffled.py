"""A DataLoader in the order of its data set: whatever samples it, with batches of the same size."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SubsetRandomSampler

from functrain_torch.data import shuffles, unshuffled


class Backwards(Sampler[int]):
    def __iter__(self) -> Any:
        return iter(range(9, -1, -1))

    def __len__(self) -> int:
        return 10


class Own(DataLoader[Any]):
    """A loader of a class of one's own, whose arguments nobody else knows."""


UNSHUFFLED = {
    "shuffle": ({"batch_size": 4, "shuffle": True}, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]),
    "drop_last": ({"batch_size": 4, "shuffle": True, "drop_last": True}, [[0, 1, 2, 3], [4, 5, 6, 7]]),
    "own sampler": ({"batch_size": 5, "sampler": Backwards()}, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
    "subset": ({"batch_size": 2, "sampler": SubsetRandomSampler([7, 1, 3])}, [[7, 1], [3]]),
    "batch sampler": ({"batch_sampler": BatchSampler(RandomSampler(range(10)), 6, False)},
                      [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]),
    "no batches": ({"batch_size": None, "shuffle": True}, list(range(10))),
}  # fmt: skip


@pytest.mark.parametrize(("more", "expected"), UNSHUFFLED.values(), ids=UNSHUFFLED)
def test_a_loader_in_the_order_of_its_data(more: dict[str, Any], expected: list[Any]) -> None:
    loader = DataLoader(range(10), **more)
    assert shuffles(loader) == ("sampler" not in more)
    fixed = unshuffled(loader)
    for _ in range(2):
        assert [batch if isinstance(batch, int) else batch.tolist() for batch in fixed] == expected
    assert unshuffled(fixed) is fixed or "sampler" in more
    assert (fixed.batch_size, fixed.drop_last) == (
        (6, False) if "batch_sampler" in more else (loader.batch_size, loader.drop_last)
    )
    assert not shuffles(fixed)


def test_what_is_in_order_or_of_another_class_stays_as_it_is() -> None:
    of_its_own_making = DataLoader(range(3), batch_sampler=[[2], [0]])
    for loader in (DataLoader(range(10), 3), Own(range(10), shuffle=True), of_its_own_making):
        assert unshuffled(loader) is loader
    assert shuffles(Own(range(10), shuffle=True))
