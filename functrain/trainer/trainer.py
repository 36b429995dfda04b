"""The Trainer: fit, validate, test, predict for the modules of every adapter.

Thin: it connects flags, data, hooks, loops.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from functrain.kernel.state import TrainState
from functrain.trainer import adapters, profiler_names, rows, running, stack
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import ckpt_path as ckpt_paths
from functrain.trainer.arguments import add_arguments, flags_of
from functrain.trainer.callback import Callback
from functrain.trainer.ckpt_path import BEST_IF_ANY, CkptPath, Default
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flag_checks import callbacks_of, max_time
from functrain.trainer.foreign import DATA_OF, RunLogger, check_datamodule
from functrain.trainer.functional import check_state
from functrain.trainer.hooks import Hooks
from functrain.trainer.identity import Identity
from functrain.trainer.interrupt import EXIT_TERMINATED
from functrain.trainer.loaders import Loaders
from functrain.trainer.metrics import Metrics
from functrain.trainer.overriding import overrides, warn_of_misspelt
from functrain.trainer.parsing import varied
from functrain.trainer.profiling import measuring, reported
from functrain.trainer.remarks import warn_of_no_tuning
from functrain.trainer.resetting import Resetting
from functrain.trainer.run import Run, in_order
from functrain.trainer.spans import measured
from functrain.trainer.stop import Stop
from functrain.trainer.world import find

_OF_RUNS = (
    "flags",
    "callbacks",
    "user_callbacks",
    "loggers",
    "_profiler",
    "run",
    "_fitted",
    "_evaluated",
    "_last",
    "_outer",
    "_busy",
)
"""What a Trainer has of a run, and another of one within it."""


class Trainer(Resetting):
    """Runs modules of any adapter. Every flag is a keyword; see `Flagged` for what each does.

    What it tells of a run are properties over `run`, the run under way or the last one: see `Readable`.

    Attributes:
        callbacks, loggers: in the order in which they are called.
    """

    def _connect(self) -> None:
        self.world = find()
        self.run: Run | None = None
        self._fitted: Run | None = None
        self._evaluated: dict[str, Loaders] = {}
        self._last: tuple[str, str | None] | None = None
        self._outer: Run | None = None
        self._busy = False
        self._has_tried = False
        self._take_callbacks()

    def _take_callbacks(self) -> None:
        """The callbacks, loggers and profiler of the flags."""
        self.profiler = profiler_names.find(self.flags.profiler)
        self.user_callbacks: list[Callback] = callbacks_of(self.flags.callbacks, "Trainer(callbacks=[%s])")
        for callback in self.user_callbacks:
            if overrides(callback, "on_init_start"):
                callback.on_init_start(self)
        default_callbacks, self.loggers = self.defaults()
        self.callbacks = in_order([*self.user_callbacks, *default_callbacks])
        for callback in self.callbacks:
            if overrides(callback, "on_init_end"):
                callback.on_init_end(self)

    def defaults(self) -> tuple[list[Callback], list[RunLogger]]:
        """Return the callbacks and loggers that the flags ask for; `functrain` itself knows them."""
        raise ConfigurationError(
            "functrain.trainer.trainer has the Trainer without its callbacks and loggers: use `from functrain import "
            "Trainer`, or that of functrain_torch or functrain_jax."
        )

    add_argparse_args = staticmethod(add_arguments)

    @classmethod
    def from_argparse_args(cls, args: Any, **flags: Any) -> Self:
        """Return a Trainer of parsed arguments, of which others than the flags are left alone; keywords win over
        them."""
        return cls(**flags_of(args, flags, cls.older_names))

    # what a user calls

    def fit(
        self,
        model: Any = None,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: CkptPath = None,
        *,
        state: TrainState | None = None,
    ) -> None:
        """Train a module. Each call is a run of its own, from epoch 0; to go on from one, give its checkpoint.

        Args:
            train_dataloaders: the training loader; default: the module's or data module's `train_dataloader()`.
            val_dataloaders: one loader, or a list of loaders; a list of batches is one loader in every stage.
            datamodule: an object with the loaders and data hooks; may also stand in the place of `train_dataloaders`.
            ckpt_path: continue from this checkpoint, at the very batch it was taken: a path; 'best'; or 'last', the
                newest that this Trainer wrote, else the newest in its ModelCheckpoint's directory, and a run from the
                start where there is none.
            state: begin with this state, at its position: one that `functional(module)` has made or moved, or that
                `load_state` has read. It stays valid.

        Raises:
            ConfigurationError: the module, a loader or a flag cannot work; says which and what to do.
            CheckpointError: the checkpoint cannot be read or is of another module.
        """
        train, val = train_dataloaders, val_dataloaders
        is_data = datamodule is None and train is not None and isinstance(train, DATA_OF["fit"])
        if is_data:
            train, datamodule = None, train
        are_both_given = datamodule is not None and (train is not None or val is not None)
        if are_both_given:
            raise ConfigurationError("trainer.fit: loaders and a datamodule were both given; give one of them.")
        if state is not None:
            check_state(state)
            if ckpt_path is not None:
                raise ConfigurationError("trainer.fit: a state and a ckpt_path were both given; give one of them.")
        if ckpt_path is None and state is None:
            ckpt_path = self.flags.resume_from_checkpoint
        ckpt_paths.given("fit", ckpt_path)
        run = self._fitted = self._attach("fit", model, datamodule)
        run.given = (train, val)
        with self._running(run):
            running.fit(run, ckpt_path, self.checkpoint_callbacks, state)

    def validate(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: CkptPath = None, datamodule: Any = None,
        verbose: bool = True,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Run the validation loop once. Return the logged metrics, a dict per loader.

        Args:
            model: default: the module of the last fit.
            ckpt_path: the weights to take: 'best', 'last' (the newest), a path; default: as they are.
        """
        return self._evaluate("validate", model, dataloaders, ckpt_path, datamodule, verbose)[0]

    def test(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: CkptPath | Default = BEST_IF_ANY,
        datamodule: Any = None, verbose: bool = True,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Run the test loop once. Return the logged metrics, a dict per loader.

        Args:
            model: default: the module of the last fit.
            ckpt_path: the weights to take: 'best', 'last' (the newest), a path, or None for those that the module has.
                Left out: the best of the last fit where no model is given and there is one, else as they are.

        Raises:
            ConfigurationError: 'best' or 'last' was asked for, and there is no such checkpoint.
        """
        return self._evaluate("test", model, dataloaders, ckpt_path, datamodule, verbose)[0]

    def predict(
        self, model: Any = None, dataloaders: Any = None, datamodule: Any = None, return_predictions: bool = True,
        ckpt_path: CkptPath | Default = BEST_IF_ANY,
    ) -> list[Any] | None:  # fmt: skip
        """Run predict_step over the loaders. Return its outputs, a list per loader where there are several.

        `model` and `ckpt_path` are those of `test`.
        """
        outputs = self._evaluate("predict", model, dataloaders, ckpt_path, datamodule, False, return_predictions)[1]
        if not return_predictions:
            return None
        return outputs[0] if len(outputs) == 1 else outputs

    def save_checkpoint(self, filepath: str | os.PathLike[str], weights_only: bool = False) -> None:
        """Write the state of the run to a file, whole or not at all. It is there when this returns.

        Only between steps: from a hook, or after the run. A run that continues from it does what was still to come,
        each hook of each callback once. Only a validation that has not published its metrics yet is done over, and in
        `on_train_batch_end` those are left out who come after the one that saved.
        """
        named = isinstance(filepath, str | os.PathLike)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not named or not os.fspath(filepath):
            raise ConfigurationError(f"trainer.save_checkpoint({filepath!r}): this names no file; give a path.")
        run, path = self.run, os.fspath(filepath)
        if run is None:
            raise ConfigurationError("trainer.save_checkpoint: nothing was run yet; call trainer.fit(module) first.")
        checkpoints.save(run, path, weights_only)

    @contextmanager
    def stacked(self, **flags: Any) -> Generator[None]:
        """Within it `fit` and its like may be called in a hook of a run under way, which is set aside: weights, modes,
        gradients, random states and loaders are put back afterwards, and the run goes on as if nothing had happened.

        Outside of a run it changes the flags for the time of the block, and the Trainer is as it was afterwards.

        What inner runs leave is gone with it: take what is to stay (`module.state_dict()`, metrics) before the block
        ends. A signal, or the end of the outer run's `max_time`, ends inner runs too.

        Args:
            flags: those of the inner runs; what is left out is the outer one's, but that inner runs have no loggers,
                callbacks (the module's `configure_callbacks` is not asked) and checkpoints, show nothing and check
                nothing first.
        """
        outer = self.run if self._busy else None
        before = {name: self.__dict__[name] for name in _OF_RUNS}
        inner = varied(self.flags, {**stack.QUIET, **flags})
        with stack.set_aside(outer):
            try:
                self.flags, self.run, self._fitted, self._outer, self._busy = inner, None, None, outer, False
                self._evaluated, self._last = {}, None
                self._take_callbacks()
                stack.check_own(outer, [*self.callbacks, *self.loggers])
                yield
            finally:
                self.__dict__.update(before)

    @contextmanager
    def trying(self, model: Any, datamodule: Any = None, *loaders: Any) -> Generator[None]:
        """Within it short fits of this module, in `stacked`, leave it and these loaders as they are now, as they do in
        a hook of a run. Within a run it is that run that is set aside.

        Raises:
            ConfigurationError: the module is of no adapter, or is not that of the run under way.
        """
        if self._busy:
            if model is not self.module:
                raise ConfigurationError(
                    f"trainer.tuner: a run of another module, {type(self.module).__name__}, is under way; use another "
                    "Trainer."
                )
            yield
            return
        make = adapters.find("tune", model, self.flags)
        check_datamodule("tune", datamodule)
        run = self._new_run("tune", model, datamodule)
        run.use(make(model, run))
        run.given = (loaders, ())
        before, self.run, self._busy, self._has_tried = self.run, run, True, True
        try:
            yield
        finally:
            self.run, self._busy = before, False

    # running

    def _attach(self, stage: str, model: Any, datamodule: Any) -> Run:
        """Return a run of this module, which becomes the Trainer's."""
        make = adapters.find(stage, model, self.flags)
        if self._busy:
            raise ConfigurationError(
                f"trainer.{stage}() was called while trainer.{self.stage}() of the same Trainer runs; call it "
                "afterwards, use another Trainer, or set the run aside meanwhile: `with trainer.stacked():`."
            )
        check_datamodule(stage, datamodule)
        if stage == "fit" and not self._has_tried:
            self._has_tried = True
            warn_of_no_tuning(self.flags)
        for owner in (model, datamodule, *self.callbacks):
            warn_of_misspelt(owner)
        run = self._new_run(stage, model, datamodule)
        # What may still refuse comes before anything of the Trainer changes.
        run.use(make(model, run))
        self._busy, self.run, self._last = True, run, (stage, None)
        running.attach(run)
        return run

    def _new_run(self, stage: str, model: Any, datamodule: Any) -> Run:
        before, outer = self.run, self._outer
        same_run = before is not None and stage != "fit" and model is before.module
        metrics = before.metrics if same_run and before is not None else Metrics()
        profiler = measuring(self.profiler)
        return Run(
            stage=stage,
            flags=self.flags,
            owner=self,
            module=model,
            datamodule=datamodule,
            callbacks=self.callbacks,
            loggers=self.loggers,
            metrics=metrics,
            hooks=Hooks(self, model, self.callbacks, datamodule, metrics, partial(measured, profiler)),
            profiler=profiler,
            identity=Identity() if stage == "fit" or before is None else before.identity,
            world=self.world,
            outer=outer,
            stop=Stop(
                max_time(self.flags.max_time) if stage == "fit" else None,
                alone=self.world.size == 1,
                outer=None if outer is None else outer.stop,
            ),
        )

    @contextmanager
    def _running(self, run: Run) -> Generator[None]:
        try:
            with reported(run), running.running(run):
                yield
        finally:
            self._busy, self._last = False, (run.stage, run.outcome)
            if run.stage != "fit" and run.val is not None:
                self._evaluated[run.stage] = run.val
        if run.stop.terminated and run.outer is None:
            raise SystemExit(EXIT_TERMINATED)

    def _evaluate(
        self,
        stage: str,
        model: Any,
        loaders: Any,
        ckpt_path: CkptPath | Default,
        datamodule: Any,
        verbose: bool,
        keeps_predictions: bool = True,
    ) -> tuple[list[dict[str, float]], list[Any]]:
        fitted = self._fitted
        wish = ckpt_paths.given(stage, ckpt_path)
        path = ckpt_paths.of_evaluation(stage, wish, self.checkpoint_callbacks, of_the_fit=model is None)
        if model is None:
            model = self.module if fitted is None else fitted.module
        if model is None:
            raise ConfigurationError(f"trainer.{stage}(): no module was given and none was fitted before.")
        is_data = datamodule is None and loaders is not None and isinstance(loaders, DATA_OF[stage])
        if is_data:
            loaders, datamodule = None, loaders
        if datamodule is None and model is self.module:
            datamodule = self.datamodule
        run = self._attach(stage, model, datamodule)
        run.keeps_predictions = keeps_predictions
        outputs: list[Any] = []
        with self._running(run):
            if fitted is not None and model is fitted.module:
                run.clock = fitted.clock
            outputs = running.evaluate(run, loaders, path, None if fitted is None else fitted.given[0])
        if fitted is not None and model is fitted.module:
            # What is saved or asked now is the fit's.
            self.run, fitted.stop = fitted, run.stop
        return rows.results(run, running.STAGE_OF[stage], len(outputs), verbose), outputs
