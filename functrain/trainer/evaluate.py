"""The loops of validation, test and prediction: plain functions over an engine, its hooks and its metrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from functrain.trainer import all_ranks, rows
from functrain.trainer.combined import batches_of, leaves_of
from functrain.trainer.errors import ConfigurationError, describe, noted
from functrain.trainer.hooks import Hooks
from functrain.trainer.narrow import class_of
from functrain.trainer.random_states import isolated
from functrain.trainer.reader import set_epoch
from functrain.trainer.run import Run

CHUNK = 64

VERB_OF = {"validation": "validate", "test": "test", "predict": "predict"}


def run_stage(run: Run, stage: str, loaders: Sequence[Any], limits: Sequence[int | None]) -> list[Any] | None:
    """`pass_over`, as it is measured."""
    name = "run_sanity_check" if run.sanity_checking else f"run_{stage}"
    return run.span(name, pass_over)(run, stage, loaders, limits)


def pass_over(run: Run, stage: str, loaders: Sequence[Any], limits: Sequence[int | None]) -> list[Any] | None:
    """One pass over the loaders of 'validation', 'test' or 'predict'.

    In order: `on_<stage>_model_eval`, `on_<stage>_start`, `on_<stage>_epoch_start`; for every batch
    `on_<stage>_batch_start`, the step, `on_<stage>_batch_end`; then `<stage>_epoch_end`, `on_<stage>_epoch_end`,
    `on_epoch_end`, metrics computed and sent. What remains is `end_stage`.

    Returns:
        The steps' outputs, a list per loader, where somebody wants them; else empty lists. None where Ctrl-C ended it
        before its metrics were whole.
    """
    hooks, metrics, engine = run.hooks, run.metrics, run.engine
    run.evaluated = 0
    run.evaluation_batches = None if None in limits else sum(n or 0 for n in limits)
    engine.mode(stage, evaluating=True)
    # Before the first hook: what on_validation_start and its like log is the stage's too, and is kept.
    metrics.reset(stage)
    with metrics.scope(stage):
        hooks.call(f"on_{stage}_start")
        hooks.call(f"on_{stage}_epoch_start")
        wants = (stage == "predict" and run.keeps_predictions) or wants_outputs(hooks, stage)
        outputs = [_run_loader(run, stage, i, loaders, limits[i], wants) for i in range(len(loaders))]
        if not run.stop.alone:
            # Not sooner: the loaders of several processes may have different numbers of batches.
            run.stop.settle(run.world.agree(run.stop.bits()))
    if run.stop.interrupted:
        return None
    given = outputs[0] if len(outputs) == 1 else outputs
    with metrics.scope(stage, ends=True):
        hooks.call(f"{stage}_epoch_end", given)
        hooks.call(f"on_{stage}_epoch_end", given)
        hooks.call("on_epoch_end")
    rows.write_epoch(run, stage)
    metrics.reset(stage)
    return outputs


def sanity_check(run: Run, val: tuple[Sequence[Any], Sequence[int | None]] | None) -> None:
    """A few validation batches before training; leaves no trace in metrics or random state."""
    n = run.flags.num_sanity_val_steps
    if val is None or n == 0 or run.flags.fast_dev_run:
        return
    loaders, limits = val
    if n > 0:
        limits = [n if limit is None else min(n, limit) for limit in limits]
    run.sanity_checking = True
    run.hooks.call("on_sanity_check_start")
    with isolated(run, leaves_of(loaders)):
        run_stage(run, "validation", loaders, limits)
        end_stage(run, "validation")
    run.hooks.call("on_sanity_check_end")
    run.sanity_checking = False


def end_stage(run: Run, stage: str) -> None:
    """The end of a pass: `on_<stage>_end`, `on_<stage>_model_train`."""
    with run.metrics.scope(stage):
        run.hooks.call(f"on_{stage}_end")
        run.engine.mode(stage, evaluating=False)


def wants_outputs(hooks: Hooks, stage: str) -> bool:
    """Return whether anybody wants the outputs of this stage's steps."""
    return bool({f"{stage}_epoch_end", f"on_{stage}_epoch_end"} & hooks.takes_outputs)


def _run_loader(
    run: Run, stage: str, index: int, loaders: Sequence[Any], batches: int | None, wants: bool
) -> list[Any]:
    for leaf in leaves_of([loaders[index]]):
        set_epoch(leaf, run.clock.epoch)
    drawn = CountedBatches(islice(_batches_of(run, stage, index, loaders), batches), run, stage, index)
    run.evaluated_before, run.loader_batches = run.evaluated, batches
    number = index if len(loaders) > 1 else None
    with run.metrics.scope(stage, step=True, loader=number, place=lambda: drawn.count - 1) as scope:
        hooks = [getattr(run.hooks, f"on_{stage}_batch_{when}") for when in ("start", "end")]
        with noted(lambda: f"in the {stage} loop, loader {index}, batch {drawn.count - 1}{describe(scope.batch)}"):
            if any(hooks) or wants:
                outputs = _one_by_one(run, stage, index, drawn, hooks, wants)
            else:
                outputs = _many_at_once(run, stage, index, drawn)
        is_empty = not drawn.count and batches != 0 and not run.stop.interrupted
        if is_empty:
            raise ConfigurationError(
                f"{stage} loader {index}: the {type(loaders[index]).__name__} gave no batch. Is its data empty, or was "
                "it an iterator that is used up?"
            )
        rows.write_evaluation_steps(run, ended=True)
        if run.world.size > 1:
            all_ranks.close_objects(run.metrics, run.world)
        run.metrics.end_loader()
    return outputs


def _batches_of(run: Run, stage: str, index: int, loaders: Sequence[Any]) -> Iterator[Any]:
    """Return an iterator over a loader's batches; in a prediction one that notes the numbers of their samples, where a
    callback wants them."""
    run.batch_indices, loader = None, loaders[index]
    if stage != "predict" or not any(callback.wants_batch_indices for callback in run.callbacks):
        return batches_of(loader, run.loader_tools)
    numbered = run.loader_tools.with_indices(loader)
    if numbered is None:
        warnings.warn(
            f"{stage} loader {index}: {class_of(loader).__name__} does not tell which samples its batches are made of, "
            "so batch_indices are None; torch's own DataLoader tells them.",
            UserWarning,
            stacklevel=2,
        )
        return batches_of(loader, run.loader_tools)
    return _noting(run, numbered)


def _noting(run: Run, numbered: Iterator[tuple[Any, Sequence[int]]]) -> Iterator[Any]:
    for batch, indices in numbered:
        run.batch_indices = indices
        yield batch


def _many_at_once(run: Run, stage: str, index: int, drawn: CountedBatches) -> list[Any]:
    """Nobody looks at a batch, and nobody wants what its step returns."""
    ended = False
    while not ended:
        done = run.engine.evaluate(stage, drawn, CHUNK, drawn.done, index, wants=False)
        drawn.done, ended = drawn.done + done.batches, done.ended
        rows.write_evaluation_steps(run)
        run.tick()
    return []


def _one_by_one(run: Run, stage: str, index: int, batches: Iterable[Any], hooks: list[Any], wants: bool) -> list[Any]:
    start, end = hooks
    outputs: list[Any] = []
    for batch_idx, batch in enumerate(batches):
        if start is not None:
            start(batch, batch_idx, index)
        output = run.engine.evaluate(stage, iter((batch,)), 1, batch_idx, index, wants=True).outputs[0]
        if end is not None:
            end(output, batch, batch_idx, index)
        if wants:
            outputs.append(output)
        rows.write_evaluation_steps(run)
        run.tick()
    return outputs


class CountedBatches:
    """An iterator over batches that counts them, and ends where Ctrl-C was pressed."""

    def __init__(self, batches: Iterator[Any], run: Run, stage: str, index: int) -> None:
        self.batches = run.span_of_each(f"get_{VERB_OF[stage]}_batch", batches)
        self.loader = f"the {stage} loader {index}"
        self.run = run
        self.count = self.done = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.run.stop.interrupted:
            raise StopIteration
        with noted(lambda: f"while {self.loader} was asked for batch {self.count}"):
            batch = next(self.batches)
        self.run.metrics.current.batch = batch
        self.count += 1
        self.run.evaluated += 1
        return batch
