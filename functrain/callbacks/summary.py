"""ModelSummary: prints a table of a module's parts and parameters before training, from what the engine counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.narrow import is_count

MODES = {"top": 1, "full": -1}
# A row as the engines give it: name, type, parameters, trainable parameters, bytes.
Row = tuple[str, str, int, int, int]


class ModelSummary(Callback):
    """Prints what a module is made of before it is trained.

    Args:
        max_depth: how deep to go: 1 for the parts of the module itself, -1 for everything, 0 for the totals
            only; or 'top' (1) or 'full' (-1).
        mode: the same as 'top' or 'full'; the older form.

    Raises:
        ConfigurationError: another value.
    """

    def __init__(self, max_depth: int | str = 1, mode: str | None = None) -> None:
        given = max_depth if mode is None else mode
        depth = MODES.get(given) if isinstance(given, str) else given
        if not is_count(depth, -1):
            raise ConfigurationError(f"ModelSummary({given!r}): must be an int >= -1, 'top' or 'full'.")
        self.max_depth = depth

    def on_pretrain_routine_start(self, trainer: Any, pl_module: Any) -> None:
        """Everything is set up and nothing is trained yet."""
        rows = trainer.run.inspector.summary(self.max_depth or 1)
        trainer.print(table(rows, parts=self.max_depth != 0))


def table(rows: Sequence[Row], parts: bool = True) -> str:
    """Return the rows as a table, with totals below.

    Args:
        rows: (name, type, parameters, trainable parameters, bytes) of the module's parts, each with all that
            is below it. A row named "" is the module itself and holds the totals; without one they are the
            sums over the rows whose names have no dot.
        parts: show the rows too, not only the totals.
    """
    shown = [row for row in rows if row[0]]
    whole = next((row for row in rows if not row[0]), None)
    top = [whole] if whole is not None else [row for row in shown if "." not in row[0]]
    total, trainable = sum(row[2] for row in top), sum(row[3] for row in top)
    size = sum(row[4] for row in top)
    heads = ("", "Name", "Type", "Params")
    cells = [(str(i), row[0], row[1], human(row[2])) for i, row in enumerate(shown)]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(4)]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [heads, *cells]
    ]
    rule = "-" * max(len(line) for line in lines)
    totals = (
        (human(trainable), "Trainable params"),
        (human(total - trainable), "Non-trainable params"),
        (human(total), "Total params"),
        (f"{size / 1e6:.3f}", "Total estimated model params size (MB)"),
    )
    body = [*lines[:1], rule, *lines[1:], rule] if cells and parts else []
    return "\n".join(line.rstrip() for line in ["", *body, *(f"{number:<10}{what}" for number, what in totals)])


def human(count: int) -> str:
    """Return a count in three digits: 950, '55.1 K', '1.2 M'; below 1000 exact."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < 4:
        value, unit = value / 1000, unit + 1
    if not unit:
        return str(count)
    digits = f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    return f"{digits} {' KMBT'[unit]}"
