"""A trace of the operators of a run, by torch.profiler: what ran when on the host and on the device."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path as LocalPath
from typing import Any, ClassVar

import torch
from torch.profiler import ProfilerAction, profile, record_function

from functrain import files
from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.flags import Path
from functrain.trainer.profiler import Profiler
from functrain_torch.module_spans import ModuleSpans

STEPS = 5
"""So many steps are recorded where nothing else is said."""


class PyTorchProfiler(Profiler):
    """Records the operators of the first steps of a run, with every action of the run as a span around them.

    What is recorded goes to `<stage>-<filename>.pt.trace.json`, which ui.perfetto.dev, chrome://tracing and
    TensorBoard's plugin open; a table of the operators is the report. A step is a batch, from where it is asked for; in
    a fit one of training.

    Args:
        dirpath: the directory of trace and report; default: that of the run's first logger, else `default_root_dir`.
        filename: of trace and report; 'trace' is the trace's where it is left out. The report is printed without both.
        group_by_input_shapes: the table has a row for each form of an operator's inputs.
        emit_nvtx: emit ranges for NVIDIA's own profilers (`nsys profile python script.py`), and record nothing here.
        export_to_chrome: write the trace.
        row_limit: how many rows the table has; -1 for all.
        sort_by_key: the column by which it is sorted; default: the time on the GPU where there is one, else on the CPU.
        record_module_names: a span for each forward pass of a part of the module.
        profiler_kwargs: of torch.profiler.profile. `schedule` says which steps are recorded, by default the first five;
            `on_trace_ready` is called in place of writing the trace.

    Raises:
        ConfigurationError: an argument that torch.profiler.profile does not have, an impossible value, or `emit_nvtx`
            without a CUDA device.
    """

    STEP_FUNCTIONS: ClassVar[Mapping[str | None, str]] = {
        "fit": "get_train_batch",
        "validate": "get_validate_batch",
        "test": "get_test_batch",
        "predict": "get_predict_batch",
    }
    """The action of each stage with which a step begins."""

    AVAILABLE_SORT_KEYS = (
        "count",
        "cpu_time", "cpu_time_total", "cpu_memory_usage", "self_cpu_time_total", "self_cpu_memory_usage",
        "cuda_time", "cuda_time_total", "cuda_memory_usage", "self_cuda_time_total", "self_cuda_memory_usage",
    )  # fmt: skip

    def __init__(
        self,
        dirpath: Path | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename)
        self.group_by_input_shapes = group_by_input_shapes
        self.emit_nvtx = emit_nvtx
        self.export_to_chrome = export_to_chrome
        self.row_limit = row_limit
        self.sort_by_key = sort_by_key or ("cuda_time_total" if torch.cuda.is_available() else "cpu_time_total")
        self.record_module_names = record_module_names
        self.profiler_kwargs = profiler_kwargs
        self._check()
        self._profiler: profile | None = None
        self._theirs: Callable[[profile], Any] | None = None
        self._around = ExitStack()
        self._module_spans: ModuleSpans | None = None
        self._open: list[tuple[str, AbstractContextManager[Any] | None]] = []
        self._tables: list[str] = []
        self._recording = self._over = False

    def _check(self) -> None:
        known = [name for name in inspect.signature(profile.__init__).parameters if name != "self"]
        for name, value in self.profiler_kwargs.items():
            if name not in known:
                raise ConfigurationError(
                    f"PyTorchProfiler({name}={value!r}): neither this class nor torch.profiler.profile has this "
                    f"argument.{nearest(name, (*known, *inspect.signature(type(self)).parameters))}"
                )
        if self.sort_by_key not in self.AVAILABLE_SORT_KEYS:
            raise ConfigurationError(
                f"PyTorchProfiler(sort_by_key={self.sort_by_key!r}): there is no such column."
                f"{nearest(self.sort_by_key, self.AVAILABLE_SORT_KEYS)} There are "
                f"{', '.join(sorted(self.AVAILABLE_SORT_KEYS))}."
            )
        if self.group_by_input_shapes and not self.profiler_kwargs.get("record_shapes", True):
            raise ConfigurationError(
                "PyTorchProfiler(group_by_input_shapes=True, record_shapes=False): these contradict each other; leave "
                "one out."
            )
        if self.emit_nvtx and not torch.cuda.is_available():
            raise ConfigurationError("PyTorchProfiler(emit_nvtx=True): needs a CUDA device, and there is none.")

    # a run

    def setup(self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins: what was told of the one before is forgotten."""
        super().setup(stage, local_rank, log_dir)
        self._end()
        self._open, self._tables, self._over = [], [], False

    def attach(self, module: Any) -> None:
        """The run of this module begins."""
        if self.record_module_names and isinstance(module, torch.nn.Module):
            self._module_spans = ModuleSpans(module)

    def start(self, action_name: str) -> None:
        """An action begins. The first batch begins the recording, and each further one is a step of it."""
        is_step = action_name == self.STEP_FUNCTIONS.get(self._stage)
        if self._recording:
            if is_step and self._profiler is not None:
                self._step(self._profiler)
        elif not self._over and (is_step or self._stage is None):
            self._begin()
        action = record_function(action_name) if self._recording else None
        if action is not None:
            action.__enter__()
        self._open.append((action_name, action))

    def stop(self, action_name: str) -> None:
        """An action ends.

        Raises:
            ValueError: it is not the one that began last.
        """
        if not self._open or self._open[-1][0] != action_name:
            raise ValueError(f"PyTorchProfiler.stop({action_name!r}): this action was never started.")
        action = self._open.pop()[1]
        if action is not None:
            action.__exit__(None, None, None)

    def describe(self) -> None:
        """End the recording, and tell the table of operators.

        Raises:
            OSError: the file cannot be written. The message names it.
        """
        self._end()
        is_empty = self._over and not self._tables and not self.emit_nvtx
        if is_empty:
            warnings.warn(
                "PyTorchProfiler: the run ended before its schedule recorded a step, so there is no trace; give a "
                "schedule that begins sooner.",
                UserWarning,
                stacklevel=2,
            )
        super().describe()

    def summary(self) -> str:
        """Return the table of operators, one for each part of the run that was recorded; empty before."""
        if not self._tables:
            return ""
        stage = f"{self._stage.upper()} " if self._stage else ""
        return "\n".join([f"{stage}Profiler Report", *self._tables])

    def teardown(self, stage: str | None = None) -> None:
        """The run is over: let go of its module."""
        super().teardown(stage)
        self._end()
        self._module_spans = None

    # the recording

    def _begin(self) -> None:
        self._recording = True
        if self._module_spans is not None:
            self._around.enter_context(self._module_spans)
        if self.emit_nvtx:
            self._around.enter_context(torch.cuda.profiler.profile())  # type: ignore[no-untyped-call]
            self._around.enter_context(torch.autograd.profiler.emit_nvtx())
            return
        options = {"schedule": first_steps, "record_shapes": self.group_by_input_shapes, **self.profiler_kwargs}
        if self._stage is None:
            options["schedule"] = None  # without a Trainer there are no steps: all is recorded, until it is described
        self._theirs = options.pop("on_trace_ready", None)
        self._profiler = profile(**options, on_trace_ready=self._ready)
        self._profiler.start()

    def _step(self, profiler: profile) -> None:
        if "schedule" in self.profiler_kwargs:
            with warnings.catch_warnings():
                # It says that further cycles drop what the first has recorded, which is in the report by then.
                warnings.filterwarnings("ignore", ".*clears events at the end of each cycle")
                profiler.step()
            return
        profiler.step()
        if profiler.step_num >= STEPS:
            self._end()

    def _end(self) -> None:
        """End the recording, if it goes on."""
        profiler, self._profiler, around, self._around = self._profiler, None, self._around, ExitStack()
        self._over, self._recording = self._over or self._recording, False
        with around:
            if profiler is not None:
                profiler.stop()

    def _ready(self, profiler: profile) -> None:
        """A part of the run was recorded."""
        averages = profiler.key_averages(group_by_input_shape=self.group_by_input_shapes)
        self._tables.append(averages.table(sort_by=self.sort_by_key, row_limit=self.row_limit))
        try:
            if self._theirs is not None:
                self._theirs(profiler)
            elif self.export_to_chrome:
                _write(profiler, files.free_name(self.place("", default="trace"), ".pt.trace.json"))
        except OSError as error:
            warnings.warn(f"PyTorchProfiler: the run goes on without its trace: {error}", UserWarning, stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        # A recording goes on in one place alone.
        left = {"_profiler": None, "_around": ExitStack(), "_module_spans": None, "_open": [], "_recording": False}
        return {**vars(self), **left}


def first_steps(step: int) -> ProfilerAction:
    """A schedule: record the first steps, and nothing after."""
    if step >= STEPS:
        return ProfilerAction.NONE
    return ProfilerAction.RECORD_AND_SAVE if step == STEPS - 1 else ProfilerAction.RECORD


def _write(profiler: profile, path: str) -> None:
    """Write the trace, whole or not at all, also to a URL."""
    with tempfile.TemporaryDirectory() as folder:
        local = LocalPath(folder) / os.path.basename(path)
        profiler.export_chrome_trace(str(local))
        with local.open("rb") as trace, files.atomic_write(path) as file:
            shutil.copyfileobj(trace, file)
