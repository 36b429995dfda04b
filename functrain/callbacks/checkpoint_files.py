"""Where ModelCheckpoint's files go and what they are called. Looks at the file system, writes nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from string import Formatter
from typing import Any

from functrain import files
from functrain.trainer.errors import ConfigurationError

_COUNTERS = ("epoch", "step")


class NameTemplate:
    """A file name with values in it: '{epoch}-{val_loss:.2f}' becomes 'epoch=3-val_loss=0.32'.

    Args:
        text: a format string; fields are 'epoch', 'step' and names of metrics, which may contain anything but
            braces.
        insert_names: write 'name=' before each value.

    Raises:
        ConfigurationError: the text is no format string, or a field's format does not fit a number.
    """

    def __init__(self, text: str, insert_names: bool = True) -> None:
        self.text = text
        self.insert_names = insert_names
        try:
            self.parts = [(literal, name, spec or "") for literal, name, spec, _ in Formatter().parse(text)]
            self.metrics = tuple(name for _, name, _ in self.parts if name is not None and name not in _COUNTERS)
            self.render(dict.fromkeys(_COUNTERS, 0) | dict.fromkeys(self.metrics, 0.0))
        except ValueError as error:
            raise ConfigurationError(
                f"ModelCheckpoint(filename={text!r}): {error}. Fields look like '{{epoch:02d}}' or "
                "'{{val_loss:.2f}}'."
            ) from None

    def render(self, values: Mapping[str, float]) -> str:
        """Return the name. A metric without a value is written as nan; a slash in a metric's name becomes an
        underscore."""
        rendered = ""
        for literal, name, spec in self.parts:
            rendered += literal
            if name is not None:
                rendered += f"{name.replace('/', '_')}=" if self.insert_names else ""
                rendered += format(values.get(name, math.nan), spec)
        return rendered


def absolute(path: str) -> str:
    """Return a local path as an absolute one, so that it means the same wherever the run goes; a URL as it is."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def default_directory(trainer: Any) -> str:
    """`weights_save_path`, else 'checkpoints' in the logger's directory of this run, else in `default_root_dir`."""
    if trainer.weights_save_path:
        return absolute(trainer.weights_save_path)
    return absolute(files.join(trainer.log_dir, "checkpoints"))
