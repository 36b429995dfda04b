"""StateDigest: writes what two runs can be compared by, to the bit, while they train. Reads states, and changes
none."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from functrain import files, seed
from functrain.append_file import AppendFile
from functrain.callbacks import state_values
from functrain.kernel.plan import NO_EVENT, after, batches_to_update
from functrain.kernel.state import Clock
from functrain.trainer.callback import Callback
from functrain.trainer.digests import PARTS, Digester, Digests, Names, chained, sealed
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.events import Moment

FORMAT = 1
FILE = "digests.jsonl"
MOST_HELD = 256
"""Rows that are held back before they are read from the device and written, where nothing else asks for it."""


class StateDigest(Callback):
    """Writes digests of the state every few updates to `digests.jsonl`: of every parameter, of what the forward pass
    changes by itself, of the optimizers, of the random states, and of all batches drawn so far.

    `python -m functrain.compare RUN_A RUN_B` reads two of these files, and says where the runs part. Digests are
    computed on the device, and read when an epoch ends or a checkpoint is written: no step waits for them.

    Args:
        every_n_updates: a row every so many updates; there is one before the first update and one at the end, too.
        dirpath: the directory of the file; default: that of the first logger, else `default_root_dir`. A file that is
            there is added to.

    Raises:
        ConfigurationError: the interval is no number above 0; at the start of a fit, an adapter that makes no digests.
    """

    may_lag = True

    def __init__(self, every_n_updates: int = 10, dirpath: str | os.PathLike[str] | None = None) -> None:
        wrong = isinstance(every_n_updates, bool) or not isinstance(every_n_updates, int) or every_n_updates < 1
        if wrong:
            raise ConfigurationError(
                f"StateDigest(every_n_updates={every_n_updates!r}): must be a number of updates, 1 or more."
            )
        self.dirpath = None if dirpath is None else os.path.expanduser(os.fspath(dirpath))
        self._every = every_n_updates
        self._begin()

    def _begin(self) -> None:
        self._digester: Digester | None = None
        self._file: AppendFile | None = None
        self._run: Any = None
        self._names: Names | None = None
        self._update = -1
        self._held = 0
        self._data = _Data()
        self._random: dict[tuple[int, int], dict[str, int]] = {}
        self._due: tuple[int, int] | None = None
        self._kept: tuple[str, int] | None = None

    @property
    def path(self) -> str | None:
        """The file of the run under way, or of the last one; None where it writes none."""
        return None if self._file is None else self._file.path

    def observes_every_n_updates(self) -> int:
        """Return the interval of the rows."""
        return self._every

    # the run

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: is there what makes digests?"""
        if stage != "fit":
            return
        self._begin()
        run = trainer.run
        if run.flags.fast_dev_run or run.world.rank:
            return
        if run.digester is None:
            raise ConfigurationError(
                f"StateDigest: the adapter of {type(pl_module).__name__} makes no digests; leave the callback out."
            )
        self._digester, self._run = run.digester, run
        run.watches.append(partial(self._drawn, run))

    def _drawn(self, run: Any, epoch: int, count: int, batch: Any) -> None:
        """A batch was drawn. A run that goes past the places where the state is observed has drawn further ones by
        then, and so moved the generators; nothing else of it does."""
        self._data.add(count, run.digester.batch(batch))
        if not run.plan.passes_logs:
            return
        if self._due is None or self._due[0] != epoch or self._due[1] < count:
            self._due = epoch, self._next_due(run, count)
        if self._due[1] == count:
            self._random[epoch, count] = seed.rng_digests()

    def _next_due(self, run: Any, count: int) -> int:
        """Return at how many batches of the epoch, `count` or more, the next row is due."""
        before = after(run.plan, run.clock, count - 1 - run.clock.batch)
        updates = self._every - before.update % self._every
        return count - 1 + batches_to_update(run.plan, before, updates, NO_EVENT)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the file, and write what the run begins with."""
        run = trainer.run
        if self._digester is None:
            return
        path = files.join(files.ensure_directory(self.dirpath or trainer.log_dir), FILE)
        self._file = AppendFile(path)
        if self._kept is None or self._kept[0] != run.identity.run:
            self._write(run)
            return
        self._update = self._kept[1]
        if files.exists(path):
            self._names = _rewind(path, *self._kept)

    def observe(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """A row, where one is due."""
        if self._file is not None and moment.passed(self._every):
            self._write(trainer.run)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write out the rows of the epoch."""
        self._data.end_epoch(trainer.run.clock)
        self._flush()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint knows which rows were written before it, so they are."""
        self._flush()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write what the run ends with."""
        if self._file is not None and self._update < trainer.run.clock.update:
            self._write(trainer.run)
        self._flush()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write out the rows held back."""
        self._flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the last row's update, and what stands for the batches up to here."""
        if self._digester is None:
            return {}
        run = self._run
        data = {"batch": run.clock.batch, "digest": self._data.at(run.clock)}
        return {"run": run.identity.run, "update": self._update, "data": data}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the rows that were written before the checkpoint."""
        if state_dict:
            self._kept = state_values.text(state_dict, "run"), state_values.count(state_dict, "update")
            data = state_values.part(state_dict, "data")
            self._data.begin(state_values.count(data, "batch"), state_values.count(data, "digest"))

    # rows

    def _write(self, run: Any) -> None:
        assert self._digester is not None
        assert self._file is not None
        digests = self._digester.state()
        names = digests.layout.names
        if names != self._names:
            self._names = names
            header = {"format": FORMAT, "run": run.identity.run, "every": self._every, "names": names}
            self._file.append(_line(header))
        row = {
            "update": run.clock.update, "epoch": run.clock.epoch, "batch": run.clock.batch,
            "data": f"{self._data.at(run.clock):08x}",
            "random": {name: f"{value:08x}" for name, value in self._random_at(run.clock).items()},
        }  # fmt: skip
        metrics = run.metrics.step_metrics()
        self._file.append(lambda: _line(_whole(row, digests, metrics)))
        self._update, self._held = run.clock.update, self._held + 1
        if self._held >= MOST_HELD:
            self._flush()

    def _random_at(self, clock: Clock) -> dict[str, int]:
        return self._random.pop((clock.epoch, clock.batch), None) or seed.rng_digests()

    def _flush(self) -> None:
        self._held = 0
        if self._file is None:
            return
        try:
            self._file.flush()
        except OSError as error:
            warnings.warn(f"StateDigest: {error} The rows are kept, and written later.", UserWarning, stacklevel=2)


class _Data:
    """What stands for all batches drawn so far, at every batch of the epoch under way."""

    def __init__(self) -> None:
        self.begin(0, 0)

    def begin(self, batch: int, digest: int) -> None:
        """Stand behind so many batches of an epoch."""
        self._at, self._before = {batch: digest}, digest

    def add(self, count: int, digest: int) -> None:
        """A batch was drawn, which makes so many of the epoch."""
        # The first batch of an epoch comes behind the last one that was trained on, not the last one drawn.
        self._at[count] = chained(self._at.get(count - 1, self._before), digest)

    def at(self, clock: Clock) -> int:
        """Return what stands for the batches up to this position, and forget those before it."""
        now = self._at.get(clock.batch, self._before)
        self._at = {count: digest for count, digest in self._at.items() if count >= clock.batch}
        return now

    def end_epoch(self, clock: Clock) -> None:
        """The epoch has ended here."""
        self.begin(clock.batch, self.at(clock))


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record) + "\n").encode()


def _whole(row: dict[str, Any], digests: Digests, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with what had to be read from the device."""
    values = iter(digests.read())
    forms = iter(digests.layout.forms)
    for part in PARTS:
        row[part] = [sealed(next(forms), next(values)) for _ in digests.layout.names[part]]
    random = {name: f"{value:08x}" for name, value in zip(digests.random, values, strict=True)}
    return {**row, "random": {**row["random"], **random}, "metrics": dict(_numbers(metrics))}


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        with suppress(TypeError, ValueError):
            yield name, float(value)


def _rewind(path: str, run: str, update: int) -> Names | None:
    """Take the later rows of a run out of the file, which is replaced by one that has been written whole. Return the
    names that its further rows need not give again."""
    with files.open_read(path) as file:
        lines = file.read().splitlines(keepends=True)
    kept: list[bytes] = []
    of, names = "", None
    for line in lines:
        record = _record(line)
        if "format" in record:
            of, names = record.get("run"), record.get("names")
        later = of == run and record.get("update", 0) > update
        if record and not later:
            kept.append(line)
    if kept != lines:
        with files.atomic_write(path) as file:
            file.writelines(kept)
    return None if of != run or names is None else {part: tuple(names[part]) for part in names}


def _record(line: bytes) -> dict[str, Any]:
    """Return what a line says; nothing where it is torn."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and line.endswith(b"\n") else {}
