"""`python -m functrain.compare RUN_A RUN_B [--plot FILE]`: exit code 0 where the runs are equal to the bit, 1 where
they differ, 2 where they cannot be compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from functrain.compare.comparison import compare
from functrain.compare.picture import plot
from functrain.compare.records import RecordsError, read_run
from functrain.compare.report import lines, plain


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison. Return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m functrain.compare",
        description="Say whether two runs are equal to the bit, and where and why not. Both were trained with "
        "callbacks=[StateDigest()].",
        epilog="exit code: 0 equal, 1 different, 2 cannot be compared",
    )
    parser.add_argument("a", metavar="RUN_A", help="the directory of a run, or its digests.jsonl")
    parser.add_argument("b", metavar="RUN_B", help="the other one")
    parser.add_argument("--plot", metavar="FILE", help="draw the loss of both, and their difference, into this file")
    given = parser.parse_args(arguments)
    try:
        a, b = read_run(given.a), read_run(given.b)
        found = compare(a, b)
        for line in lines(a, b, found):
            print(line)
        if given.plot is not None:
            print(plain(f"{given.plot}: {plot(a, b, found, given.plot)}"))
    except (RecordsError, OSError) as error:
        print(plain(f"python -m functrain.compare: {error}"), file=sys.stderr)
        return 2
    return 0 if found.difference is None and found.shorter is None else 1


if __name__ == "__main__":
    sys.exit(main())
