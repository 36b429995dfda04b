"""Holds two runs of many programs against each other, and tells of the first that differs: shrunk, and as a call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.compare import first_difference, kind_of
from tests.worlds.differences import Difference, concerning
from tests.worlds.observe import Event, Record
from tests.worlds.program import Program
from tests.worlds.shrink import TRIES, shrink

Run = Callable[[Program, Path], Record]
View = Callable[[Record], list[Event]]
"""What of a record is compared."""

MORE, FIRST = (int(os.environ.get(name, default)) for name, default in (("WORLDS", "1"), ("WORLDS_FIRST", "0")))
"""So many times the usual number of programs, from this seed on."""


def seeds(programs: int, together: int = 5) -> Any:
    """So many programs, a few a test: parametrizes `seeds`."""
    numbers = range(FIRST, FIRST + programs * MORE)
    blocks = [numbers[i : i + together] for i in range(0, len(numbers), together)]
    return pytest.mark.parametrize("seeds", blocks, ids=lambda block: f"{block[0]}-{block[-1]}")


def everything(record: Record) -> list[Event]:
    """The whole record."""
    return record.events


class Pair:
    """Two worlds, or two ways of one world, that must agree.

    Attributes:
        names: what they are called.
        table: programs that it concerns are not compared.
        tolerance: of numbers; in double precision it is far smaller. None: the same bits.
        views: what of each record is compared.
    """

    def __init__(
        self,
        names: tuple[str, str],
        runs: tuple[Run, Run],
        table: tuple[Difference, ...] = (),
        tolerance: float | None = 2e-4,
        views: tuple[View, View] = (everything, everything),
    ) -> None:
        self.names, self.runs, self.table, self.tolerance, self.views = names, runs, table, tolerance, views

    def differ(self, program: Program, folder: Path) -> str | None:
        """The first difference of the two runs of a program; None where they agree."""
        records = []
        for name, run, view in zip(self.names, self.runs, self.views, strict=True):
            place = folder / name.replace(" ", "-")
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            records.append(view(run(program, place)))
        if self.tolerance is None:
            return first_difference(self.names, *records, tolerance=0.0)
        return first_difference(self.names, *records, tolerance=1e-9 if program.precise else self.tolerance)

    def compared(self, program: Program) -> bool:
        """Does no row of the table concern it?"""
        return concerning(program, self.table) is None

    def hold(self, seeds: Sequence[int], make: Callable[[int], Program], folder: Path) -> None:
        """Fails with the first program of these that differs, made as small as it can be."""
        for seed in seeds:
            program = make(seed)
            if self.compared(program) and self.differ(program, folder) is not None:
                raise AssertionError(self.told(seed, program, folder))

    def told(self, seed: int, program: Program, folder: Path, tries: int = TRIES) -> str:
        """What a failure says."""
        kind = kind_of(self.differ(program, folder))
        small = shrink(program, lambda p: self.compared(p) and kind_of(self.differ(p, folder)) == kind, tries)
        one, other = self.names
        return f"{one} and {other} differ (seed {seed}), in this program:\n\n{small!r}\n\n{self.differ(small, folder)}"
