"""Where two recorded runs part, and what differed first: a pure function of what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from functrain.compare.records import PARTS, Part, Recorded, RecordsError, Row

LEFT_OUT = ("format", "run", "started", "directory", "continues")
"""What differs between any two manifests, and says nothing of what was trained; where a run was continued is told by
itself."""

KINDS = ("data", "randomness", "arithmetic")
MISSING = "(not there)"


class Difference(NamedTuple):
    """The first update at which two runs differ.

    Attributes:
        update: where.
        equal_until: the last update before at which both had a row, and were equal; None where there is none.
        kind: what differed first: 'data', other batches or another order; 'randomness', another state of a generator
            though the batches were the same; 'arithmetic', neither; 'start', the runs began with other values.
        arrays: the arrays that differ there, of each part, by name.
        first: the first of them, as 'parameters net.0.weight'.
    """

    update: int
    equal_until: int | None
    kind: str
    arrays: Mapping[str, tuple[str, ...]]
    first: str


class Setting(NamedTuple):
    """What differs between two manifests.

    Attributes:
        name: as 'flags.max_epochs'.
        a, b: the values of both.
        update: from where on: 0, but for runs that were continued.
        until: up to where, in such a run; None for the end.
    """

    name: str
    a: Any
    b: Any
    update: int = 0
    until: int | None = None


class Comparison(NamedTuple):
    """What is to be said of two runs.

    Attributes:
        compared: the updates at which both have a row.
        difference: where they part; None where they are equal to the bit.
        generators: the random generators whose states differ, where the first ones do.
        shorter: the update at which the shorter run ends, where the other goes on; else None.
        manifests: what differs between the manifests.
    """

    compared: tuple[int, ...]
    difference: Difference | None
    generators: tuple[str, ...]
    shorter: int | None
    manifests: tuple[Setting, ...]


def compare(a: Recorded, b: Recorded) -> Comparison:
    """Return where two runs part.

    Raises:
        RecordsError: they have no update in common.
    """
    common = sorted(a.rows.keys() & b.rows.keys())
    if not common:
        raise RecordsError(
            f"{a.path} and {b.path} have no update in common: one has rows at {_some(a)}, the other at {_some(b)}. "
            "Give both the same every_n_updates."
        )
    last = max(a.rows), max(b.rows)
    shorter = min(last) if last[0] != last[1] else None
    found = _Firsts(a, b, common)
    settings = tuple(_settings(a.parts, b.parts, common[-1]))
    return Comparison(tuple(common), found.difference(), found.generators, shorter, settings)


class _Firsts:
    """The first updates at which data, random states and arrays differ; None where they never do."""

    def __init__(self, a: Recorded, b: Recorded, common: Sequence[int]) -> None:
        self.pairs = {update: (a.rows[update], b.rows[update]) for update in common}
        self.data = self._first(lambda a, b: a.data != b.data)
        self.random = self._first(lambda a, b: a.random != b.random)
        self.arrays = self._first(lambda a, b: a.parts != b.parts)

    def _first(self, differ: Callable[[Row, Row], bool]) -> int | None:
        return next((update for update, pair in self.pairs.items() if differ(*pair)), None)

    @property
    def generators(self) -> tuple[str, ...]:
        """Those whose states differ, where the first ones do."""
        if self.random is None:
            return ()
        a, b = self.pairs[self.random]
        return tuple(sorted(_differing(a.random, b.random)))

    def difference(self) -> Difference | None:
        """Return where the runs part. Random states that differ, and change nothing, are no difference."""
        parted = min((update for update in (self.data, self.arrays) if update is not None), default=None)
        if parted is None:
            return None
        before = [update for update in self.pairs if update < parted]
        a, b = self.pairs[parted]
        arrays = {part: tuple(_differing(a.parts[part], b.parts[part])) for part in PARTS}
        first = next((f"{part} {names[0]}" for part, names in arrays.items() if names), "")
        return Difference(parted, before[-1] if before else None, self._kind(parted), arrays, first)

    def _kind(self, parted: int) -> str:
        if self.random is not None and self.random < parted:
            return "randomness"
        if self.data == parted:
            return "data"
        if self.random == parted:
            return "randomness"
        return "start" if parted == 0 else "arithmetic"


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    for name in [*a, *(name for name in b if name not in a)]:
        if a.get(name) != b.get(name):
            yield name


def _settings(a: Sequence[Part], b: Sequence[Part], last: int) -> Iterator[Setting]:
    """Yield what differs between the parts that cover the same updates."""
    if not a or not b:
        return
    found: list[Setting] = []
    holding: dict[str, int] = {}
    for update in sorted({0, *(part.update for part in (*a, *b) if part.update < last)}):
        one, other = (_in_force(parts, update) for parts in (a, b))
        differing = {name: Setting(name, value, theirs, update) for name, value, theirs in _unequal("", one, other)}
        for name, index in [*holding.items()]:
            now = differing.pop(name, None)
            if now is None or repr(now[1:3]) != repr(found[index][1:3]):
                found[holding.pop(name)] = found[index]._replace(until=update)
                differing.update({} if now is None else {name: now})
        for name, setting in differing.items():
            holding[name] = len(found)
            found.append(setting)
    yield from found


def _in_force(parts: Sequence[Part], update: int) -> Mapping[str, Any]:
    """Return the manifest of the latest part that has begun at this update, without what is left out."""
    begun = [part for part in parts if part.update <= update] or [parts[0]]
    return {name: value for name, value in begun[-1].manifest.items() if name not in LEFT_OUT}


def _unequal(path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs, as deep as both are alike."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in [*a, *(name for name in b if name not in a)]:
            below = f"{path}.{name}" if path else str(name)
            yield from _unequal(below, a.get(name, MISSING), b.get(name, MISSING))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _unequal(f"{path}[{index}]", one, other)
    elif repr(a) != repr(b):  # True is not 1, and NaN is NaN
        yield path, a, b


def _some(run: Recorded) -> str:
    updates = sorted(run.rows)
    return ", ".join(map(str, updates[:5])) + (", ..." if len(updates) > 5 else "")
