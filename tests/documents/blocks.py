"""The code blocks of the five documents that describe this API, and which test stands for which.

The documents are another project's and are not kept here; their blocks are counted from 1 in each:

- trainer: the Trainer, its flags, methods and properties (version 1.1)
- module: the LightningModule, its properties and hooks (version 1.6)
- overview: the Trainer in a few words (version 0.7)
- loops: training, validation and test loops by task (version 0.6)
- notes: a reader's notes on callbacks, modules, metrics and the Trainer (version 1.1)

Cannot run, and why:

- pseudocode of what the Trainer does by itself, of names that nobody defines: trainer 3, 33, 60; module 8, 10, 12, 14,
  16, 20, 24, 50; loops 10; notes 50. What it says is held by a test all the same, but for the splitting of batches
  among devices (module 14, 20).
- the signature of a method, which is no code: notes 9. A test holds the signature.
- a syntax error or an endless recursion as printed: trainer 9 (a bracket is missing), notes 10 (a colon in a call) and
  module 27 (`forward` calls itself). Tests hold what was meant.
- several devices, machines or TPU cores, which this version does not have: trainer 12, 13, 21, 36, 47, 48, 50, 52, 53,
  module 28, 30, 32 and the same in notes. Tests hold the errors, and of the last three what one device does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., None])

COUNT = {"trainer": 83, "module": 50, "overview": 1, "loops": 20, "notes": 58}
"""How many code blocks each document has."""


def stands_for(**blocks: int | tuple[int, ...]) -> Callable[[Test], Test]:
    """Say for which blocks a test stands: their numbers, by document. `test_blocks` reads it from the source."""
    assert blocks.keys() <= COUNT.keys()
    return lambda test: test
