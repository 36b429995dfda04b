"""CombinedLoader: the very batches that pytorch_lightning's gives, in every mode; its place is found again."""

from __future__ import annotations

import random
from collections import OrderedDict
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader as Theirs
from torch.utils.data import DataLoader

import functrain_torch as pl
from functrain.data import ArrayLoader
from functrain.seed import rng_state, set_rng_state
from functrain.trainer.walk import MODES

# Theirs asks torch's trees in a way that torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


class Unsized:
    """Numbers from an iterable without a length."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Any:
        return iter(range(self.n))


class Pair(NamedTuple):
    first: Any
    second: Any


LOADERS = {
    "dict": lambda: {"a": range(3), "b": range(10, 17)},
    "list": lambda: [range(7), range(10, 13)],
    "tuple": lambda: (range(4), range(10, 14), range(20, 21)),
    "one": lambda: [range(3)],
    "alone": lambda: range(3),
    "nested": lambda: {"a": [range(2), range(10, 15)], "b": {"c": (range(20, 23),)}},
    "ordered": lambda: OrderedDict(z=range(3), a=range(4)),
    "named": lambda: Pair(range(3), range(5)),
    "unsized": lambda: {"a": range(4), "b": Unsized(6)},
    "unsized and longer": lambda: {"a": range(6), "b": Unsized(4)},
    "unsized alone": lambda: [Unsized(2), Unsized(3)],
    "batches": lambda: {"a": DataLoader(range(7), 2), "b": DataLoader(range(10, 20), 3)},
    "long": lambda: [range(1), range(100)],
}


def plain(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.tolist()
    if isinstance(tree, dict):
        return {key: plain(item) for key, item in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(plain, tree))
    return type(tree)(map(plain, tree)) if isinstance(tree, list | tuple) else tree


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOADERS)
def test_the_same_batches_as_theirs(name: str, mode: str) -> None:
    ours, theirs = pl.CombinedLoader(LOADERS[name](), mode), Theirs(LOADERS[name](), mode)
    for _ in range(2):
        found = plain(list(ours))
        assert found == plain(list(theirs))
    assert [type(batch) for batch, _, _ in list(ours)] == [type(batch) for batch, _, _ in list(theirs)]
    try:
        length = len(theirs)
    except TypeError:
        with pytest.raises(TypeError, match="without a length"):
            len(ours)
    else:
        assert len(ours) == length


@pytest.mark.parametrize("limits", [2, [1, 4], [5, float("inf")]])
@pytest.mark.parametrize("mode", MODES)
def test_limits_count_as_theirs_and_hold(mode: str, limits: Any) -> None:
    ours, theirs = (kind(LOADERS["dict"](), mode) for kind in (pl.CombinedLoader, Theirs))
    ours.limits = theirs.limits = limits
    iter(theirs)
    assert len(ours) == len(theirs)
    assert plain(list(ours)) == plain(list(islice(theirs, len(theirs))))


@pytest.mark.parametrize("mode", MODES)
def test_the_same_order_under_the_same_seed(mode: str) -> None:
    def drawn(kind: Any) -> Any:
        pl.seed_everything(5)
        loaders = {"a": DataLoader(range(5), 2, shuffle=True), "b": DataLoader(range(10, 27), 3, shuffle=True)}
        return plain([*kind(loaders, mode), *kind(loaders, mode)])

    assert drawn(pl.CombinedLoader) == drawn(Theirs)


@pytest.mark.parametrize("mode", MODES)
def test_its_place_is_found_again(mode: str) -> None:
    def loaders() -> Any:
        return {
            "a": DataLoader(range(5), 2, shuffle=True),
            "b": [DataLoader(range(10, 23), 3, shuffle=True, generator=torch.Generator().manual_seed(3))],
            "c": ArrayLoader(np.arange(8), 3, shuffle=True, seed=2),
        }

    def rest(loader: Any) -> Any:
        """The batches to come, with the states that each leaves; others draw random numbers in between."""
        for batch, index, which in loader:
            torch.rand(3), random.random()
            yield (plain_arrays(batch), index, which), (loader.state_dict(), rng_state())

    pl.seed_everything(1)
    whole = list(rest(pl.CombinedLoader(loaders(), mode)))
    for n in range(1, len(whole) + 1):
        state, rng = whole[n - 1][1]
        again = pl.CombinedLoader(loaders(), mode)
        pl.seed_everything(77)
        set_rng_state(rng)
        again.load_state_dict(state)
        assert [batch for batch, _ in rest(again)] == [batch for batch, _ in whole[n:]], n


def plain_arrays(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: plain_arrays(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain_arrays(item) for item in tree]
    return tree.tolist() if hasattr(tree, "tolist") else tree


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(pl.ConfigurationError, match=r"CombinedLoader\(mode='longest'\): must be one of 'min_size'"):
        pl.CombinedLoader([range(3)], "longest")
    with pytest.raises(pl.ConfigurationError, match="there is no loader in it"):
        pl.CombinedLoader({})
    with pytest.raises(pl.ConfigurationError, match=r"a CombinedLoader at \['b'\]"):
        pl.CombinedLoader({"a": range(3), "b": pl.CombinedLoader([range(3)])})
    with pytest.raises(pl.ConfigurationError, match=r"limits=\[1, 2, 3\]: there are 2 loaders"):
        pl.CombinedLoader([range(3), range(4)]).limits = [1, 2, 3]
    loader = ArrayLoader(np.arange(8), 3)
    with pytest.raises(pl.ConfigurationError, match=r"the ArrayLoader at \[0\] is given again at \[1\]"):
        pl.CombinedLoader([loader, loader])
    data = DataLoader(range(3))
    assert list(pl.CombinedLoader([data, data])) == [([torch.tensor([n])] * 2, n, 0) for n in range(3)]


def test_one_that_is_used_up_cannot_begin_again() -> None:
    with pytest.raises(pl.ConfigurationError, match=r"train_dataloader\['b'\]: the list_iterator is to begin again"):
        list(pl.CombinedLoader({"a": range(3), "b": iter([1, 2])}, "max_size_cycle"))


def test_its_attributes() -> None:
    loaders = {"a": DataLoader(range(5), 2), "b": [range(3)]}
    loader = pl.CombinedLoader(loaders, "max_size")
    assert loader.iterables is loader.loaders is loaders
    assert loader.sampler == {"a": loaders["a"].sampler, "b": [None]}
    assert loader.batch_sampler == {"a": loaders["a"].batch_sampler, "b": [None]}
    assert loader.flattened == [loaders["a"], range(3)]
    loader.flattened = [range(2), range(4)]
    assert loader.iterables == {"a": range(2), "b": [range(4)]}
    assert [batch for batch, *_ in loader][-1] == {"a": None, "b": [3]}
    assert next(iter(loader)) == ({"a": 0, "b": [0]}, 0, 0)
    loader.reset()
    assert loader.state_dict() == {}
