"""What a ModelCheckpoint knows of its files, as a value: which it keeps, which is best, which goes next. Pure."""

from __future__ import annotations

from typing import NamedTuple

from functrain.callbacks.monitor import rank


class Records(NamedTuple):
    """Frozen: a failed write goes back to the records of before.

    Attributes:
        by: 'min' or 'max' of the scores, or 'new' where nothing is monitored and the scores are global steps.
        kept: (path, score) of the files that may be removed, in the order in which they were written.
        outside: the best (path, score) of a continued run in another directory; it stays where it is.
        last: the path of the 'last' file; "" where there is none.
        score: the monitored value that was looked at last.
    """

    by: str
    kept: tuple[tuple[str, float], ...] = ()
    outside: tuple[str, float] | None = None
    last: str = ""
    score: float | None = None

    def paths(self) -> list[str]:
        """Return all files that are counted."""
        return [*(path for path, _ in self.kept), *([self.last] if self.last else [])]

    def ranked(self) -> list[tuple[str, float]]:
        """Return the kept files, the best first; of equal scores the older, or without a monitor the newer."""
        if self.by == "new":
            by_age = sorted(enumerate(self.kept), key=lambda each: (-each[1][1], -each[0]))
            return [each for _, each in by_age]
        return sorted(self.kept, key=lambda each: rank(each[1], self.by))

    def best(self) -> tuple[str, float] | None:
        """Return the best file, its path and score; None where there is none."""
        ranked = self.ranked()
        if self.outside is None:
            return ranked[0] if ranked else None
        if self.by == "new" and ranked:
            return ranked[0]
        return min([self.outside, *ranked[:1]], key=lambda each: rank(each[1], self.by))

    def best_path(self) -> str:
        """Return the path of the best file; "" where there is none."""
        best = self.best()
        return best[0] if best else ""

    def fallen(self, score: float, k: int) -> list[str] | None:
        """Return the files that a new one with this score replaces where k are kept (-1: all); None where it is not
        kept.

        Without a monitor the newer state of the same update stands in the place of the older.
        """
        again = [path for path, step in self.kept if step == score] if self.by == "new" and k > 0 else []
        if again:
            return again
        ranked = self.ranked()
        if k < 0 or len(ranked) < k:
            return []
        is_not_kept = k == 0 or (self.by != "new" and rank(score, self.by) >= rank(ranked[-1][1], self.by))
        if is_not_kept:
            return None
        return [path for path, _ in ranked[k - 1 :]]

    def adding(self, path: str, score: float, fallen: list[str]) -> Records:
        """Return the records with a new file in place of the fallen ones."""
        return self._replace(kept=(*(each for each in self.kept if each[0] not in fallen), (path, score)))
