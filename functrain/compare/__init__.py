"""Compare two runs to the bit by what `StateDigest` and the manifest have written: `compare(a, b)`, or
`python -m functrain.compare RUN_A RUN_B`. Reads files; knows no framework.
"""

from functrain.compare.comparison import Comparison, Difference, compare
from functrain.compare.records import Recorded, RecordsError, read_run

__all__ = ["Comparison", "Difference", "Recorded", "RecordsError", "compare", "read_run"]
