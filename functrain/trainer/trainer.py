"""The Trainer: fit, validate, test, predict for the modules of every adapter.

Thin: it connects flags, data, hooks, loops.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from functrain.kernel.plan import Plan, passed
from functrain.kernel.state import Clock
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import ckpt_path as ckpt_paths
from functrain.trainer import flags as flag_table
from functrain.trainer.arguments import add_arguments, flags_of
from functrain.trainer.ckpt_path import BEST_IF_ANY, CkptPath, Default
from functrain.trainer.data import TrainSource
from functrain.trainer.errors import ConfigurationError, beside, kind, nearest
from functrain.trainer.evaluate import end_stage, run_stage, sanity_check
from functrain.trainer.fit import FitLoop
from functrain.trainer.flag_checks import callbacks_of, max_time
from functrain.trainer.generators import continue_with
from functrain.trainer.hooks import Hooks, overrides, tell_misspelt
from functrain.trainer.identity import Identity
from functrain.trainer.interrupt import EXIT_TERMINATED, ended, graceful, under_way
from functrain.trainer.loaders import LoaderFinder, Loaders, either
from functrain.trainer.logbook import TRAIN, LogBook
from functrain.trainer.logger_states import begin_run, finalize
from functrain.trainer.outputs import Outputs
from functrain.trainer.planning import make_plan, windows_of

STAGE_OF = {"fit": "train", "validate": "validation", "test": "test", "predict": "predict"}
SHORT = {"validate": "val", "test": "test", "predict": "predict"}


def _not_assembled(trainer: Any) -> NoReturn:
    raise ConfigurationError(
        "functrain.trainer.trainer has the Trainer without its callbacks and loggers: use `from functrain import "
        "Trainer`, or that of functrain_torch or functrain_jax."
    )


class Trainer(Outputs):
    """Runs modules of any adapter. Every flag is a keyword; see `functrain.trainer.flags.Flags` for what each does.

    Attributes:
        defaults: gives the callbacks and loggers that the flags ask for; set by `functrain` itself.
        interrupted: Ctrl-C or SIGTERM ended the run.
        terminated: it was SIGTERM; the process ends when the run has.
        phase: of the run under way: 'set-up', 'run', 'end'.
        saved: the last checkpoint that this run can be continued from: its path and position.
        evaluated, evaluation_batches: of the evaluation under way: the batches done, and how many there are (None:
            unknown).
        should_stop: set it to end the run at the next batch, once the minima are met.
    """

    defaults: ClassVar[Callable[..., tuple[list[Any], list[Any]]]] = staticmethod(_not_assembled)

    def __init__(self, **flags: Any) -> None:
        self.flags = flag_table.parse(flags)
        self.user_callbacks: list[Any] = callbacks_of(self.flags.callbacks, "Trainer(callbacks=[%s])")
        for callback in self.user_callbacks:
            if overrides(callback, "on_init_start"):
                callback.on_init_start(self)
        self.should_stop = False
        self.interrupted = self.terminated = False
        self.saved: tuple[str, Clock] | None = None
        self.sanity_checking = False
        self.evaluated, self.evaluation_batches = 0, None
        self.module: Any = None
        self.datamodule: Any = None
        self.engine: Any = None
        self.loop: FitLoop | None = None
        self.stage: str | None = None
        self.book = LogBook()
        self.resumed_rng: dict[str, Any] | None = None
        self.identity = Identity()
        self.phase = "end"
        self._busy = False
        self._deadline: float | None = None
        self._val: Loaders | None = None
        self._given: tuple[Any, Any] = (None, None)
        default_callbacks, self.loggers = self.defaults(self)
        self.callbacks = in_order([*self.user_callbacks, *default_callbacks])
        self.hooks = Hooks(self, None, self.callbacks)
        for callback in self.callbacks:
            if overrides(callback, "on_init_end"):
                callback.on_init_end(self)

    add_argparse_args = staticmethod(add_arguments)

    @classmethod
    def from_argparse_args(cls, args: Any, **flags: Any) -> Trainer:
        """A Trainer of parsed arguments, of which others than the flags are left alone; keywords win over them."""
        return cls(**flags_of(args, flags))

    def __getattr__(self, name: str) -> Any:
        if name in flag_table.NAMES:
            return getattr(self.__dict__["flags"], name)
        if name in flag_table.LATER:
            return flag_table.LATER[name]
        raise AttributeError(
            f"Trainer has no attribute {name!r}.{nearest(name, [*dir(type(self)), *flag_table.NAMES])}"
        )

    # what a user calls

    def fit(
        self,
        model: Any = None,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: CkptPath = None,
        *,
        train_dataloader: Any = None,
        val_dataloader: Any = None,
    ) -> None:
        """Train a module. Each call is a run of its own, from epoch 0; to go on from one, give its checkpoint.

        Args:
            train_dataloaders: the training loader; default: the module's or data module's `train_dataloader()`.
            val_dataloaders: one loader, or a list of loaders; a list of batches is one loader in every stage.
            datamodule: an object with the loaders and data hooks; may also stand in the place of `train_dataloaders`.
            ckpt_path: continue from this checkpoint, at the very batch it was taken: a path; 'best'; or 'last', the
                newest that this Trainer wrote, else the newest in its ModelCheckpoint's directory, and a run from the
                start where there is none.
            train_dataloader, val_dataloader: older names of the arguments.

        Raises:
            ConfigurationError: the module, a loader or a flag cannot work; says which and what to do.
            CheckpointError: the checkpoint cannot be read or is of another module.
        """
        train = either("train_dataloaders", train_dataloaders, "train_dataloader", train_dataloader)
        val = either("val_dataloaders", val_dataloaders, "val_dataloader", val_dataloader)
        if datamodule is None and train is not None and hasattr(train, "train_dataloader"):
            train, datamodule = None, train
        if datamodule is not None and (train is not None or val is not None):
            raise ConfigurationError("trainer.fit: loaders and a datamodule were both given; give one of them.")
        ckpt_path = self.flags.resume_from_checkpoint if ckpt_path is None else ckpt_path
        ckpt_paths.given("fit", ckpt_path)
        with self._running("fit", model, datamodule):
            self._fit(train, val, ckpt_path)

    def validate(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: CkptPath = None, datamodule: Any = None,
        verbose: bool = True, *, val_dataloaders: Any = None,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Run the validation loop once; gives the logged metrics, a dict per loader.

        Args:
            model: default: the module of the last fit.
            ckpt_path: the weights to take: 'best', 'last' (the newest), a path; default: as they are.
        """
        loaders = either("dataloaders", dataloaders, "val_dataloaders", val_dataloaders)
        return self._evaluate("validate", model, loaders, ckpt_path, datamodule, verbose)[0]

    def test(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: CkptPath | Default = BEST_IF_ANY,
        datamodule: Any = None, verbose: bool = True, *, test_dataloaders: Any = None,
        test_dataloader: Any = None,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Run the test loop once; gives the logged metrics, a dict per loader.

        Args:
            model: default: the module of the last fit.
            ckpt_path: the weights to take: 'best', 'last' (the newest), a path, or None for those that the module has.
                Left out: the best of the last fit where no model is given and there is one, else as they are.

        Raises:
            ConfigurationError: 'best' or 'last' was asked for, and there is no such checkpoint.
        """
        loaders = either("dataloaders", dataloaders, "test_dataloaders", test_dataloaders)
        loaders = either("dataloaders", loaders, "test_dataloader", test_dataloader)
        return self._evaluate("test", model, loaders, ckpt_path, datamodule, verbose)[0]

    def predict(
        self, model: Any = None, dataloaders: Any = None, datamodule: Any = None, return_predictions: bool = True,
        ckpt_path: CkptPath | Default = BEST_IF_ANY,
    ) -> list[Any] | None:  # fmt: skip
        """Run predict_step over the loaders; gives its outputs, a list per loader where there are several.

        `model` and `ckpt_path` are those of `test`.
        """
        outputs = self._evaluate("predict", model, dataloaders, ckpt_path, datamodule, False)[1]
        if not return_predictions:
            return None
        return outputs[0] if len(outputs) == 1 else outputs

    def save_checkpoint(self, filepath: str | os.PathLike[str], weights_only: bool = False) -> None:
        """Write the state of the run to a file, whole or not at all.

        Only between steps: from a hook, or after the run. A run that continues from it does what was still to come,
        each hook of each callback once. Only a validation that has not published its metrics yet is done over, and in
        `on_train_batch_end` those are left out who come after the one that saved.
        """
        if not isinstance(filepath, str | os.PathLike) or not os.fspath(filepath):
            raise ConfigurationError(f"trainer.save_checkpoint({filepath!r}): this names no file; give a path.")
        checkpoints.save(self, os.fspath(filepath), weights_only)
        if not weights_only:
            self.saved = (os.fspath(filepath), self.engine.clock)

    # running

    @contextmanager
    def _running(self, stage: str, model: Any, datamodule: Any) -> Iterator[None]:
        """Set up a stage, and take it down whatever happens."""
        self._attach(stage, model, datamodule)
        try:
            with graceful(self._interrupt, lambda: under_way(self), self.engine.compiled):
                self._prepare()
                yield
            self._finish("interrupted" if self.interrupted else "success")
        except KeyboardInterrupt:
            self.interrupted = True
            self.hooks.call("on_keyboard_interrupt")
            self._end_training()
            self._finish("interrupted")
        except BaseException as error:
            # The first error is the one to be seen; what fails after it is noted.
            with beside(error):
                self.hooks.call("on_exception", error)
            with beside(error):
                self._finish("failed")
            raise
        finally:
            self.identity.let_go()
            self._busy = False
        if self.terminated:
            raise SystemExit(EXIT_TERMINATED)

    def _attach(self, stage: str, model: Any, datamodule: Any) -> None:
        if isinstance(model, type):
            raise ConfigurationError(f"trainer.{stage}({model.__name__}): this is a class; give an instance of it.")
        if model is None:
            raise ConfigurationError(
                f"trainer.{stage}(): no module was given; give an instance of functrain_torch.LightningModule or "
                "functrain_jax.Module."
            )
        if not hasattr(model, "make_engine"):
            raise ConfigurationError(
                f"trainer.{stage}({type(model).__name__}): not a module of any adapter; subclass "
                "functrain_torch.LightningModule or functrain_jax.Module."
            )
        if self._busy:
            raise ConfigurationError(
                f"trainer.{stage}() was called while trainer.{self.stage}() of the same Trainer runs; call it "
                "afterwards, or use another Trainer."
            )
        if isinstance(datamodule, type):
            raise ConfigurationError(
                f"trainer.{stage}(datamodule={datamodule.__name__}): this is a class; give an instance of it."
            )
        if datamodule is not None and not hasattr(datamodule, "__dict__"):
            raise ConfigurationError(
                f"trainer.{stage}(datamodule={datamodule!r}): {kind(datamodule)} is no data module; give an object "
                "with train_dataloader() and its like."
            )
        for owner in (model, datamodule, *self.callbacks):
            tell_misspelt(owner)
        # What may still refuse comes before anything of the Trainer changes.
        engine, hooks = model.make_engine(self), Hooks(self, model, self.callbacks, datamodule)
        self._busy = True
        same_run = stage != "fit" and model is self.module
        self.stage, self.module, self.datamodule = stage, model, datamodule
        self.interrupted = self.terminated = self.should_stop = False
        self.saved = None
        self.phase = "set-up"
        if stage == "fit":
            self.identity = Identity()
        model.trainer = self
        if datamodule is not None:
            datamodule.trainer = self
        self.engine = engine
        if not same_run:
            self.book = LogBook()
        self.book.serve(model, self.engine, rows=bool(self.loggers))
        self.hooks = hooks

    def _prepare(self) -> None:
        model, datamodule = self.module, self.datamodule
        for owner in (datamodule, model):
            if owner is not None and overrides(owner, "prepare_data"):
                owner.prepare_data()
        if overrides(model, "configure_callbacks"):
            given = callbacks_of(model.configure_callbacks(), f"{type(model).__name__}.configure_callbacks(): [%s]")
            kinds = {type(callback) for callback in given}
            self.callbacks = in_order([*(c for c in self.callbacks if type(c) not in kinds), *given])
            self.hooks = Hooks(self, model, self.callbacks, datamodule)
        self.loaders = LoaderFinder(self.flags, (datamodule, model), self.hooks, self.engine)

    def _set_up(self, stage: str) -> None:
        """The hooks and moves at the beginning of every stage."""
        self.hooks.call("on_before_accelerator_backend_setup")
        if stage == "fit":
            self.hooks.call("on_fit_start")
        self.hooks.call("setup", stage)
        self.hooks.call("configure_sharded_model")
        self.engine.setup(stage)
        self.book.start(STAGE_OF[stage])
        self.hooks.call("on_post_move_to_device")

    def _fit(self, train: Any, val: Any, wish: CkptPath) -> None:
        self._deadline = max_time(self.flags.max_time)
        self._deadline = None if self._deadline is None else time.monotonic() + self._deadline
        ckpt_path = ckpt_paths.of_fit(wish, self.checkpoint_callbacks)
        self._set_up("fit")
        if wish == ckpt_paths.LAST and ckpt_path is None:
            ckpt_path = ckpt_paths.newest(ckpt_paths.standing(self.checkpoint_callbacks, self.engine.suffix))
            if ckpt_path is None:
                self.print("fit(ckpt_path='last'): there is no checkpoint yet, so the run starts from the beginning.")
        self.engine.configure()
        saved = checkpoints.load(self, ckpt_path, weights_only=False) if ckpt_path else None
        if saved is None:
            begin_run(self.loggers)
        self._write_hyperparameters()
        self.hooks.call("on_pretrain_routine_start")
        self._given = (train, val)
        self._val = self.loaders.validation(val, train)
        self.hooks.call("on_pretrain_routine_end")
        if saved is None:
            sanity_check(self, self._val)
        source = self.loaders.train(train)
        plan = self._plan(source)
        self.loop = FitLoop(self, plan, source)
        self.engine.start(plan, self.loop.wants_outputs)
        if saved is not None:
            checkpoints.continue_from(self, self.loop, saved, str(ckpt_path))
        self.book.begin(TRAIN, in_step=False)
        self.phase = "run"
        self.hooks.call("on_train_start")
        with checkpoints.naming(str(ckpt_path)):
            self.restore_rng()
        self.loop.run()
        if self.interrupted:
            self.hooks.call("on_keyboard_interrupt")
            for _, save in self.acting("checkpoint"):
                save(self, self.module, "interrupt")
        self._end_training()

    def _end_training(self) -> None:
        """The last hooks of a fit that had begun to train, also after Ctrl-C."""
        if self.training:
            in_training, self.phase = self.interrupted, "end"
            self.hooks.call("on_train_end")
            self.hooks.call("on_fit_end")
            if self.interrupted:
                self.print(ended(self, in_training))

    def _evaluate(
        self, stage: str, model: Any, loaders: Any, ckpt_path: CkptPath | Default, datamodule: Any, verbose: bool
    ) -> tuple[list[dict[str, float]], list[Any]]:
        fitted = self.module if self.loop is None else self.loop.module
        wish = ckpt_paths.given(stage, ckpt_path)
        path = ckpt_paths.of_evaluation(stage, wish, self.checkpoint_callbacks, of_the_fit=model is None)
        model = model if model is not None else fitted
        if model is None:
            raise ConfigurationError(f"trainer.{stage}(): no module was given and none was fitted before.")
        if datamodule is None and loaders is not None and hasattr(loaders, f"{SHORT[stage]}_dataloader"):
            loaders, datamodule = None, loaders
        if datamodule is None and model is self.module:
            datamodule = self.datamodule
        outputs: list[Any] = []
        fit = self.loop.engine if self.loop is not None and model is fitted else None
        with self._running(stage, model, datamodule):
            if fit is not None:
                self.engine.clock = fit.clock
            self._set_up(stage)
            if path:
                checkpoints.load(self, path, weights_only=True)
            found, limits = self.loaders.evaluation(SHORT[stage], loaders, self._given[0])
            self.phase = "run"
            outputs = run_stage(self, STAGE_OF[stage], found, limits) or []
            if not self.interrupted:
                end_stage(self, STAGE_OF[stage])
        if fit is not None:
            self.engine = fit
        return self._results(STAGE_OF[stage], len(outputs), verbose), outputs

    def _finish(self, status: str) -> None:
        """Leave the values in the module, tell hooks and loggers."""
        self.sanity_checking, self.phase = False, "end"
        whole = False
        try:
            self.engine.finish()
            self.hooks.call("teardown", self.stage)
            whole = True
        finally:
            self.module._sink = None
            # A teardown that fails makes a failed run of a good one, which is finished as such.
            if whole or status == "failed":
                finalize(self.loggers, status)

    # parts of a fit

    def run_validation(self) -> bool:
        """One pass of validation inside a fit, up to its published metrics; False where Ctrl-C ended it before."""
        assert self._val is not None
        return run_stage(self, "validation", *self._val) is not None

    @property
    def val_loaders(self) -> Sequence[Any]:
        """The validation loaders of the fit."""
        return () if self._val is None else self._val[0]

    def reload_train_source(self, loop: FitLoop) -> None:
        """Ask for the loaders again, where the flag says so and an epoch starts."""
        every, epoch = self.flags.reload_dataloaders_every_n_epochs, self.current_epoch
        if every and epoch and passed(every, epoch - 1, epoch):
            loop.source = self.loaders.train(self._given[0])
            loop.plan = self.engine.plan = self._plan(loop.source)
            self._val = self.loaders.validation(*reversed(self._given))

    def _plan(self, source: TrainSource) -> Plan:
        intervals = [n for callback in self.callbacks if (n := getattr(callback, "every_n_updates", lambda: None)())]
        logs = bool(self.loggers or self.acting("log_step"))
        windows, batches = windows_of(self.flags, self.callbacks), self.loaders.cap(source.batches)
        several = not (self.hooks.per_batch or self.engine.per_batch)
        passes_logs = logs and several and self.engine.passes_logs and self.logs_may_lag
        return make_plan(self.flags, batches, self.engine.players(), intervals, windows, logs, passes_logs)

    # continuing

    def restore_rng(self) -> None:
        """The random state of the checkpoint that the run continues from, once, right before the first batch."""
        if self.resumed_rng is not None:
            continue_with(self, self.resumed_rng)
            self.resumed_rng = None

    # small things

    @property
    def validates(self) -> bool:
        """Does this fit validate?"""
        return self._val is not None

    @property
    def training(self) -> bool:
        """Is a fit between `on_train_start` and `on_train_end`?"""
        return self.stage == "fit" and self.phase == "run"

    def out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _interrupt(self, number: int) -> None:
        self.interrupted = True
        self.terminated = self.terminated or number == signal.SIGTERM

    @property
    def current_epoch(self) -> int:
        """Epochs finished; in an epoch's own hooks, the number of that epoch from 0."""
        return self.engine.clock.epoch if self.engine is not None else 0

    @property
    def global_step(self) -> int:
        """Updates done: one a window, however many optimizers."""
        return self.engine.clock.update if self.engine is not None else 0

    global_rank = local_rank = node_rank = 0
    world_size = 1
    is_global_zero = True


def in_order(callbacks: list[Any]) -> list[Any]:
    """Callbacks in the order given, those that save checkpoints last."""
    return sorted(callbacks, key=lambda callback: hasattr(callback, "best_model_path"))


Trainer.__signature__ = flag_table.signature()  # type: ignore[attr-defined]
