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
        if not trainer.is_global_zero:
            return
        rows = trainer.run.inspector.summary(self.max_depth or 1)
        data = columns(rows) if self.max_depth else []
        total, trainable, size = totals(rows)
        self.summarize(data, total, trainable, size)

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]], total_parameters: int, trainable_parameters: int, model_size: float
    ) -> None:
        """Print it. To be overridden.

        Args:
            summary_data: the columns of the table, each with its head: '', 'Name', 'Type', 'Params'; empty where only
                the totals are asked for.
            model_size: of all parameters, in megabytes.
        """
        print(formatted(summary_data, total_parameters, trainable_parameters, model_size))


def columns(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """Return the columns of the table of these rows, each with its head.

    Args:
        rows: (name, type, parameters, trainable parameters, bytes) of the module's parts, each with all that
            is below it. A row named "" is the module itself, and is not shown.
    """
    shown = [row for row in rows if row[0]]
    return [
        ("", [str(i) for i in range(len(shown))]),
        ("Name", [row[0] for row in shown]),
        ("Type", [row[1] for row in shown]),
        ("Params", [human(row[2]) for row in shown]),
    ]


def totals(rows: Sequence[Row]) -> tuple[int, int, float]:
    """Return how many parameters there are, how many are trained, and the megabytes of all: of the row named "", or
    without one the sums over those whose names have no dot."""
    whole = next((row for row in rows if not row[0]), None)
    top = [whole] if whole is not None else [row for row in rows if "." not in row[0]]
    return sum(row[2] for row in top), sum(row[3] for row in top), sum(row[4] for row in top) / 1e6


def counts(total_parameters: int, trainable_parameters: int, model_size: float) -> list[tuple[str, str]]:
    """Return the totals in words: each number, and what it is of."""
    return [
        (human(trainable_parameters), "Trainable params"),
        (human(total_parameters - trainable_parameters), "Non-trainable params"),
        (human(total_parameters), "Total params"),
        (f"{model_size:.3f}", "Total estimated model params size (MB)"),
    ]


def formatted(
    summary_data: Sequence[tuple[str, Sequence[str]]],
    total_parameters: int,
    trainable_parameters: int,
    model_size: float,
) -> str:
    """Return the columns as a table, with the totals below."""
    lines = [[head for head, _ in summary_data], *zip(*(cells for _, cells in summary_data), strict=True)]
    body: list[str] = []
    if len(lines) > 1:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [" | ".join(map(str.ljust, line, widths)) for line in lines]
        rule = "-" * max(map(len, shown))
        body = [shown[0], rule, *shown[1:], rule]
    below = [f"{number:<10}{what}" for number, what in counts(total_parameters, trainable_parameters, model_size)]
    return "\n".join(line.rstrip() for line in ["", *body, *below])


def human(count: int) -> str:
    """Return a count in three digits: 950, '55.1 K', '1.2 M'; below 1000 exact."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < 4:
        value, unit = value / 1000, unit + 1
    if not unit:
        return str(count)
    digits = f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    return f"{digits} {' KMBT'[unit]}"
