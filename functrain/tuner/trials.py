"""What short fits of a tuner have in common: their data, and that nothing is left of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.foreign import DATA_OF
from functrain.trainer.trainer import Trainer

SHORT: dict[str, Any] = {"max_epochs": -1, "min_epochs": 0, "min_steps": None, "max_time": None}
"""The flags of a short fit: it ends where its steps are done."""


class Data(NamedTuple):
    """What a fit is given beside its module."""

    train: Any = None
    val: Any = None
    datamodule: Any = None


def data_of(what: str, train: Any, val: Any, datamodule: Any) -> Data:
    """Return the data of the short fits. A data module may stand in the place of the training loader.

    Raises:
        ConfigurationError: it can be read only once.
    """
    is_data = datamodule is None and train is not None and isinstance(train, DATA_OF["fit"])
    if is_data:
        train, datamodule = None, train
    if isinstance(train, Iterator):
        raise ConfigurationError(
            f"{what}: the training data is an iterator ({type(train).__name__}), which short fits would use up; give a "
            "loader that can be read again."
        )
    return Data(train, val, datamodule)


@contextmanager
def without_trace(trainer: Trainer, module: Any, data: Data) -> Generator[None]:
    """Within it short fits may run, in `trainer.stacked`; afterwards the Trainer, module and data module with all their
    attributes, the generators and the loaders are as they were."""
    with (
        trainer.trying(module, data.datamodule, data.train, data.val),
        _attributes(module),
        _attributes(data.datamodule),
    ):
        yield


@contextmanager
def _attributes(owner: Any) -> Generator[None]:
    """Put back the attributes of an object, and what its containers hold; None has none."""
    attributes: dict[str, Any] = {} if owner is None else vars(owner)
    before = {name: (value, _copied(value)) for name, value in attributes.items()}
    try:
        yield
    finally:
        for name in set(attributes) - set(before):
            del attributes[name]
        for name, (value, content) in before.items():
            attributes[name] = value
            _put_back(value, content)


def _copied(value: Any) -> Any:
    """Return the content of a container, which a hook may have changed in place; None for another value."""
    return type(value)(value) if type(value) in (list, dict, set, deque) else None


def _put_back(value: Any, content: Any) -> None:
    if content is None:
        return
    value.clear()
    (value.extend if isinstance(value, list | deque) else value.update)(content)


def check_interrupted(trainer: Trainer) -> None:
    """Raises KeyboardInterrupt where a signal has ended the short fit: what it was to find is not found."""
    if trainer.interrupted:
        raise KeyboardInterrupt
