"""What objects that are not ours can do, told by what they have: protocols, so that each stands in one place.

What is ours has base classes, by which it is known: `Callback` and those below it, `Logger`, the modules.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.world import World

# loggers; `Logger` is ours


@runtime_checkable
class MetricsLogger(Protocol):
    """What counts as a logger."""

    def log_metrics(self, metrics: Any, step: Any = ...) -> Any:
        """Record numbers of one moment."""
        ...


class RunLogger(MetricsLogger, Protocol):
    """What a run calls of every logger; the rest of them is asked for by the protocols below."""

    def log_hyperparams(self, params: Any) -> Any:
        """Record hyperparameters."""
        ...

    def save(self) -> Any:
        """Write out what was recorded."""
        ...

    def after_save_checkpoint(self, path: str) -> Any:
        """A checkpoint is there."""
        ...

    def finalize(self, status: str) -> Any:
        """The run is over."""
        ...


@runtime_checkable
class RecordsGraph(Protocol):
    """A logger that may record what a module computes."""

    def log_graph(self, model: Any, input_array: Any = None) -> Any:
        """Record the graph of a module's `forward`, if the logger was told to."""
        ...


@runtime_checkable
class HasDirectory(Protocol):
    """A logger that writes the files of a run into a directory of its own."""

    @property
    def log_dir(self) -> str | None:
        """That directory."""
        ...


@runtime_checkable
class HasVersion(Protocol):
    """A logger that numbers or names its runs."""

    @property
    def version(self) -> Any:
        """The number or name of this run."""
        ...


@runtime_checkable
class TellsState(Protocol):
    """A logger with something to keep in a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        ...


@runtime_checkable
class Shares(Protocol):
    """A logger that decides something which holds for all processes of a run."""

    def share(self, world: World, /) -> None:
        """A run of this world begins."""
        ...


@runtime_checkable
class BeginsRun(Protocol):
    """A logger that wants to know when a run begins."""

    def begin_run(self) -> None:
        """A fit begins that continues nothing."""
        ...


@runtime_checkable
class Rewinds(Protocol):
    """A logger that can take rows back."""

    def rewind(self, step: int, state: Any, /) -> None:
        """A run continues from `step`."""
        ...


# profilers; `Profiler` is ours


@runtime_checkable
class ActionProfiler(Protocol):
    """What counts as a profiler: it measures actions, the named parts of a run."""

    def profile(self, action_name: str, /) -> AbstractContextManager[object]:
        """Return a context manager whose block is one action of this name. Actions lie within each other, and a block
        may end with an exception."""
        ...


@runtime_checkable
class ReportsRun(Protocol):
    """A profiler that tells what it has measured in a run."""

    def setup(self, *, stage: str, local_rank: int | None, log_dir: str | None) -> Any:
        """A run begins."""
        ...

    def describe(self) -> Any:
        """The run is over, and its report is to be told."""
        ...

    def teardown(self, *, stage: str) -> Any:
        """Let go of what belongs to the run."""
        ...


@runtime_checkable
class SeesModule(Protocol):
    """A profiler that looks into the module of a run."""

    def attach(self, module: Any, /) -> Any:
        """The run of this module begins."""
        ...


# loaders, their samplers and iterators


@runtime_checkable
class SetsEpoch(Protocol):
    """A loader or sampler whose order depends on the epoch."""

    def set_epoch(self, epoch: int, /) -> Any:
        """Take the number of the epoch that is about to be read."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A loader or data module that keeps its own place."""

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands, as plain values."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take it back."""
        ...


@runtime_checkable
class StatefulIterator(Protocol):
    """An iterator that keeps its own place."""

    def get_state(self) -> Any:
        """Return where it stands, as plain values."""
        ...

    def set_state(self, state: Any, /) -> Any:
        """Take it back."""
        ...


# data modules: any object with loaders


@runtime_checkable
class TrainData(Protocol):
    """An object that makes the training loader."""

    def train_dataloader(self) -> Any:
        """Return the loader."""
        ...


@runtime_checkable
class ValData(Protocol):
    """An object that makes validation loaders."""

    def val_dataloader(self) -> Any:
        """Return a loader or a list of them."""
        ...


@runtime_checkable
class TestData(Protocol):
    """An object that makes test loaders."""

    def test_dataloader(self) -> Any:
        """Return a loader or a list of them."""
        ...


@runtime_checkable
class PredictData(Protocol):
    """An object that makes predict loaders."""

    def predict_dataloader(self) -> Any:
        """Return a loader or a list of them."""
        ...


DATA_OF: dict[str, type] = {"fit": TrainData, "validate": ValData, "test": TestData, "predict": PredictData}


def check_datamodule(stage: str, datamodule: Any) -> None:
    """Raises ConfigurationError where something else than an object is given as a data module; None is none."""
    if isinstance(datamodule, type):
        raise ConfigurationError(
            f"trainer.{stage}(datamodule={datamodule.__name__}): this is a class; give an instance of it."
        )
    if datamodule is not None and not hasattr(datamodule, "__dict__"):
        raise ConfigurationError(
            f"trainer.{stage}(datamodule={datamodule!r}): {kind(datamodule)} is no data module; give an object "
            "with train_dataloader() and its like."
        )
