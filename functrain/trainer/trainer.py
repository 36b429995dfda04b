"""The Trainer: fit, validate, test, predict for the modules of every adapter.

Thin: it connects flags, data, hooks, loops.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from functrain.seed import isolate_rng, set_rng_state
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import flags as flag_table
from functrain.trainer.data import TrainSource, as_loaders, evaluation_limits
from functrain.trainer.errors import CheckpointError, ConfigurationError, nearest
from functrain.trainer.evaluate import run_stage
from functrain.trainer.fit import FitLoop
from functrain.trainer.hooks import Hooks, overrides
from functrain.trainer.interrupt import graceful
from functrain.trainer.logbook import LogBook
from functrain.trainer.metrics_out import MetricsMixin
from functrain.trainer.planning import make_plan, max_epochs

STAGE_OF = {"fit": "train", "validate": "validation", "test": "test", "predict": "predict"}


class Trainer(MetricsMixin):
    """Runs modules of any adapter. Every flag is a keyword; see `functrain.trainer.flags.Flags` for what each does.

    Attributes:
        defaults: gives the callbacks and loggers that the flags ask for; set by `functrain` itself.
        interrupted: Ctrl-C ended the run.
        should_stop: set it to end the run at the next batch, once the minima are met.
    """

    defaults: ClassVar[Callable[[Any], tuple[list[Any], list[Any]]]] = staticmethod(lambda trainer: ([], []))

    def __init__(self, **flags: Any) -> None:
        self.flags = flag_table.parse(flags)
        given = self.flags.callbacks
        self.user_callbacks: list[Any] = (
            list(given) if isinstance(given, list | tuple) else [given] if given is not None else []
        )
        for callback in self.user_callbacks:
            if overrides(callback, "on_init_start"):
                callback.on_init_start(self)
        self.should_stop = False
        self.interrupted = False
        self.sanity_checking = False
        self.validates = False
        self.module: Any = None
        self.datamodule: Any = None
        self.engine: Any = None
        self.loop: FitLoop | None = None
        self.stage: str | None = None
        self.book = LogBook()
        self._rng: dict[str, Any] | None = None
        self._deadline: float | None = None
        self._val: tuple[Sequence[Any], Sequence[int | None]] = ((), ())
        default_callbacks, self.loggers = self.defaults(self)
        self.callbacks = in_order([*self.user_callbacks, *default_callbacks])
        self.hooks = Hooks(self, None, self.callbacks)
        for callback in self.callbacks:
            if overrides(callback, "on_init_end"):
                callback.on_init_end(self)

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
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: str | None = None,
        *,
        train_dataloader: Any = None,
        val_dataloader: Any = None,
    ) -> None:
        """Train a module.

        Args:
            train_dataloaders: the training loader; default: the module's or data module's `train_dataloader()`.
            val_dataloaders: one validation loader or a list of them.
            datamodule: an object with the loaders and data hooks; may also stand in the place of `train_dataloaders`.
            ckpt_path: continue from this checkpoint, at the very batch it was taken.
            train_dataloader, val_dataloader: older names of the arguments.

        Raises:
            ConfigurationError: the module, a loader or a flag cannot work; says which and what to do.
            CheckpointError: the checkpoint cannot be read or is of another module.
        """
        train = self._either("train_dataloaders", train_dataloaders, "train_dataloader", train_dataloader)
        val = self._either("val_dataloaders", val_dataloaders, "val_dataloader", val_dataloader)
        if datamodule is None and train is not None and hasattr(train, "train_dataloader"):
            train, datamodule = None, train
        ckpt_path = ckpt_path or self.flags.resume_from_checkpoint
        with self._running("fit", model, datamodule):
            self._fit(train, val, ckpt_path)

    def validate(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: str | None = None, datamodule: Any = None,
        verbose: bool = True, *, val_dataloaders: Any = None,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Run the validation loop once; gives the logged metrics, a dict per loader."""
        loaders = self._either("dataloaders", dataloaders, "val_dataloaders", val_dataloaders)
        return self._evaluate("validate", model, loaders, ckpt_path, datamodule, verbose)[0]

    def test(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: str | None = "best", datamodule: Any = None,
        verbose: bool = True, *, test_dataloaders: Any = None, test_dataloader: Any = None,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Run the test loop once; gives the logged metrics, a dict per loader.

        Args:
            model: default: the module of the last fit, with the best checkpoint's weights where there is one.
            ckpt_path: 'best', a path, or None for the weights as they are. With a model given, 'best' is not looked
                for.
        """
        loaders = self._either("dataloaders", dataloaders, "test_dataloaders", test_dataloaders)
        loaders = self._either("dataloaders", loaders, "test_dataloader", test_dataloader)
        if model is not None and ckpt_path == "best":
            ckpt_path = None
        return self._evaluate("test", model, loaders, ckpt_path, datamodule, verbose)[0]

    def predict(
        self, model: Any = None, dataloaders: Any = None, datamodule: Any = None, return_predictions: bool = True,
        ckpt_path: str | None = "best",
    ) -> list[Any] | None:  # fmt: skip
        """Run predict_step over the loaders; gives its outputs, a list per loader where there are several."""
        if model is not None and ckpt_path == "best":
            ckpt_path = None
        outputs = self._evaluate("predict", model, dataloaders, ckpt_path, datamodule, False)[1]
        if not return_predictions:
            return None
        return outputs[0] if len(outputs) == 1 else outputs

    def save_checkpoint(self, filepath: str | os.PathLike[str], weights_only: bool = False) -> None:
        """Write the state of the run to a file, whole or not at all.

        Only between steps: from a hook, or after the run.
        """
        if self.engine is None:
            raise ConfigurationError("trainer.save_checkpoint: nothing was run yet; call trainer.fit(module) first.")
        path = os.fspath(filepath)
        self.engine.write(path, checkpoints.assemble(self, weights_only))
        for logger in self.loggers:
            logger.after_save_checkpoint(path)

    # running

    @contextmanager
    def _running(self, stage: str, model: Any, datamodule: Any) -> Iterator[None]:
        """Set up a stage, and take it down whatever happens."""
        self._attach(stage, model, datamodule)
        try:
            with graceful(self._interrupt):
                yield
            self._finish()
        except KeyboardInterrupt:
            self._interrupt()
            self.hooks.call("on_keyboard_interrupt")
            self._finish("interrupted")
        except BaseException as error:
            self.hooks.call("on_exception", error)
            self._finish("failed")
            raise

    def _attach(self, stage: str, model: Any, datamodule: Any) -> None:
        if not hasattr(model, "make_engine"):
            raise ConfigurationError(
                f"trainer.{stage}({type(model).__name__}): not a module of any adapter; subclass "
                "functrain_torch.LightningModule or functrain_jax.Module."
            )
        self.stage, self.module, self.datamodule = stage, model, datamodule
        self.interrupted = self.should_stop = False
        model.trainer = self
        if datamodule is not None:
            datamodule.trainer = self
        self.engine = model.make_engine(self)
        self.book = LogBook()
        self.book.sizes = self.engine.batch_size
        model._sink = self.book
        for owner in (datamodule, model):
            if owner is not None and overrides(owner, "prepare_data"):
                owner.prepare_data()
        given = model.configure_callbacks() if overrides(model, "configure_callbacks") else None
        given = list(given) if isinstance(given, list | tuple) else [given] if given is not None else []
        kinds = {type(callback) for callback in given}
        self.callbacks = in_order([*(c for c in self.callbacks if type(c) not in kinds), *given])
        self.hooks = Hooks(self, model, self.callbacks, datamodule)

    def _set_up(self, stage: str) -> None:
        """The hooks and moves at the beginning of every stage."""
        self.hooks.call("on_before_accelerator_backend_setup")
        if stage == "fit":
            self.hooks.call("on_fit_start")
        self.hooks.call("setup", stage)
        self.hooks.call("configure_sharded_model")
        self.engine.setup(stage)
        self.hooks.call("on_post_move_to_device")

    def _fit(self, train: Any, val: Any, ckpt_path: str | None) -> None:
        self._deadline = flag_table.max_time(self.flags.max_time)
        self._deadline = None if self._deadline is None else time.monotonic() + self._deadline
        self._set_up("fit")
        self.engine.configure()
        saved = self._load(ckpt_path, weights_only=False) if ckpt_path else None
        self._write_hyperparameters()
        self.hooks.call("on_pretrain_routine_start")
        self._find_val_loaders(val, train)
        self.hooks.call("on_pretrain_routine_end")
        self._sanity_check()
        source = self._train_source(train)
        intervals = [n for callback in self.callbacks if (n := getattr(callback, "every_n_updates", lambda: None)())]
        plan = make_plan(self.flags, self._cap(source.batches), self.engine.players(), intervals)
        self.loop = FitLoop(self, plan, source)
        self._given_train = train
        self.engine.start(plan, self.loop.wants_outputs)
        if saved is not None:
            self._continue_from(saved, str(ckpt_path))
        self.hooks.call("on_train_start")
        self.restore_rng()
        self.loop.run()
        if self.interrupted:
            self.hooks.call("on_keyboard_interrupt")
            self.each_callback("checkpoint", "interrupt")
        self.hooks.call("on_train_end")
        self.hooks.call("on_fit_end")

    def _evaluate(
        self, stage: str, model: Any, loaders: Any, ckpt_path: str | None, datamodule: Any, verbose: bool
    ) -> tuple[list[dict[str, float]], list[Any]]:
        last = self.module
        model = model if model is not None else last
        if model is None:
            raise ConfigurationError(f"trainer.{stage}(): no module was given and none was fitted before.")
        if datamodule is None and loaders is not None and hasattr(loaders, f"{_short(stage)}_dataloader"):
            loaders, datamodule = None, loaders
        if datamodule is None and model is last:
            datamodule = self.datamodule
        path = self._best_path() if ckpt_path == "best" else ckpt_path
        outputs: list[Any] = []
        kept = (self.engine, self.loop)
        with self._running(stage, model, datamodule):
            self._set_up(stage)
            if path:
                self._load(path, weights_only=True)
            given = self._loaders(_short(stage), loaders)
            if not given:
                raise ConfigurationError(
                    f"trainer.{stage}(): no loader was given, and {type(model).__name__} has no "
                    f"{_short(stage)}_dataloader."
                )
            how_much = self.flags.fast_dev_run * 1 or getattr(self.flags, f"limit_{_short(stage)}_batches")
            outputs = run_stage(self, STAGE_OF[stage], given, evaluation_limits(given, how_much, STAGE_OF[stage]))
        if kept[1] is not None and model is last:
            self.engine, self.loop = kept
        return self._results(STAGE_OF[stage], len(outputs), verbose), outputs

    def _finish(self, status: str = "success") -> None:
        """Leave the values in the module, tell hooks and loggers."""
        self.engine.finish()
        self.hooks.call("teardown", self.stage)
        for logger in self.loggers:
            logger.save()
            if status != "success":
                logger.finalize(status)
        self.module._sink = None

    # parts of a fit

    def run_validation(self) -> None:
        """One pass of validation inside a fit."""
        loaders, limits = self._val
        run_stage(self, "validation", loaders, limits)

    def _sanity_check(self) -> None:
        """A few validation batches before training; leaves no trace in metrics or random state."""
        n = self.flags.num_sanity_val_steps
        if not self.validates or n == 0 or self.flags.fast_dev_run:
            return
        loaders, limits = self._val
        if n > 0:
            limits = [n if limit is None else min(n, limit) for limit in limits]
        self.sanity_checking = True
        self.hooks.call("on_sanity_check_start")
        with isolate_rng():
            run_stage(self, "validation", loaders, limits)
        self.hooks.call("on_sanity_check_end")
        self.sanity_checking = False
        self.book.reset("validation")

    def _find_val_loaders(self, val: Any, train: Any) -> None:
        self.validates = False
        if not overrides(self.module, "validation_step") or self.flags.limit_val_batches == 0:
            return
        overfit = self.flags.overfit_batches
        loaders = [self.engine.unshuffled(self._train_loader(train))] if overfit else self._loaders("val", val)
        if not loaders:
            return
        how_much = self.flags.fast_dev_run * 1 or overfit or self.flags.limit_val_batches
        self._val = (loaders, evaluation_limits(loaders, how_much, "validation"))
        self.validates = True

    def _train_loader(self, train: Any) -> Any:
        if train is not None:
            return train
        for owner in (self.datamodule, self.module):
            if owner is not None and overrides(owner, "train_dataloader"):
                self.hooks.call("on_train_dataloader")
                return owner.train_dataloader()
        raise ConfigurationError(
            f"trainer.fit({type(self.module).__name__}): no training loader; give train_dataloaders=..., a "
            "datamodule, or define "
            "train_dataloader."
        )

    def _train_source(self, train: Any) -> TrainSource:
        loader = self._train_loader(train)
        overfit = self.flags.overfit_batches
        if overfit:
            loader = self.engine.unshuffled(loader)
        return TrainSource(loader, overfit or self.flags.limit_train_batches, self.engine)

    def reload_train_source(self, loop: FitLoop) -> None:
        """Ask for the loaders again, where the flag says so and an epoch starts."""
        every, epoch = self.flags.reload_dataloaders_every_n_epochs, self.current_epoch
        if every and epoch and epoch % every == 0:
            loop.source = self._train_source(self._given_train)
            loop.plan = loop.plan._replace(batches=self._cap(loop.source.batches))
            self._find_val_loaders(None, self._given_train)

    def _cap(self, batches: int | None) -> int | None:
        n = self.flags.fast_dev_run * 1
        return batches if not n else n if batches is None else min(n, batches)

    def _loaders(self, short: str, given: Any) -> list[Any]:
        if given is None:
            for owner in (self.datamodule, self.module):
                if owner is not None and overrides(owner, f"{short}_dataloader"):
                    self.hooks.call(f"on_{short}_dataloader")
                    given = getattr(owner, f"{short}_dataloader")()
                    break
        return as_loaders(given)

    # continuing

    def _load(self, path: str | os.PathLike[str], weights_only: bool) -> dict[str, Any]:
        path = os.fspath(path)
        saved = checkpoints.check_format(self.engine.read(path), path)
        for owner in (self.datamodule, self.module):
            if owner is not None and overrides(owner, "on_load_checkpoint"):
                owner.on_load_checkpoint(saved)
        try:
            self.engine.restore(saved, weights_only)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return saved

    def _continue_from(self, saved: dict[str, Any], path: str) -> None:
        assert self.loop is not None
        self.engine.clock = checkpoints.clock_of(saved, path)
        self.loop.load_state(saved["loop"])
        self.book.published.update(saved["loop"]["published"])
        self.should_stop = saved["loop"]["should_stop"]
        checkpoints.restore_callbacks(self, saved)
        if self.datamodule is not None and "datamodule" in saved:
            self.datamodule.load_state_dict(saved["datamodule"])
        self._rng = saved["rng"]
        self.print(f"Continuing from {path}: epoch {self.engine.clock.epoch}, batch {self.engine.clock.batch}.")

    def restore_rng(self) -> None:
        """The random state of the checkpoint that the run continues from, once, right before the first batch."""
        if self._rng is not None:
            set_rng_state(self._rng)
            self._rng = None

    def loop_state(self) -> dict[str, Any]:
        """The loop's part of a checkpoint, with what callbacks may still read."""
        if self.loop is None:
            raise ConfigurationError("trainer.save_checkpoint: nothing was trained; use weights_only=True.")
        return {**self.loop.state(), "published": dict(self.book.published), "should_stop": self.should_stop}

    def _best_path(self) -> str | None:
        callback = self.checkpoint_callback
        return (getattr(callback, "best_model_path", "") or None) if callback is not None else None

    # small things

    def each_callback(self, name: str, moment: str) -> None:
        """One of the Trainer's own events, for every callback that acts at it."""
        for callback in self.callbacks:
            if overrides(callback, name):
                getattr(callback, name)(self, self.module, moment)

    @property
    def tick_seconds(self) -> float | None:
        """How often a callback wants to be looked at; None where none does."""
        wishes = [s for c in self.callbacks if (s := getattr(c, "tick_seconds", None)) is not None]
        return min(wishes, default=None)

    def tick(self) -> None:
        """The host has control: callbacks that show progress may act."""
        for callback in self.callbacks:
            if getattr(callback, "tick_seconds", None) is not None:
                callback.tick(self, self.module)

    def out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _interrupt(self) -> None:
        self.interrupted = True

    def _either(self, new: str, a: Any, old: str, b: Any) -> Any:
        if a is not None and b is not None:
            raise ConfigurationError(f"{new}=... and {old}=... were both given: they are names of one argument.")
        return a if a is not None else b

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print from one process, above a progress bar."""
        bar = self.progress_bar_callback
        (bar.print if bar is not None else print)(*args, **kwargs)

    @property
    def current_epoch(self) -> int:
        """Epochs finished; in an epoch's own hooks, the number of that epoch from 0."""
        return self.engine.clock.epoch if self.engine is not None else 0

    @property
    def global_step(self) -> int:
        """Updates done: one a window, however many optimizers."""
        return self.engine.clock.update if self.engine is not None else 0

    @property
    def max_epochs(self) -> int | None:
        return max_epochs(self.flags)

    global_rank = local_rank = node_rank = 0
    world_size = 1
    is_global_zero = True


def in_order(callbacks: list[Any]) -> list[Any]:
    """Callbacks in the order given, those that save checkpoints last."""
    return sorted(callbacks, key=lambda callback: hasattr(callback, "best_model_path"))


def _short(stage: str) -> str:
    return "val" if stage == "validate" else stage


Trainer.__signature__ = flag_table.signature()  # type: ignore[attr-defined]
