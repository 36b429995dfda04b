"""A comparison in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from functrain.compare.comparison import Comparison, Difference
from functrain.compare.records import PARTS, Recorded

LONGEST, MOST = 120, 5

WHY = {
    "data": "The batches up to here differ: other data, another order, or another number of them.",
    "randomness": "The batches are the same, and a random generator is not: another seed, or a draw more or less. If "
    "none of those named below takes part in the training, it was the arithmetic.",
    "arithmetic": "The batches and the random generators are the same: the computation itself gave other numbers. "
    "Another number of threads, another device, another version, or an operator that is not deterministic.",
    "start": "The runs began with other values.",
}


def lines(a: Recorded, b: Recorded, found: Comparison) -> Iterator[str]:
    """Yield the lines of the report, the verdict first. Control characters of what files say are escaped."""
    yield from _verdict(a, b, found)
    if found.shorter is not None:
        longer = "B" if max(b.rows) > max(a.rows) else "A"
        yield f"The runs have other lengths: {longer} goes on after update {found.shorter}."
    if a.parts and b.parts:
        if found.manifests:
            yield "The manifests differ in:"
            for name, one, other, update, until in found.manifests:
                where = (f", from update {update} on" if update else "") + (f", up to update {until}" if until else "")
                yield f"  {plain(name)}: {_short(one)} | {_short(other)}{where}"
        else:
            yield "The manifests say the same."
    for run, letter in ((a, "A"), (b, "B")):
        for note in run.notes:
            yield f"Note on {letter}: {plain(note)}"


def _verdict(a: Recorded, b: Recorded, found: Comparison) -> Iterator[str]:
    difference = found.difference
    if difference is None:
        last = found.compared[-1]
        far = "" if found.shorter is None else " as far as both go"
        yield f"EQUAL to the bit{far}, at all {len(found.compared)} rows that both have, up to update {last}."
        if found.generators:
            yield f"Only states of random generators differ: {', '.join(map(plain, found.generators))}."
        return
    yield f"DIFFERENT from update {difference.update} on: {difference.kind} differed first."
    yield WHY[difference.kind]
    if difference.equal_until is None:
        yield "No row before it is equal."
    elif difference.update - difference.equal_until > 1:
        yield (
            f"They were equal at update {difference.equal_until}, and parted on the way from there. "
            "StateDigest(every_n_updates=1) tells the very update."
        )
    if found.generators:
        yield f"Random generators that differ: {', '.join(map(plain, found.generators))}."
    yield from _what(a, b, difference)


def _what(a: Recorded, b: Recorded, difference: Difference) -> Iterator[str]:
    for part in PARTS:
        names = difference.arrays[part]
        if names:
            total = len(a.rows[difference.update].parts[part].keys() | b.rows[difference.update].parts[part].keys())
            shown = ", ".join(map(plain, names[:MOST])) + (", ..." if len(names) > MOST else "")
            yield f"{part.capitalize()} that differ: {len(names)} of {total}: {shown}."
    if difference.first:
        yield f"The first of them: {plain(difference.first)}."


def plain(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _short(value: Any) -> str:
    text = plain(repr(value) if isinstance(value, str) else str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
