"""Small helpers over trees of numpy arrays: their very bits, and how far apart two of them are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def bits(tree: Any) -> Any:
    """The tree with every number as its bits, so that `==` tells -0.0 from 0.0 and takes NaN for NaN."""
    if isinstance(tree, Mapping):
        return {name: bits(leaf) for name, leaf in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(bits(leaf) for leaf in tree)
    if isinstance(tree, np.ndarray):
        return (str(tree.dtype), tree.shape, tree.tobytes())
    if isinstance(tree, float):
        return float(tree).hex()
    return tree


def assert_close(got: Mapping[str, Any], want: Mapping[str, Any], rtol: float = 1e-12, atol: float = 1e-13) -> None:
    """Every array of `got` is within the tolerance of the one of the same name in `want`."""
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(np.asarray(got[name]), np.asarray(want[name]), rtol, atol, err_msg=name)
