"""Metrics, hyperparameters and graphs for TensorBoard. Imports tensorboardX at the first write."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from functrain import files
from functrain.loggers.base import numbers
from functrain.loggers.directory import DirectoryLogger
from functrain.loggers.dummy import DummyExperiment
from functrain.seed import isolate_rng
from functrain.trainer.hparams import storable

if TYPE_CHECKING:
    from functrain.loggers.event_file import EventFile, Experiment


class TensorBoardLogger(DirectoryLogger):
    """Writes event files and `hparams.yaml` into `save_dir/name/version_N/sub_dir`.

    A run that continues in the same version adds an event file; TensorBoard shows them as one.

    Args:
        save_dir: a local path or a URL that fsspec can write.
        name: the experiment; "" or None for no level of its own.
        version: a number N for `version_N`, or the directory's own name; None for the next number.
        log_graph: whether `log_graph` records the module's graph. Needs torch and the package tensorboard.
        default_hp_metric: whether hyperparameters that come without metrics get `hp_metric` = -1, so that
            TensorBoard lists the run.
        prefix: put in front of every metric's name, with a `-`.
        sub_dir: below the version's directory.
        flush_every: events (calls of `log_metrics`, mostly) after which they are written out; `save`,
            `finalize` and a checkpoint write them out too.

    Raises:
        ValueError: `flush_every` is less than 1.
    """

    may_lag = True

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        flush_every: int = 10,
    ) -> None:
        super().__init__(save_dir, name, version, prefix, sub_dir)
        if flush_every < 1:
            raise ValueError(f"flush_every is {flush_every}; it must be at least 1")
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._flush_every = flush_every
        self._last_step = 0
        self._session_due = self._session_open = False
        self._events: EventFile | None = None
        self._experiment: Experiment | None = None

    @property
    def experiment(self) -> Experiment | DummyExperiment:
        """tensorboardX's SummaryWriter of this run, for images, histograms, text and the like; in a process that does
        not write, something that does nothing."""
        if not self._writes:
            return DummyExperiment()
        if self._experiment is None:
            from functrain.loggers.event_file import Experiment

            self._experiment = Experiment(self._event_file())
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one step.

        Args:
            metrics: number by name, also as arrays of one element, kept in 32 bits; NaN and infinities too.
            step: updates since the start of training; None is the last one logged.

        Raises:
            TypeError: a value is no number. The message names it.
            OSError: the file cannot be written. The message names it.
        """
        if not self._writes:
            return
        self._last_step = self._last_step if step is None else int(step)
        values = numbers(metrics, self._prefix)
        self._start_default_session()
        if values:
            self._event_file().add_scalars(values, self._last_step)

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Write `hparams.yaml`, and all hyperparameters so far for TensorBoard's HPARAMS page.

        TensorBoard shows what it is told first. So the page is told at once where there are `metrics`, and
        otherwise with the next metrics logged or `save`, so that several calls before it count as one.
        Without any metrics, and without `default_hp_metric`, it waits for a call that has them, or the end.

        Args:
            params: a mapping, an argparse.Namespace or a dataclass; nested names become `outer/inner`.
            metrics: the numbers to compare runs by on that page, also logged; one number is `hp_metric`.
        """
        super().log_hyperparams(params)
        if not self._writes:
            return
        self._session_due = self._session_due or not self._session_open
        if metrics is not None:
            given = metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics}
            self._start_session(given)
            self.log_metrics(given)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record a torch module's graph, if the logger was made with `log_graph=True`.

        The module is traced in evaluation mode; its state and all registered generators stay as they are.

        Args:
            model: a torch module. Anything else, or one that cannot be traced, is a warning.
            input_array: what its `forward` takes, on its device; None for its `example_input_array`, wherever that is.

        Raises:
            ModuleNotFoundError: the package tensorboard is missing.
        """
        if not self._log_graph or not self._writes:
            return
        kind = type(model).__name__
        if input_array is None:
            input_array = _on_device_of(model, getattr(model, "example_input_array", None))
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(model, torch.nn.Module):
            warnings.warn(f"log_graph: {kind} is no torch module; no graph is logged", stacklevel=2)
        elif input_array is None:
            warnings.warn(
                f"log_graph: {kind} has no example_input_array, and no input was given; no graph is logged",
                stacklevel=2,
            )
        else:
            self._trace(model, input_array)

    def save(self) -> None:
        """Write out the events held back."""
        self._start_default_session()
        if self._events is not None:
            self._events.flush()

    def finalize(self, status: str) -> None:
        """Close the event file, with `status` for the HPARAMS page. Nothing logged, no file made."""
        self._start_default_session()
        self._start_session({})
        if self._session_open:
            self._event_file().end_session(status)
            self._session_open = False
        if self._events is not None:
            self._events.close()

    def rewind(self, step: int, state: Mapping[str, Any]) -> None:
        """In the same directory, TensorBoard is told to forget what it has read of later steps.

        A value of `step` itself gives way to a new one of the same name.
        """
        self._last_step = step
        if self._goes_on(state):
            self._event_file().restart(step)
        else:
            self.begin_run()

    def _holds_records(self) -> bool:
        if self._events is not None or not files.is_dir(self.log_dir):
            return False
        return any("tfevents" in name for name in files.list_dir(self.log_dir))

    def __getstate__(self) -> dict[str, Any]:
        self.save()
        return {**self.__dict__, "_events": None, "_experiment": None}

    def _event_file(self) -> EventFile:
        if self._events is None:
            from functrain.loggers.event_file import EventFile

            self._events = EventFile(self.log_dir, self._flush_every)
        return self._events

    def _start_default_session(self) -> None:
        if self._session_due and self._default_hp_metric:
            self._start_session({"hp_metric": -1.0})
            self._event_file().add_scalars(numbers({"hp_metric": -1.0}, self._prefix), self._last_step)

    def _start_session(self, metrics: Mapping[str, float]) -> None:
        if not self._session_due:
            return
        plain, _ = storable(self.hparams)
        self._event_file().start_session(_flat(plain), numbers(metrics, self._prefix))
        self._session_due, self._session_open = False, True

    def _trace(self, model: Any, input_array: Any) -> None:
        try:
            import tensorboard  # noqa: F401
        except ModuleNotFoundError as error:
            message = "log_graph=True needs the package tensorboard; run `pip install tensorboard`"
            raise ModuleNotFoundError(message, name=error.name) from error
        modes = [(module, module.training) for module in model.modules()]
        try:
            with isolate_rng(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the tracer's own: about itself, about every `if` in forward
                model.eval()
                self.experiment.add_graph(model, input_array)
        except OSError:
            raise
        except Exception as error:
            message = f"log_graph: {type(model).__name__} cannot be traced, no graph is logged: {error}"
            warnings.warn(message, stacklevel=3)
        finally:
            for module, training in modes:
                module.training = training


def _on_device_of(model: Any, value: Any) -> Any:
    """Tensors, in dicts and lists too, on the device of the module's parameters."""
    if isinstance(value, Mapping):
        return {name: _on_device_of(model, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on_device_of(model, item) for item in value)
    parameter = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
    return value if parameter is None or not hasattr(value, "to") else value.to(parameter.device)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested hyperparameters under `outer/inner`, in the types that the HPARAMS page has."""
    flat: dict[str, bool | int | float | str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            flat.update(_flat(item, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = item if isinstance(item, (bool, int, float, str)) else str(item)
    return flat
