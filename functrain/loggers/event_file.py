"""TensorBoard's event files, by tensorboardX's messages and summaries; written by whoever calls, in order.

tensorboardX's own file writer hands events to a thread by a queue, so that a flush may miss some, a full disk
goes unnoticed, and two runs in one directory within a second overwrite each other. Here none of that can
happen. Importing this module imports tensorboardX, but not torch.
"""

from __future__ import annotations

import importlib
import itertools
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

from functrain import files
from functrain.append_file import AppendFile
from functrain.regular import open_regular


class _NoTorch:
    """Refuses torch to this thread's imports: tensorboardX would spend seconds on it, to annotate a type."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torch" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError("torch is not needed here", name=name)


def _import_tensorboardx() -> Any:
    refuse = _NoTorch()
    sys.meta_path.insert(0, refuse)  # type: ignore[arg-type]
    try:
        return importlib.import_module("tensorboardX")
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":
            raise
        raise ModuleNotFoundError(
            "TensorBoardLogger needs tensorboardX; run `pip install tensorboardX`", name="tensorboardX"
        ) from None
    finally:
        sys.meta_path.remove(refuse)  # type: ignore[arg-type]


_import_tensorboardx()

from tensorboardX import SummaryWriter  # noqa: E402
from tensorboardX.proto import api_pb2, event_pb2, plugin_hparams_pb2, summary_pb2  # noqa: E402
from tensorboardX.record_writer import masked_crc32c  # noqa: E402
from tensorboardX.summary import hparams as hparams_summaries  # noqa: E402
from tensorboardX.writer import FileWriter  # noqa: E402

# Generated modules: their classes are made when they are imported, where no type checker sees them.
_api: Any = api_pb2
_event: Any = event_pb2
_plugin: Any = plugin_hparams_pb2
_summary: Any = summary_pb2

_number = itertools.count()


class EventFile:
    """One event file; made, with its directory, at the first event. What tensorboardX calls an event writer.

    Args:
        directory: a local path or a URL.
        flush_every: events after which they are handed to the operating system, or to the URL's store.
    """

    def __init__(self, directory: str, flush_every: int) -> None:
        self._directory = directory
        self._flush_every = flush_every
        self._waiting = 0
        self._again: int | None = None
        self._repeated: set[str] = set()
        self._file: AppendFile | None = None
        self._tags: set[str] = set()

    def get_logdir(self) -> str:
        """Return the directory that the file is in."""
        return self._directory

    def add_event(self, event: Any) -> None:
        """Add an event message."""
        self._append(_record(event.SerializeToString()))

    def _append(self, record: bytes | Callable[[], bytes]) -> None:
        if self._file is None:
            self._file = self._opened()
        self._file.append(record)
        self._waiting += 1
        if self._waiting >= self._flush_every:
            self.flush()

    def add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers of one step, as one event. TensorBoard keeps 32 bits of each."""
        if self._again is not None:
            self._supersede(values, step, self._again)
        if not values.keys() <= self._tags:
            for name in values:
                name.encode()  # what cannot be written says so here, and not when it is
            self._tags |= values.keys()
        self._append(partial(_scalars, time.time(), step, {name: float(x) for name, x in values.items()}))

    def start_session(self, hparams: dict[str, Any], metrics: Mapping[str, float]) -> None:
        """Tell the HPARAMS page of a run: flat hyperparameters, and the names of the metrics to compare."""
        experiment, start, _ = hparams_summaries(hparams, dict(metrics))
        self._add([*experiment.value, *start.value])

    def end_session(self, status: str) -> None:
        """Tell the HPARAMS page how the run ended: "success", or anything else for a failure."""
        name = "STATUS_SUCCESS" if status == "success" else "STATUS_FAILURE"
        end = _plugin.SessionEndInfo(status=_api.Status.Value(name), end_time_secs=time.time())
        content = _plugin.HParamsPluginData(session_end_info=end, version=0).SerializeToString()
        data = _summary.SummaryMetadata.PluginData(plugin_name="hparams", content=content)
        metadata = _summary.SummaryMetadata(plugin_data=data)
        self._add([_summary.Summary.Value(tag="_hparams_/session_end_info", metadata=metadata)])

    def restart(self, step: int) -> None:
        """Tell readers that a run goes on after `step`: what other files here say of later steps no longer counts."""
        self._start(step + 1)
        self.flush()
        self._again, self._repeated = step, set()

    def _start(self, step: int) -> None:
        start = _event.SessionLog(status=_event.SessionLog.START)
        self.add_event(_event.Event(wall_time=time.time(), step=step, session_log=start))

    def _supersede(self, values: Mapping[str, float], step: int, again: int) -> None:
        """Numbers of the step that the run went on from are logged again: the old ones give way, others of it stay."""
        if step != again:
            self._again = None if step > again else again
            return
        new = values.keys() - self._repeated
        self._repeated |= new
        self.flush()
        there = events_of(self._directory, step)
        if not any(value.tag in new for event in there for value in event.summary.value):
            return
        self._start(step)
        for event in there:
            rest = [value for value in event.summary.value if value.tag not in new]
            if rest:
                summary = _summary.Summary(value=rest)
                self.add_event(_event.Event(wall_time=event.wall_time, step=step, summary=summary))

    def flush(self) -> None:
        """Write out the events held back."""
        if self._file is not None:
            self._file.flush()
        self._waiting = 0

    def close(self) -> None:
        """Write out; a later event begins another file."""
        self.flush()
        self._file = None

    def reopen(self) -> None:
        """Nothing to do: the next event opens."""

    def _add(self, values: list[Any], step: int = 0) -> None:
        self.add_event(_event.Event(wall_time=time.time(), step=step, summary=_summary.Summary(value=values)))

    def _opened(self) -> AppendFile:
        files.ensure_directory(self._directory)
        seconds, rest = divmod(time.time_ns(), 10**9)
        # TensorBoard reads a directory's files in the order of their names, so time comes first, finely.
        # Process and number keep names apart, however many runs start at once.
        when, who = f"{seconds:010d}.{rest:09d}", f"{socket.gethostname()}.{os.getpid()}.{next(_number):04d}"
        file = AppendFile(files.join(self._directory, f"events.out.tfevents.{when}.{who}"))
        file.append(_record(_event.Event(wall_time=seconds, file_version="brain.Event:2").SerializeToString()))
        return file


class _Writer(FileWriter):
    """tensorboardX's summaries, into an `EventFile`."""

    def __init__(self, events: EventFile) -> None:
        self.event_writer = events
        self._default_metadata = {}


class Experiment(SummaryWriter):
    """tensorboardX's SummaryWriter (images, histograms, graphs, ...) on an `EventFile`."""

    def __init__(self, events: EventFile) -> None:
        self._events = events
        super().__init__(logdir=events.get_logdir())

    def _get_file_writer(self) -> Any:
        if self.file_writer is None:
            self.file_writer = _Writer(self._events)
            self.all_writers = {self._events.get_logdir(): self.file_writer}
        return self.file_writer


def events_of(directory: str, step: int) -> list[Any]:
    """Return the summaries of one step in a directory's event files that TensorBoard would show."""
    found: list[Any] = []
    for name in files.list_dir(directory):
        if "tfevents" not in name:
            continue
        for event in _events(files.join(directory, name)):
            if event.session_log.status == _event.SessionLog.START:
                found = [each for each in found if each.step < event.step]
            elif event.step == step and event.HasField("summary"):
                found.append(event)
    return found


def _events(path: str) -> Iterator[Any]:
    """Yield the events of a file, up to one that was cut short or damaged."""
    with open_regular(path) as file:
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack("<Q", head[:8])
            if struct.pack("<I", masked_crc32c(head[:8])) != head[8:]:
                return
            data = file.read(length + 4)
            if len(data) < length + 4 or struct.pack("<I", masked_crc32c(data[:-4])) != data[-4:]:
                return
            yield _event.Event.FromString(data[:-4])


def _scalars(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    value = _summary.Summary.Value
    summary = _summary.Summary(value=[value(tag=name, simple_value=number) for name, number in values.items()])
    return _record(_event.Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())


def _record(data: bytes) -> bytes:
    """Return a message with its length and both checksums around it, as TensorBoard reads it."""
    return b"".join((_head(len(data)), data, struct.pack("<I", masked_crc32c(data))))


@lru_cache(maxsize=1024)
def _head(length: int) -> bytes:
    """Return a length and its checksum; records have the same few."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc32c(packed))
