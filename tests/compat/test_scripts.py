"""Scripts of others give the same numbers, calls and file names as in pytorch_lightning, with another import."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch as pl
from tests.compat.scripts import SCRIPTS

Script = Callable[[Any], Any]


def plain(value: Any) -> Any:
    """Tensors as numbers, so that everything may be compared."""
    if isinstance(value, torch.Tensor):
        return value.detach().tolist()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two results differ by more than rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [f"{where}: {sorted(one)} and {sorted(other)}"] if one.keys() != other.keys() else []
        return found + [d for k in one.keys() & other.keys() for d in differences(one[k], other[k], f"{where}.{k}")]
    if isinstance(one, list) and isinstance(other, list):
        found = [f"{where}: {len(one)} and {len(other)} items"] if len(one) != len(other) else []
        pairs = enumerate(zip(one, other, strict=False))
        return found + [d for i, (a, b) in pairs for d in differences(a, b, f"{where}[{i}]")]
    same = one == pytest.approx(other, rel=1e-6, abs=1e-6) if isinstance(one, float) else one == other
    return [] if same else [f"{where}: {one!r} and {other!r}"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_sees_the_same(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    peer = pytest.importorskip("pytorch_lightning", reason="the peer is an extra: pip install 'functrain[bench]'")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    found = []
    for library in (pl, peer):
        folder = tmp_path / library.__name__
        folder.mkdir()
        monkeypatch.chdir(folder)
        with warnings.catch_warnings():
            if library is peer:
                warnings.simplefilter("ignore")
            found.append(plain(script(library)))
    assert differences(*found) == []
