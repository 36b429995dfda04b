"""What a logger is, and several as one. Knows numbers, not frameworks: callers bring them to the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.logger_states import begin_run, checkpoint_saved, finalize, rewind, share, states
from functrain.trainer.world import World


class Logger(ABC):
    """A place for the metrics and hyperparameters of a run. Subclass it for one's own.

    Only one process of a run writes: the trainer decides which, and calls its loggers there alone.

    Attributes:
        may_lag: its `log_metrics` looks at what it is given and stops nothing, so it may get the steps' metrics when
            the run is some steps further. A class says so of its own `log_metrics`.
    """

    may_lag = False

    group_separator = "/"
    """Between the names of a group and of what is in it."""

    def __init__(self, agg_key_funcs: None = None, agg_default_func: None = None) -> None:
        """One's own need not call it.

        Args:
            agg_key_funcs, agg_default_func: not available; must be None.

        Raises:
            ConfigurationError: one of them was given.
        """
        for name, given in (("agg_key_funcs", agg_key_funcs), ("agg_default_func", agg_default_func)):
            if given is not None:
                raise ConfigurationError(
                    f"{type(self).__name__}({name}=...): loggers do not put metrics together; say it where the metric "
                    "is logged: self.log(..., reduce_fx=...)."
                )

    @property
    @abstractmethod
    def name(self) -> str:
        """The experiment's name."""

    @property
    @abstractmethod
    def version(self) -> int | str:
        """The run's number or name within the experiment."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one moment.

        Args:
            metrics: number by name; NaN and infinities are recorded as they are.
            step: updates since the start of training.
        """

    @abstractmethod
    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Record hyperparameters.

        Args:
            params: a mapping, an argparse.Namespace or a dataclass instance.
            metrics: the numbers that runs with other hyperparameters are to be compared by.
        """

    def share(self, world: World) -> None:
        """Several processes have a logger like this one, and a run begins: what the first decides, such as the version,
        the others take over. A collective call; a logger that decides nothing does nothing."""
        return

    def begin_run(self) -> None:
        """A fit begins that continues nothing which this logger has recorded. A logger whose place may hold another
        run's records says so."""
        return

    @property
    def save_dir(self) -> str | None:
        """The directory of all runs; None for a logger that has none."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The directory of this run; `save_dir` where runs have none of their own."""
        return self.save_dir

    @property
    def experiment(self) -> Any:
        """The tracking library's own object, for what only it can do; None without one."""
        return None

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the model's graph. A logger that cannot show graphs does nothing."""
        return

    def save(self) -> None:
        """Write out whatever is still held back. A logger that holds nothing back does nothing."""
        return

    def finalize(self, status: str) -> None:
        """The run has ended: write out and close. Logging again afterwards opens again.

        Args:
            status: "success", "failed" or "interrupted".
        """
        self.save()

    def close(self) -> None:
        """Write out and close, when nothing more is logged. The Trainer calls `finalize`."""
        self.save()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this logger, as plain values; it was written out before. Nothing by
        default."""
        return {}

    def rewind(self, step: int, state: Mapping[str, Any]) -> None:
        """A run continues from a checkpoint of `step`: what was recorded of later steps is going to come again.

        Take that back, if the run goes on in the very place it left; so that the place holds each step once. A logger
        that cannot take anything back, or starts a place of its own, does nothing.

        Args:
            step: updates since the start of training.
            state: what `state_dict` returned for that checkpoint; empty where it holds nothing of this logger.
        """
        return

    def after_save_checkpoint(self, path: str) -> None:
        """A checkpoint is at `path`: a crash from here on must not lose what was logged before it.

        One whose argument is called `checkpoint_callback` gets the ModelCheckpoint that has saved, and is not called
        for other checkpoints.
        """
        self.save()


"""Its name in older generations."""


class LoggerCollection(Logger):
    """Several loggers as one: what is recorded goes to each, in order; directories are the first one's."""

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self._loggers = list(loggers)
        for logger in self._loggers:
            if not isinstance(logger, Logger):
                raise TypeError(f"LoggerCollection was given a {type(logger).__name__}; every item must be a Logger")

    def __iter__(self) -> Iterator[Logger]:
        return iter(self._loggers)

    def __len__(self) -> int:
        return len(self._loggers)

    def __getitem__(self, index: int) -> Logger:
        return self._loggers[index]

    @property
    def name(self) -> str:
        """The different names, joined by `_`."""
        return "_".join(dict.fromkeys(logger.name for logger in self))

    @property
    def version(self) -> str:
        """The different versions, joined by `_`."""
        return "_".join(dict.fromkeys(str(logger.version) for logger in self))

    @property
    def save_dir(self) -> str | None:
        """The first logger's directory of all runs."""
        return self._loggers[0].save_dir if self._loggers else None

    @property
    def log_dir(self) -> str | None:
        """The first logger's directory of this run."""
        return self._loggers[0].log_dir if self._loggers else None

    @property
    def experiment(self) -> list[Any]:
        """Every logger's own object, in order."""
        return [logger.experiment for logger in self]

    def share(self, world: World) -> None:
        """Have every logger be that of all processes."""
        share(self, world)

    def begin_run(self) -> None:
        """Tell every logger that a run begins."""
        begin_run(self)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers in every logger."""
        for logger in self:
            logger.log_metrics(metrics, step)

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Record hyperparameters in every logger."""
        for logger in self:
            logger.log_hyperparams(params, *(() if metrics is None else (metrics,)))

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the graph in every logger."""
        for logger in self:
            logger.log_graph(model, input_array)

    def log_text(self, *args: Any, **kwargs: Any) -> None:
        """Record texts in every logger that has `log_text`, with its own arguments."""
        self._where_there_is("log_text", args, kwargs)

    def log_image(self, *args: Any, **kwargs: Any) -> None:
        """Record images in every logger that has `log_image`, with its own arguments."""
        self._where_there_is("log_image", args, kwargs)

    def _where_there_is(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        able = [logger for logger in self if hasattr(logger, name)]
        if not able:
            kinds = ", ".join(type(logger).__name__ for logger in self) or "no logger"
            raise ConfigurationError(f"LoggerCollection.{name}: none of {kinds} can do that; WandbLogger can.")
        for logger in able:
            getattr(logger, name)(*args, **kwargs)

    def save(self) -> None:
        """Write out what every logger holds back."""
        for logger in self:
            logger.save()

    def finalize(self, status: str) -> None:
        """Close every logger, also where one of them fails; then raise the first failure."""
        finalize(self, status)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every logger."""
        return states(self._loggers)

    def rewind(self, step: int, state: Mapping[str, Any]) -> None:
        """Tell every logger where the run goes on."""
        rewind(self._loggers, step, state)

    def close(self) -> None:
        """Close every logger."""
        for logger in self:
            logger.close()

    def after_save_checkpoint(self, path: str) -> None:
        """Tell every logger of a checkpoint that no callback has saved."""
        checkpoint_saved(self, path, ())


def numbers(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, int | float]:
    """Metrics as Python numbers under `prefix-name`; entries of a mapping within are `name/entry`.

    Raises:
        TypeError: a value is no number and no array of one element. The message names it.
    """
    flat: dict[str, int | float] = {}
    for name, value in metrics.items():
        full = f"{prefix}-{name}" if prefix else name
        if type(value) is float or type(value) is int:
            flat[full] = value
        elif isinstance(value, Mapping):
            flat.update((f"{full}/{inner}", number) for inner, number in numbers(value).items())
        else:
            flat[full] = _number(name, value)
    return flat


def _number(name: str, value: Any) -> int | float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError("text")
        item = value.item() if hasattr(value, "item") else value
        return item if type(item) in (float, int) else float(item)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"the metric {name!r} is a {type(value).__name__} ({str(value)[:60]}); "
            "loggers take numbers and arrays of one element"
        ) from error
