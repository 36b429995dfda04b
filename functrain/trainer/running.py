"""How a run goes, from its setting up to its taking down: a fit, an evaluation. Plain functions over a Run, in the
order in which they are called; what a user calls is in `trainer.py`."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from functrain.kernel.state import Clock, TrainState
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import ckpt_path as ckpt_paths
from functrain.trainer import manifest, profiling, rows
from functrain.trainer.callback import Checkpoint
from functrain.trainer.ckpt_path import CkptPath
from functrain.trainer.data import TrainSource
from functrain.trainer.errors import CheckpointError, note_secondary
from functrain.trainer.evaluate import end_stage, run_stage, sanity_check
from functrain.trainer.events import Moment
from functrain.trainer.fit import FitLoop
from functrain.trainer.flag_checks import callbacks_of
from functrain.trainer.hooks import Hooks
from functrain.trainer.interrupt import ended, graceful, under_way
from functrain.trainer.loaders import LoaderFinder, RandomState
from functrain.trainer.logger_states import begin_run, finalize, share
from functrain.trainer.module import give_back, runner_of, set_context
from functrain.trainer.narrow import class_of
from functrain.trainer.overriding import overrides
from functrain.trainer.planning import plan_of
from functrain.trainer.random_states import continue_with, load_random_state, random_state
from functrain.trainer.run import Run, in_order
from functrain.trainer.world import on_first

STAGE_OF = {"fit": "train", "validate": "validation", "test": "test", "predict": "predict"}
SHORT = {"validate": "val", "test": "test", "predict": "predict"}


def attach(run: Run) -> None:
    """Have this run be the one that runs its module, until it is over."""
    run.around = runner_of(run.module)
    run.module.trainer = run.owner
    if run.datamodule is not None:
        run.datamodule.trainer = run.owner
    run.metrics.serve(run.module, run.inspector, rows=bool(run.loggers))
    if run.around[1] is not None:
        run.metrics.objects.set_aside()
    set_context(run.module, run.context)


@contextmanager
def running(run: Run) -> Generator[None]:
    """Set up a run, and take it down whatever happens."""
    stop = run.stop
    try:
        with graceful(stop.interrupt, lambda: under_way(run), run.compiled):
            _prepare(run)
            yield
        _finish(run, "interrupted" if stop.interrupted else "success")
    except KeyboardInterrupt:
        stop.interrupted = stop.raised = True
        run.hooks.call("on_keyboard_interrupt")
        try:
            _end_training(run)
        finally:
            _finish(run, "interrupted")
        if run.outer is not None:
            raise
    except BaseException as error:
        # The first error is the one to be seen; what fails after it is noted.
        with note_secondary(error):
            run.writes.settle()
        with note_secondary(error):
            run.hooks.call("on_exception", error)
        with note_secondary(error):
            _finish(run, "failed")
        raise
    finally:
        run.identity.release()


def _join(run: Run) -> None:
    """What the first of several processes has decided, the others take over: one run, in one directory."""
    if not run.stop.alone:
        share(run.loggers, run.world)
        run.identity.run, run.identity.fit = run.world.broadcast((run.identity.run, run.identity.fit))


def _prepare(run: Run) -> None:
    _join(run)
    profiling.set_up(run)
    model, datamodule = run.module, run.datamodule
    for owner in (datamodule, model):
        if owner is not None and overrides(owner, "prepare_data"):
            run.span(f"{class_of(owner).__name__}.prepare_data", owner.prepare_data)()
    if run.outer is None and overrides(model, "configure_callbacks"):
        given = callbacks_of(model.configure_callbacks(), f"{type(model).__name__}.configure_callbacks(): [%s]")
        kinds = {class_of(callback) for callback in given}
        run.callbacks[:] = in_order([*(c for c in run.callbacks if type(c) not in kinds), *given])
        run.hooks = Hooks(run.owner, model, run.callbacks, datamodule, run.metrics, run.span)
    find_loaders(run)


def find_loaders(run: Run) -> None:
    """Find out whom to ask for loaders."""
    owners = (run.datamodule, run.module)
    random = RandomState(partial(random_state, run), partial(load_random_state, run))
    run.loaders = LoaderFinder(run.flags, owners, run.hooks, run.loader_tools, random, quiet=run.outer is not None)


def set_up(run: Run) -> None:
    """The hooks and moves at the beginning of every stage."""
    run.hooks.call("on_before_accelerator_backend_setup")
    if run.stage == "fit":
        run.hooks.call("on_fit_start")
    run.hooks.call("setup", run.stage)
    run.hooks.call("configure_sharded_model")
    run.engine.setup(run.stage)
    run.metrics.objects.start(STAGE_OF[run.stage])
    run.hooks.call("on_post_move_to_device")


def fit(run: Run, wish: CkptPath, savers: list[Checkpoint], state: TrainState | None = None) -> None:
    """Train. `savers` are the callbacks that save checkpoints; `state` is what to begin with."""
    ckpt_path = ckpt_paths.of_fit(wish, savers)
    set_up(run)
    if wish == ckpt_paths.LAST and ckpt_path is None:
        standing = ckpt_paths.standing(savers, run.checkpoints.suffix)
        ckpt_path = on_first(run.world, lambda: ckpt_paths.newest(standing))
        if ckpt_path is None:
            run.print("fit(ckpt_path='last'): there is no checkpoint yet, so the run starts from the beginning.")
    run.traits = run.span("configure_optimizers", run.engine.configure)()
    run.ckpt_path = None if ckpt_path is None else os.fspath(ckpt_path)
    saved = checkpoints.load(run, ckpt_path, weights_only=False) if ckpt_path else None
    if state is not None:
        begin_with(run, state)
    if saved is None:
        begin_run(run.writing_loggers)
    rows.write_hyperparameters(run)
    run.hooks.call("on_pretrain_routine_start")
    train, val = run.given
    run.val = run.span("val_dataloader", run.loaders.validation)(val, train)
    run.hooks.call("on_pretrain_routine_end")
    if saved is None:
        sanity_check(run, run.val)
    find_source(run)
    run.plan = plan_of(run)
    loop = run.loop = FitLoop(run)
    run.facts = run.engine.start(loop.wants_outputs, loop.one_by_one)
    if saved is not None:
        checkpoints.continue_from(run, loop, saved, str(ckpt_path))
    elif run.clock.batch:
        loop.begin_within()
    manifest.write(run)
    run.phase = "run"
    run.hooks.call("on_train_start")
    with checkpoints.naming(str(ckpt_path)):
        restore_rng(run)
    loop.epochs()
    if run.stop.interrupted:
        run.hooks.call("on_keyboard_interrupt")
        for _, save in run.hooks.checkpoint:
            save(Moment("interrupt", run.before, run.clock))
    on_first(run.world, run.writes.settle)
    _end_training(run)


def find_source(run: Run) -> TrainSource:
    """Return the training loader, which is asked for once: again only where the checkpoint knows what was drawn
    then."""
    if run.found_source is None or "train" in run.loaders.draws_then:
        run.source = run.span("train_dataloader", run.loaders.train)(run.given[0])
    return run.source


def begin_with(run: Run, state: TrainState) -> None:
    """Take a state that was made without a run, and stand where it stands."""
    try:
        run.engine.load_state_dict(state, weights_only=False)
    except CheckpointError as error:
        raise CheckpointError(f"trainer.fit(state=...): it {error}") from error
    epoch, batch, update, skipped = state.clock
    run.clock = Clock(int(epoch), int(batch), int(update), int(skipped))


def _end_training(run: Run) -> None:
    """The last hooks of a fit that had begun to train, also after Ctrl-C."""
    if run.training:
        in_training, run.phase = run.stop.interrupted, "end"
        run.writes.settle()
        run.hooks.call("on_train_end")
        run.hooks.call("on_fit_end")
        if run.stop.interrupted and run.outer is None:
            run.print(ended(run, in_training))


def evaluate(run: Run, loaders: Any, path: str | os.PathLike[str] | None, train: Any) -> list[Any]:
    """Validate, test or predict; returns the outputs of the steps, a list per loader.

    Args:
        path: the checkpoint whose weights are taken; None for those that the module has.
        train: the training loader of the last fit, for overfit_batches.
    """
    run.ckpt_path = None if path is None else os.fspath(path)
    set_up(run)
    if path:
        checkpoints.load(run, path, weights_only=True)
    short = SHORT[run.stage]
    run.val = run.span(f"{short}_dataloader", run.loaders.evaluation)(short, loaders, train)
    run.phase = "run"
    outputs = run_stage(run, STAGE_OF[run.stage], *run.val) or []
    if not run.stop.interrupted:
        end_stage(run, STAGE_OF[run.stage])
    return outputs


def _finish(run: Run, status: str) -> None:
    """Leave the values in the module, tell hooks and loggers. Nothing is being written when a run is over."""
    run.sanity_checking, run.phase = False, "end"
    whole = False
    try:
        run.writes.settle()
        run.engine.finish()
        run.hooks.call("teardown", run.stage)
        whole = True
    finally:
        run.outcome = status if whole or status != "success" else "failed"
        run.metrics.objects.give_back()
        give_back(run.module, *run.around)
        # A teardown that fails makes a failed run of a good one, which is finished as such.
        if whole or status == "failed":
            finalize(run.writing_loggers, status)


def restore_rng(run: Run) -> None:
    """The random state of the checkpoint that the run continues from, once, right before the first batch."""
    if run.resumed_rng is not None:
        continue_with(run, run.resumed_rng)
        run.resumed_rng = None
