"""What a Trainer tells of itself: properties over the run under way, or the last one, that are right in every hook.
Decides nothing."""

from __future__ import annotations

import math
from typing import Any

from functrain.trainer import planning, running
from functrain.trainer.callback import Callback, Checkpoint, EarlyStop, Progress
from functrain.trainer.combined import CombinedLoader
from functrain.trainer.flagged import Flagged
from functrain.trainer.foreign import ActionProfiler, HasDirectory, RunLogger
from functrain.trainer.loaders import Loaders
from functrain.trainer.profiler import PassThroughProfiler
from functrain.trainer.run import Run, print_above
from functrain.trainer.states import RunningStage, TrainerFn, TrainerState, TrainerStatus
from functrain.trainer.world import World, ranks


class Readable(Flagged):
    """The attributes of a Trainer.

    Attributes:
        run: the run under way or the last one; None before one.
        callbacks, loggers: in the order in which they are called.
    """

    run: Run | None
    _fitted: Run | None
    _evaluated: dict[str, Loaders]
    _last: tuple[str, str | None] | None
    world: World
    callbacks: list[Callback]
    loggers: list[RunLogger]
    _profiler: ActionProfiler
    _busy: bool

    # what a run tells

    @property
    def module(self) -> Any:
        """The module of the run; None before one."""
        return None if self.run is None else self.run.module

    @property
    def datamodule(self) -> Any:
        """The data module of the run; None where it has none."""
        return None if self.run is None else self.run.datamodule

    @property
    def stage(self) -> str | None:
        """'fit', 'validate', 'test' or 'predict'; None before a run."""
        return None if self.run is None else self.run.stage

    @property
    def should_stop(self) -> bool:
        """Set it to end the run at the next batch, once the minima are met."""
        return self.run is not None and self.run.stop.requested

    @should_stop.setter
    def should_stop(self, wish: bool) -> None:
        if self.run is not None:
            self.run.stop.request(wish)

    @property
    def interrupted(self) -> bool:
        """Did Ctrl-C or SIGTERM end the run?"""
        return self.run is not None and self.run.stop.interrupted

    @property
    def current_epoch(self) -> int:
        """Epochs finished; in an epoch's own hooks, the number of that epoch from 0."""
        return 0 if self.run is None else self.run.clock.epoch

    @property
    def global_step(self) -> int:
        """Updates done: one a window, however many optimizers."""
        return 0 if self.run is None else self.run.clock.update

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs; None for no limit."""
        return planning.max_epochs(self.flags)

    # what it does

    @property
    def state(self) -> TrainerState:
        """Status, method and stage: `trainer.state.fn == TrainerFn.FITTING`."""
        if self._last is None:
            return TrainerState()
        method, outcome = self._last
        return TrainerState(self._status(outcome), TrainerFn(method), self._stage())

    def _status(self, outcome: str | None) -> TrainerStatus:
        if self._busy:
            return TrainerStatus.INTERRUPTED if self.interrupted else TrainerStatus.RUNNING
        return TrainerStatus.FINISHED if outcome == "success" else TrainerStatus.INTERRUPTED

    def _stage(self) -> RunningStage | None:
        run = self.run
        if run is None or not self._busy:
            return None
        if run.sanity_checking:
            return RunningStage.SANITY_CHECKING
        if run.stage == "fit":
            return RunningStage.VALIDATING if run.evaluates else RunningStage.TRAINING
        return RunningStage(run.stage)

    @property
    def training(self) -> bool:
        """Is a fit under way, and neither its sanity check nor a validation?"""
        return self.state.stage is RunningStage.TRAINING

    @property
    def sanity_checking(self) -> bool:
        """Is it the sanity check that validates?"""
        return self.run is not None and self.run.sanity_checking

    @property
    def validating(self) -> bool:
        """Is a validation under way, by itself or in a fit?"""
        return self.state.stage is RunningStage.VALIDATING

    @property
    def testing(self) -> bool:
        """Is a test under way?"""
        return self.state.stage is RunningStage.TESTING

    @property
    def predicting(self) -> bool:
        """Is a prediction under way?"""
        return self.state.stage is RunningStage.PREDICTING

    @property
    def evaluating(self) -> bool:
        """Is a validation or a test under way?"""
        stage = self.state.stage
        return stage is not None and stage.evaluating

    @property
    def received_sigterm(self) -> bool:
        """Did SIGTERM end the run?"""
        return self.run is not None and self.run.stop.terminated

    @property
    def is_last_batch(self) -> bool:
        """Is the training batch under way, or the one whose hooks are called, the last of its epoch? Of a loader
        without a length that is known when it has ended."""
        return self.run is not None and self.run.is_last_batch

    # the model and its data

    @property
    def model(self) -> Any:
        """The module of the run; None before one."""
        return self.module

    @property
    def lightning_module(self) -> Any:
        """The module of the run; None before one."""
        return self.module

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint that the run continues from, or whose weights it evaluates; None for none."""
        return None if self.run is None else self.run.ckpt_path

    @property
    def train_dataloader(self) -> Any:
        """The training loader of the fit, or several in the form in which they were given; None before they were asked
        for."""
        source = None if self._fitted is None else self._fitted.found_source
        if source is None:
            return None
        return source.loader.iterables if isinstance(source.loader, CombinedLoader) else source.loader

    @property
    def val_dataloaders(self) -> list[Any] | None:
        """The validation loaders of the run; None before they were asked for, and where nothing is validated."""
        return self._loaders("validate")

    @property
    def test_dataloaders(self) -> list[Any] | None:
        """The loaders of a test; None before they were asked for."""
        return self._loaders("test")

    @property
    def predict_dataloaders(self) -> list[Any] | None:
        """The loaders of a prediction; None before they were asked for."""
        return self._loaders("predict")

    def _used(self, stage: str) -> Loaders | None:
        """The loaders of an evaluation and their limits: of the one under way, else of the last, or of the fit's
        validations."""
        run = self.run
        if run is not None and run.stage == stage:
            return run.val
        is_of_fit = stage == "validate" and self._last is not None and self._last[0] != stage
        return self._fitted.val if is_of_fit and self._fitted is not None else self._evaluated.get(stage)

    def _loaders(self, stage: str) -> list[Any] | None:
        used = self._used(stage)
        return None if used is None else list(used[0])

    def _batches(self, stage: str) -> list[int | float]:
        used = self._used(stage)
        return [] if used is None else [_known(limit) for limit in used[1]]

    @property
    def num_training_batches(self) -> int | float:
        """Batches of a training epoch; infinity where the loader has no length, or was not asked for yet."""
        run = self._fitted
        if run is None or run.found_source is None:
            return math.inf
        return _known(run.loaders.cap(run.found_source.batches))

    @property
    def num_val_batches(self) -> list[int | float]:
        """Batches of each validation loader; infinity for one without a length."""
        return self._batches("validate")

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches of each validation loader that the sanity check takes."""
        steps = self.flags.num_sanity_val_steps
        if self.flags.fast_dev_run:
            steps = 0
        used = None if self._fitted is None else self._fitted.val
        limits = [] if used is None else [_known(limit) for limit in used[1]]
        return limits if steps == -1 else [min(steps, limit) for limit in limits]

    @property
    def num_test_batches(self) -> list[int | float]:
        """Batches of each test loader; infinity for one without a length."""
        return self._batches("test")

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Batches of each loader of a prediction; infinity for one without a length."""
        return self._batches("predict")

    @property
    def enable_validation(self) -> bool:
        """Does the fit validate?"""
        return self._fitted is not None and self._fitted.val is not None

    @property
    def estimated_stepping_batches(self) -> int | float:
        """How many updates a whole fit makes, `max_epochs` and `max_steps` as the limits; infinity where that is
        unknown. In `configure_optimizers` the training loader is asked for, once, to know it."""
        run = self.run
        if run is None or run.stage != "fit":
            return math.inf
        batches = run.loaders.cap(running.find_source(run).batches)
        windows = planning.windows_of(run.flags, run.callbacks)
        return planning.updates_of(run.flags, batches, windows, run.plan.players)

    # optimizers

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers of the fit."""
        return [] if self._fitted is None else self._fitted.inspector.optimizers()

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """The schedulers of the fit, each with `scheduler`, `interval`, `frequency`, `monitor`, `strict` and `name`."""
        return [] if self._fitted is None else self._fitted.inspector.schedulers()

    # metrics, loggers and callbacks

    @property
    def callback_metrics(self) -> dict[str, Any]:
        """Everything logged so far, by name, as the framework's scalars."""
        return {} if self.run is None else self.run.callback_metrics()

    @property
    def logged_metrics(self) -> dict[str, Any]:
        """What was sent to the loggers last, and the last step's values that will be."""
        return {} if self.run is None else self.run.logged_metrics()

    @property
    def progress_bar_metrics(self) -> dict[str, Any]:
        """What `prog_bar=True` asked for, as Python floats."""
        values = {} if self.run is None else self.run.metrics.progress_bar_metrics()
        return {name: float(value) for name, value in values.items()}

    @property
    def logger(self) -> Any:
        """The first logger; None without one."""
        return self.loggers[0] if self.loggers else None

    @property
    def profiler(self) -> ActionProfiler:
        """What measures the runs that begin from now on; a PassThroughProfiler, which measures nothing, where none was
        asked for. `with trainer.profiler.profile("name"):` measures a block of one's own. None, set, is none."""
        return self._profiler

    @profiler.setter
    def profiler(self, profiler: ActionProfiler | None) -> None:
        self._profiler = PassThroughProfiler() if profiler is None else profiler

    @property
    def default_root_dir(self) -> str:
        """Where logs and checkpoints go."""
        return self.flags.root_directory

    @property
    def log_dir(self) -> str:
        """The first logger's directory of this run; without a logger, `default_root_dir`."""
        directory = self.logger.log_dir if isinstance(self.logger, HasDirectory) else None
        return directory if directory is not None else self.default_root_dir

    def _first_callback(self, kind: type) -> Any:
        return next((callback for callback in self.callbacks if isinstance(callback, kind)), None)

    @property
    def checkpoint_callback(self) -> Any:
        """The first callback that saves checkpoints; None without one."""
        return self._first_callback(Checkpoint)

    @property
    def checkpoint_callbacks(self) -> list[Checkpoint]:
        """All callbacks that save checkpoints."""
        return [callback for callback in self.callbacks if isinstance(callback, Checkpoint)]

    @property
    def early_stopping_callback(self) -> Any:
        """The first callback that watches for an early stop; None without one."""
        return self._first_callback(EarlyStop)

    @property
    def progress_bar_callback(self) -> Any:
        """The progress bar; None without one."""
        return self._first_callback(Progress)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print from one process, above a progress bar."""
        if self.is_global_zero:
            print_above(self.callbacks, *args, **kwargs)

    # the processes

    @property
    def world_size(self) -> int:
        """How many processes run together."""
        return self.world.size

    @property
    def global_rank(self) -> int:
        """This process among all of the run's, from 0."""
        return self.world.rank

    @property
    def local_rank(self) -> int:
        """This process among its node's."""
        return ranks().local if self.world.size > 1 else 0

    @property
    def node_rank(self) -> int:
        """The node of this process."""
        return ranks().node if self.world.size > 1 else 0

    @property
    def is_global_zero(self) -> bool:
        """Is this the process that prints and writes?"""
        return self.world.rank == 0

    @property
    def num_devices(self) -> int:
        """Devices that a process uses."""
        return 1

    @property
    def device_ids(self) -> list[int]:
        """Their numbers."""
        return [0]


def _known(batches: int | None) -> int | float:
    """Return a number of batches; infinity where it is unknown."""
    return math.inf if batches is None else batches
