"""The summary of a module as an object that is printed, by its older name."""

from __future__ import annotations

from torch import nn

from functrain.callbacks.summary import MODES, columns, formatted, totals
from functrain.trainer.errors import ConfigurationError
from functrain_torch.summary import rows


class ModelSummary:
    """What a module is made of: `print(ModelSummary(module, max_depth=-1))`.

    Args:
        mode: 'top' or 'full', the older form of `max_depth`.
        max_depth: how deep to go: 1 for the parts of the module itself, -1 for everything, 0 for the totals only.

    Raises:
        ConfigurationError: there is no such mode.
    """

    def __init__(self, model: nn.Module, mode: str | None = None, max_depth: int | None = None) -> None:
        if mode is not None and mode not in MODES:
            raise ConfigurationError(f"ModelSummary(mode={mode!r}): must be 'top' or 'full'.")
        depth = MODES[mode] if mode is not None else max_depth
        self.max_depth = 1 if depth is None else depth
        self._rows = rows(model, self.max_depth or 1)
        self.total_parameters, self.trainable_parameters, self.model_size = totals(self._rows)

    @property
    def layer_names(self) -> list[str]:
        """The names of the parts, in order."""
        return [row[0] for row in self._parts]

    @property
    def layer_types(self) -> list[str]:
        """Their classes."""
        return [row[1] for row in self._parts]

    @property
    def param_nums(self) -> list[int]:
        """How many parameters each has."""
        return [row[2] for row in self._parts]

    @property
    def _parts(self) -> list[tuple[str, str, int, int, int]]:
        return list(self._rows) if self.max_depth else []

    def __str__(self) -> str:
        data = columns(self._rows) if self.max_depth else []
        return formatted(data, self.total_parameters, self.trainable_parameters, self.model_size)

    __repr__ = __str__


def summarize(lightning_module: nn.Module, max_depth: int = 1) -> ModelSummary:
    """Return the summary of a module."""
    return ModelSummary(lightning_module, max_depth=max_depth)
