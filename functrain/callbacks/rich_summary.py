"""RichModelSummary: the summary of a module, drawn by rich. Imports rich when it is drawn."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from functrain.callbacks.summary import ModelSummary, counts
from functrain.seed import isolate_rng
from functrain.trainer.errors import ConfigurationError


class RichModelSummary(ModelSummary):
    """As ModelSummary, drawn by rich.

    Args:
        max_depth: how deep to go, as there.
        mode: the older form, as there.

    Raises:
        ConfigurationError: another value, or rich is not installed.
    """

    def __init__(self, max_depth: int | str = 1, mode: str | None = None) -> None:
        super().__init__(max_depth, mode)
        if find_spec("rich") is None:
            raise ConfigurationError(
                "RichModelSummary: the package 'rich' is not installed; install it (pip install rich), or use "
                "ModelSummary."
            )

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]], total_parameters: int, trainable_parameters: int, model_size: float
    ) -> None:
        """Print it. To be overridden."""
        with isolate_rng():  # rich draws from Python's generator when it is imported
            console, table = import_module("rich.console").Console(), import_module("rich.table")
        if summary_data and summary_data[0][1]:
            shown = table.Table(header_style="bold magenta")
            for head, _ in summary_data:
                shown.add_column(head, justify="right" if head == "Params" else "left", no_wrap=head == "Name")
            for line in zip(*(cells for _, cells in summary_data), strict=True):
                shown.add_row(*line)
            console.print(shown)
        below = table.Table.grid(padding=(0, 2))
        for number, what in counts(total_parameters, trainable_parameters, model_size):
            below.add_row(f"[bold]{what}[/]", number)
        console.print(below)
