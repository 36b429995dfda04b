"""ModelCheckpoint: which states of a run are kept on disk, by a metric, by time or by age.

Writes through the run only, which goes on meanwhile. A file is there, whole, before the ones that it replaces are
removed; the records are those of before where it could not be written.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from functrain import claims, files
from functrain.callbacks import state_values
from functrain.callbacks.checkpoint_files import NameTemplate, absolute, default_directory
from functrain.callbacks.checkpoint_place import Place
from functrain.callbacks.checkpoint_records import Records
from functrain.callbacks.checkpoint_resume import taken_back
from functrain.callbacks.monitor import Watch, direction
from functrain.kernel.plan import passed
from functrain.kernel.state import Clock
from functrain.trainer.callback import Checkpoint
from functrain.trainer.checkpoint import begin_save
from functrain.trainer.errors import ConfigurationError, OlderNameWarning, kind
from functrain.trainer.events import Moment
from functrain.trainer.metrics import TRAIN
from functrain.trainer.narrow import is_count
from functrain.trainer.saving import Writes
from functrain.trainer.world import Alone, World, on_first

TICK_SECONDS = 1.0


def _ready(directory: str) -> str:
    """Return a directory that can be written to, without what killed runs have left half-written."""
    directory = files.ensure_directory(directory)
    files.sweep(directory)
    claims.tidy(directory)
    return directory


class ModelCheckpoint(Checkpoint):
    """Keeps states of a run on disk.

    Without a monitor it keeps the newest `save_top_k` (default: the state at the end of the last epoch, or where Ctrl-C
    ended the run); with one, the best. A state is ranked by a value that was measured on it, never by an older one:
    after a validation if the validation logs the metric, at the end of an epoch if the training does. Where the metric
    has no such value when a state is due, the next state that has one is taken.

    Args:
        dirpath: where, a path or any fsspec URL; default: `weights_save_path` of the Trainer, else
            'checkpoints' in its logger's directory, else in `default_root_dir`.
        filename: a format string of 'epoch', 'step' and metrics, such as '{epoch}-{val_loss:.2f}', which
            becomes 'epoch=3-val_loss=0.32'; default '{epoch}-{step}'. A file that another run wrote is never
            overwritten or removed, whoever names it: the new one gets -v1, -v2, ...
        monitor: the metric to rank by.
        verbose: print what is saved.
        save_last: also write 'last' at every save. Where Ctrl-C or SIGTERM ends the run 'last' is written in any case,
            unless its state is in a file already, or nothing is to be kept (`save_top_k=0`, `save_weights_only`).
        save_top_k: how many to keep; -1 for all, 0 for none.
        mode: 'min', 'max', or 'auto' to guess from the metric's name.
        save_weights_only: leave out all that continuing needs.
        every_n_epochs: save in every n-th epoch (default 1, unless one of the next two is given); 0 for never.
        period: the older name of every_n_epochs.
        every_n_train_steps: save every n updates instead.
        train_time_interval: save about this often instead, between two steps.
        auto_insert_metric_name: write 'name=' before each value in a file's name.
        save_on_train_epoch_end: True saves at the end of epochs only, by the last value of the epoch; False after
            validations only; None does what suits the monitor.

    A file is written while the run goes on. Who reads one of the paths below waits until it is there.

    Attributes:
        best_model_score: the score of the best file; None without a monitor.
        current_score: the monitored value that was looked at last.

    Raises:
        ConfigurationError: arguments that are impossible or contradict each other; at the end of an epoch, a
            monitor that nobody logs (the state is saved first).
        OSError: at the start of a fit, a directory that cannot be written to; later, a file that could not be
            written, where the run looks for it next: within half a second, at the next save, or at its end.
    """

    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | None = None,
        save_top_k: int | None = 1,
        mode: str = "min",
        save_weights_only: bool = False,
        every_n_epochs: int | None = None,
        period: int | None = None,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        auto_insert_metric_name: bool = True,
        save_on_train_epoch_end: bool | None = None,
    ) -> None:
        if dirpath is not None and not isinstance(dirpath, str | os.PathLike):
            raise ConfigurationError(f"ModelCheckpoint(dirpath={dirpath!r}): must be a path, not {kind(dirpath)}.")
        _check_filename(filename)
        self.given_dirpath = None if dirpath is None else absolute(os.fspath(dirpath))
        self.dirpath = self.given_dirpath
        self.filename = filename
        self.monitor = monitor
        self.verbose = verbose
        if save_last not in (True, False, None, "link"):
            raise ConfigurationError(f"ModelCheckpoint(save_last={save_last!r}): must be True or False.")
        self.save_last = bool(save_last)
        self.save_top_k = 1 if save_top_k is None else save_top_k
        self.mode = direction(mode, monitor, "ModelCheckpoint")
        self.save_weights_only = save_weights_only
        self.save_on_train_epoch_end = save_on_train_epoch_end
        self.every_n_train_steps = every_n_train_steps or 0
        self.train_time_interval = train_time_interval
        self.every_n_epochs = self._epochs(every_n_epochs, period)
        self._check()
        self._template = NameTemplate("{epoch}-{step}" if filename is None else filename, auto_insert_metric_name)
        self._last_template = NameTemplate(self.CHECKPOINT_NAME_LAST, auto_insert_metric_name)
        if train_time_interval is not None:
            self.tick_seconds = min(TICK_SECONDS, train_time_interval.total_seconds())
        self._place: Place | None = None
        self._world: World = Alone()
        self._writes: Writes | None = None
        self._reset()

    def _epochs(self, every_n_epochs: int | None, period: int | None) -> int:
        if period is not None:
            warnings.warn(
                "ModelCheckpoint(period=...) is the older name of 'every_n_epochs': use every_n_epochs.",
                OlderNameWarning,
                stacklevel=3,
            )
            if every_n_epochs is not None:
                raise ConfigurationError(
                    f"ModelCheckpoint(period={period!r}, every_n_epochs={every_n_epochs!r}): two names "
                    "of one argument; give one of them."
                )
            every_n_epochs = period
        others = bool(self.every_n_train_steps) or self.train_time_interval is not None
        return int(not others) if every_n_epochs is None else every_n_epochs

    def _check(self) -> None:
        for name, least in (("save_top_k", -1), ("every_n_epochs", 0), ("every_n_train_steps", 0)):
            value = getattr(self, name)
            if not is_count(value, least):
                raise ConfigurationError(f"ModelCheckpoint({name}={value!r}): must be an int >= {least}.")
        interval = self.train_time_interval
        if interval is not None and not (isinstance(interval, timedelta) and interval > timedelta(0)):
            raise ConfigurationError(
                f"ModelCheckpoint(train_time_interval={interval!r}): must be a datetime.timedelta > 0."
            )
        names = ("every_n_epochs", "every_n_train_steps", "train_time_interval")
        given = [f"{name}={getattr(self, name)!r}" for name in names if getattr(self, name)]
        if len(given) > 1:
            raise ConfigurationError(
                f"ModelCheckpoint({', '.join(given)}): these exclude each other; use one ModelCheckpoint for each."
            )

    def _reset(self) -> None:
        self._set(Records("new" if self.monitor is None else self.mode))
        self._watch = Watch(self.monitor, "ModelCheckpoint", same_state=not self.save_on_train_epoch_end)
        self._due = self._warned = self._unknown = False
        self._replaced: list[str] = []
        self._waits = False
        self._saved_at: Clock | None = None
        self._last_saved_at: Clock | None = None
        self._since = time.monotonic()

    def _set(self, records: Records) -> None:
        """Take these records, and show users what they say."""
        best = records.best()
        self._records = records
        self.best_model_score: float | None = best[1] if best and self.monitor is not None else None
        self.current_score: float | None = records.score

    # what is kept

    @property
    def best_model_path(self) -> str:
        """The best kept file, the newest without a monitor; "" before."""
        return self._standing().best_path()

    @property
    def best_k_models(self) -> dict[str, float]:
        """The scores of all files kept, by path."""
        return dict(self._standing().kept)

    @property
    def kth_best_model_path(self) -> str:
        """The worst of the files kept; "" before."""
        ranked = self._standing().ranked()
        return ranked[-1][0] if ranked else ""

    @property
    def last_model_path(self) -> str:
        """The 'last' file; "" before."""
        return self._standing().last

    def _standing(self) -> Records:
        """Return the records, when the files are there that they name."""
        if self._writes is not None:
            self._writes.settle()
        return self._records

    # hooks

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: empty records, and a directory that is known to be writable before anything is trained."""
        if stage != "fit" or trainer.fast_dev_run:
            return
        self._reset()
        self._writes, self._world = trainer.run.writes, trainer.run.world
        self.FILE_EXTENSION = trainer.run.checkpoints.suffix
        self.dirpath = self.given_dirpath or default_directory(trainer)
        if self.save_top_k or self.save_last:
            self.dirpath = on_first(self._world, partial(_ready, self.dirpath))
            mark = trainer.run.checkpoints.mark
            self._place = Place(self.dirpath, self.FILE_EXTENSION, self.state_key, trainer.run.identity, mark)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Whose files stand in the directory is known now; the time interval counts from here."""
        if self._place is not None and not self._idle(trainer) and self._world.rank == 0:
            self._place.sweep()
            self._place.warn_of_others(self.CHECKPOINT_NAME_LAST.partition("{")[0])
        self._since = time.monotonic()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The metrics of a validation are new."""
        self._watch.validation_ended(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Say it where the metric never came, so that nothing was saved."""
        waits = self._due and self.monitor is not None and self.save_top_k
        if self._idle(trainer) or not waits:
            return
        if self._watch.read(trainer) is None:
            warnings.warn(f"{self._watch.missing(trainer)} So nothing was saved.", UserWarning, stacklevel=2)

    def every_n_updates(self) -> int | None:
        """The Trainer calls `checkpoint` this often, in updates."""
        return self.every_n_train_steps or None

    def tick(self, trainer: Any, pl_module: Any) -> None:
        """Between two dispatches: is it time? Not while a validation runs."""
        fitting = trainer.stage == "fit" and trainer.run.metrics.current.stage == TRAIN
        is_due = fitting and not self._idle(trainer) and self._time_is_up()
        if is_due:
            self.checkpoint(trainer, pl_module, Moment("tick", trainer.run.before, trainer.run.clock))

    def checkpoint(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """Save what is due at this moment."""
        if self._idle(trainer):
            return
        if moment == "interrupt":
            if self.monitor is None:
                self._save(trainer, moment)
            if self.save_last or self._would_be_lost(trainer):
                self._save_last(trainer, moment)
            return
        due_now = self._is_due(trainer, moment)
        self._due = self._due or due_now
        saved = self._due and self._save(trainer, moment)
        saves_last = self.save_last and (due_now or saved)
        if saves_last:
            self._save_last(trainer, moment)

    def _would_be_lost(self, trainer: Any) -> bool:
        """Return whether the state of an interrupted run is in no file yet that it can be continued from."""
        saved = trainer.run.saved is not None and trainer.run.stands_at(trainer.run.saved[1])
        return bool(self.save_top_k) and not self.save_weights_only and not saved

    # when

    def _idle(self, trainer: Any) -> bool:
        return bool(trainer.fast_dev_run or trainer.sanity_checking)

    def _time_is_up(self) -> bool:
        interval = self.train_time_interval
        if interval is None:
            return False
        return self._world.broadcast(time.monotonic() - self._since >= interval.total_seconds())

    def _is_due(self, trainer: Any, moment: Moment) -> bool:
        if self.every_n_train_steps:
            return moment == "steps" and moment.passed(self.every_n_train_steps)
        if self.train_time_interval is not None:
            due = self._time_is_up()
            self._since = time.monotonic() if due else self._since
            return due
        epoch = trainer.current_epoch
        if not self.every_n_epochs or not passed(self.every_n_epochs, epoch, epoch + 1):
            return False
        if moment == "validation":
            return self._after_validations()
        only_validated = self.save_on_train_epoch_end is False and trainer.run.val is not None
        return moment == "epoch" and (self._watch.has_validated(trainer) or not only_validated)

    def _after_validations(self) -> bool:
        """Also within an epoch?"""
        given = self.save_on_train_epoch_end
        return self.monitor is not None if given is None else not given

    # what

    def _save(self, trainer: Any, moment: Moment) -> bool:
        """Keep the present state if it belongs to the best; return whether a state was looked at."""
        nothing_to_save = self.save_top_k == 0 or (self._saved_at is not None and trainer.run.stands_at(self._saved_at))
        if nothing_to_save:
            return False
        if self.monitor is None:
            score = float(trainer.global_step)
        else:
            value = self._watch.read(trainer)
            if value is None:
                self._missing(trainer, moment)
                return False
            if not self._watch.is_new(trainer, moment):
                self._due = self._due and not self._watch.same_again()
                return False
            score = value
        self._due, self._saved_at = False, trainer.run.clock
        self._watch.taken()
        self._keep(trainer, moment, score)
        return True

    def _keep(self, trainer: Any, moment: Moment, score: float) -> None:
        """Write the state if it is among the best, then remove the files that fell out."""
        self._set(self._records._replace(score=None if self.monitor is None else score))
        fallen = self._records.fallen(score, self.save_top_k)
        if fallen is None:
            return
        name = self._name(trainer, moment, self._template)
        path = self._claim(trainer, name, fallen)
        what = "" if self.monitor is None else f", {self.monitor} {score:.5g}"
        message = f"Epoch {trainer.current_epoch}, step {trainer.global_step}{what}: saved {path}"
        message = message if self.verbose else ""
        # The 'last' file on the disk names what falls out, until the next one is there.
        self._waits = self.save_last and bool(fallen)
        self._write(trainer, path, self._records.adding(path, score, fallen), fallen, message, self.save_last)

    def _save_last(self, trainer: Any, moment: Moment) -> None:
        stands = self._last_saved_at is not None and trainer.run.stands_at(self._last_saved_at)
        if stands and not self._waits:
            return
        old = self._records.last
        ours = [old] if old else []
        name = self._name(trainer, moment, self._last_template)
        path = self._claim(trainer, name, ours)
        self._waits = False
        self._write(trainer, path, self._records._replace(last=path), ours)
        self._last_saved_at = trainer.run.clock

    def _claim(self, trainer: Any, name: str, ours: list[str]) -> str:
        """Return a path that nobody else has, or one of `ours`, until it is written; what was being written is there
        first."""
        assert self._place is not None, "a fit that saves anything made it"
        trainer.run.writes.settle()
        claim = partial(self._place.claim, name, self._records.paths(), ours, trainer.global_step)
        return on_first(self._world, claim)

    def _write(
        self, trainer: Any, path: str, records: Records, replaced: list[str], message: str = "", holds: bool = False
    ) -> None:
        """Begin to write the state; what it replaces is removed when it is there, and where it `holds`, when the next
        one is. The file knows both, whenever a kill comes."""
        before, place = (self._records, self._replaced), self._place
        assert place is not None, "it gave the path"
        self._set(records)
        self._replaced = [old for old in dict.fromkeys([*self._replaced, *replaced]) if old != path]

        def over(error: BaseException | None) -> None:
            try:
                if error is not None:
                    self._restore(*before)
                    return
                if not holds:
                    self._remove_replaced(place)
                if message:
                    trainer.print(message)
            finally:
                place.settle()

        try:
            with trainer.run.identity.saving(place.key):
                begin_save(trainer.run, path, self.save_weights_only, over)
        except BaseException:
            self._restore(*before)
            place.settle()
            raise

    def _restore(self, records: Records, replaced: list[str]) -> None:
        """Nothing was written."""
        self._set(records)
        self._replaced = replaced

    def _remove_replaced(self, place: Place) -> None:
        while self._replaced:
            path = self._replaced.pop()
            if self._world.rank == 0:
                place.remove(path)

    def _name(self, trainer: Any, moment: Moment, template: NameTemplate) -> str:
        values: dict[str, float] = {}
        if template.metrics:
            logged = trainer.callback_metrics
            values = {name: float(logged[name]) for name in template.metrics if name in logged}
            self._warn_of_unknown([name for name in template.metrics if name not in logged], logged)
        return template.render({**values, "epoch": trainer.current_epoch, "step": trainer.global_step})

    def _warn_of_unknown(self, names: list[str], logged: Iterable[str]) -> None:
        if names and not self._unknown:
            self._unknown = True
            known = ", ".join(map(repr, sorted(logged))) or "no metrics"
            warnings.warn(
                f"ModelCheckpoint(filename={self._template.text!r}): nobody has logged {', '.join(map(repr, names))} "
                f"yet, so the file's name has nan. Logged are {known}.",
                UserWarning,
                stacklevel=2,
            )

    def format_checkpoint_name(self, metrics: dict[str, Any]) -> str:
        """Return the path that these values of 'epoch', 'step' and metrics give, whether or not a file is there."""
        values = {name: value if isinstance(value, int) else float(value) for name, value in metrics.items()}
        name = self._template.render(values)
        return files.join(self.dirpath or "", name + self.FILE_EXTENSION)

    def _missing(self, trainer: Any, moment: Moment) -> None:
        if moment == "epoch" and self._watch.overdue(trainer):
            name = self._name(trainer, moment, NameTemplate("{epoch}-{step}"))
            path = self._claim(trainer, name, [])
            try:
                trainer.save_checkpoint(path, weights_only=self.save_weights_only)
            finally:
                assert self._place is not None, "it gave the path"
                self._place.settle()
            raise ConfigurationError(f"{self._watch.missing(trainer)} The state of this moment is saved in {path}.")
        if moment in ("steps", "tick") and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._watch.missing(trainer)} The first state that has it will be saved.",
                UserWarning,
                stacklevel=2,
            )

    # what a checkpoint keeps

    @property
    def state_key(self) -> str:
        """Tells several instances apart by what they do."""
        names = (
            "monitor",
            "mode",
            "filename",
            "every_n_epochs",
            "every_n_train_steps",
            "train_time_interval",
        )
        return f"ModelCheckpoint({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def state_dict(self) -> dict[str, Any]:
        """Return the records, as plain values."""
        records = self._records
        return {
            "dirpath": self.dirpath,
            "best_model_path": records.best_path(),
            "best_model_score": self.best_model_score,
            "best_k_models": dict(records.kept),
            "last_model_path": records.last,
            "current_score": records.score,
            "replaced": list(self._replaced),
            "due": self._due,
            "watch": self._watch.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the records back, as far as their files are still there and this run's.

        Files of another directory are neither looked at nor removed, but the best one stays known until it is beaten.
        """
        found = partial(taken_back, state_dict, self._records, self._place)
        records, self._replaced = on_first(self._world, found)
        self._set(records)
        if self._place is not None:
            self._remove_replaced(self._place)
        self._due = state_values.switch(state_dict, "due")
        self._watch.load_state(state_values.part(state_dict, "watch"))

    def kept(self) -> Iterable[str]:
        """Return the checkpoints that are ranked."""
        return self.best_k_models

    def may_open_best(self) -> bool:
        """Return whether this run wrote the best one, or it lies where the user pointed. Others are only known from a
        file."""
        outside = self._records.outside
        only_named = outside is not None and self._records.best_path() == outside[0]
        return not only_named or (self._place is not None and self._place.trusts(self._records.best_path()))


def _check_filename(filename: Any) -> None:
    if filename is None:
        return
    if not isinstance(filename, str):
        raise ConfigurationError(f"ModelCheckpoint(filename={filename!r}): must be a str, not {kind(filename)}.")
    if os.path.isabs(filename) or ".." in filename.split("/"):
        raise ConfigurationError(
            f"ModelCheckpoint(filename={filename!r}): names a place outside of the checkpoints' directory, where a run "
            "that continues would not look; give the directory as dirpath."
        )
