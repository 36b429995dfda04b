"""A trace of what the host and the devices do in a run, by jax.profiler."""

from __future__ import annotations

import os
from typing import Any

import jax
from jax.profiler import ProfileOptions, TraceAnnotation

from functrain import files
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Path
from functrain.trainer.profiler import Profiler

ENDS = {
    "fit": "run_training_batches",
    "validate": "validation_step",
    "test": "test_step",
    "predict": "predict_step",
}
"""The action of each stage that is one dispatch."""


class JAXProfiler(Profiler):
    """Writes a trace of the first dispatches of a run, with every action of the run as a span in it.

    It is the directory `<stage>-<filename>`, which TensorBoard and xprof open; its `perfetto_trace.json.gz` is what
    ui.perfetto.dev opens. A dispatch is what JAX is handed at once, in training as a rule many batches; the first one
    is compiled before. What a module measures within its traced code is the tracing of it, and not the run.

    Args:
        dirpath: where that directory goes; default: into that of the run's first logger, else `default_root_dir`.
        filename: its name after the stage.
        dispatches: so many are recorded.
        python_calls: record each call of a Python function too; a trace of many megabytes.

    Raises:
        ConfigurationError: `dispatches` is no int of at least 1, or `dirpath` is a URL.
    """

    def __init__(
        self,
        dirpath: Path | None = None,
        filename: str = "trace",
        dispatches: int = 5,
        python_calls: bool = False,
    ) -> None:
        super().__init__(dirpath, filename)
        if isinstance(dispatches, bool) or not isinstance(dispatches, int) or dispatches < 1:
            raise ConfigurationError(f"JAXProfiler(dispatches={dispatches!r}): must be an int of at least 1.")
        self.dispatches = dispatches
        self.python_calls = python_calls
        self.trace_dir: str | None = None
        self._open: list[tuple[str, TraceAnnotation]] = []
        self._left = 0
        self._records = False

    def setup(self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins.

        Raises:
            ConfigurationError: the trace would go to a URL.
        """
        super().setup(stage, local_rank, log_dir)
        self._end()
        self._open, self._left, self.trace_dir = [], self.dispatches, None
        place = self.place("")
        if files.is_remote(place):
            raise ConfigurationError(
                f"JAXProfiler: its trace would go to {place!r}, and jax.profiler writes to local directories alone; "
                "give JAXProfiler(dirpath='a/local/directory')."
            )

    def start(self, action_name: str) -> None:
        """An action begins."""
        if self._left and not self._records:
            self._begin()
        action = TraceAnnotation(action_name)
        action.__enter__()
        self._open.append((action_name, action))

    def stop(self, action_name: str) -> None:
        """An action ends; the last dispatch ends the trace.

        Raises:
            ValueError: it is not the action that began last.
        """
        if not self._open or self._open[-1][0] != action_name:
            raise ValueError(f"JAXProfiler.stop({action_name!r}): this action was never started.")
        self._open.pop()[1].__exit__(None, None, None)
        if self._left and action_name == ENDS.get(self._stage or ""):
            self._left -= 1
            if not self._left:
                self._end()

    def describe(self) -> None:
        """End the trace, and print where it is."""
        self._end()
        if self.trace_dir is not None and not self.local_rank:
            stage = f"{self._stage.upper()} " if self._stage else ""
            print(f"{stage}Profiler Report: {self.trace_dir}")

    def teardown(self, stage: str | None = None) -> None:
        """The run is over."""
        super().teardown(stage)
        self._end()

    def _begin(self) -> None:
        self.trace_dir, self._records = files.free_name(self.place("")), True
        options = ProfileOptions()
        options.python_tracer_level = int(self.python_calls)
        files.ensure_directory(self.trace_dir)
        jax.profiler.start_trace(self.trace_dir, create_perfetto_trace=True, profiler_options=options)

    def _end(self) -> None:
        """Write the trace, once the devices have done what they were handed."""
        self._left = 0
        if self._records:
            self._records = False
            jax.block_until_ready([array for array in jax.live_arrays() if not array.is_deleted()])
            jax.profiler.stop_trace()

    def __getstate__(self) -> dict[str, Any]:
        # A recording goes on in one place alone.
        return {**vars(self), "_open": [], "_records": False, "_left": 0}


class XLAProfiler(Profiler):
    """Lets TensorBoard or xprof record a run while it goes on: a server of jax.profiler, and every action as a span.

    The first run starts it, and it stays until the process ends.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int = 9012) -> None:
        super().__init__()
        self.port = port
        self._open: list[tuple[str, TraceAnnotation]] = []

    def setup(self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins.

        Raises:
            ConfigurationError: there is a server at another port.
        """
        super().setup(stage, local_rank, log_dir)
        self._open = []
        running = _servers.get(os.getpid())
        if running is None:
            _servers[os.getpid()] = self.port
            jax.profiler.start_server(self.port)
        elif running != self.port:
            raise ConfigurationError(
                f"XLAProfiler(port={self.port!r}): this process has the server of its profiler at port {running}, and "
                "can have one alone; give that one."
            )

    def start(self, action_name: str) -> None:
        """An action begins."""
        action = TraceAnnotation(action_name)
        action.__enter__()
        self._open.append((action_name, action))

    def stop(self, action_name: str) -> None:
        """An action ends.

        Raises:
            ValueError: it is not the one that began last.
        """
        if not self._open or self._open[-1][0] != action_name:
            raise ValueError(f"XLAProfiler.stop({action_name!r}): this action was never started.")
        self._open.pop()[1].__exit__(None, None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": []}


_servers: dict[int, int] = {}
"""The port of this process's server, by the process: a fork has none."""
