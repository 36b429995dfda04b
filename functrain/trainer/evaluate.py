"""The loops of validation, test and prediction: plain functions over an engine, its hooks and the book."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from functrain.trainer.errors import ConfigurationError, describe, noted
from functrain.trainer.generators import isolated

CHUNK = 64


def run_stage(trainer: Any, stage: str, loaders: Sequence[Any], limits: Sequence[int | None]) -> list[Any] | None:
    """One pass over the loaders of 'validation', 'test' or 'predict'.

    In order: `on_<stage>_model_eval`, `on_<stage>_start`, `on_<stage>_epoch_start`; for every batch
    `on_<stage>_batch_start`, the step, `on_<stage>_batch_end`; then `<stage>_epoch_end`, `on_<stage>_epoch_end`,
    `on_epoch_end`, metrics published. What remains is `end_stage`.

    Returns:
        The steps' outputs, a list per loader, where somebody wants them; else empty lists. None where Ctrl-C ended it
        before its metrics were whole.
    """
    hooks, book, engine = trainer.hooks, trainer.book, trainer.engine
    trainer.evaluated = 0
    trainer.evaluation_batches = None if None in limits else sum(n or 0 for n in limits)
    engine.eval_mode(stage)
    # Before the first hook: what on_validation_start and its like log is the stage's too, and is kept.
    book.reset(stage)
    book.begin(stage, in_step=False)
    hooks.call(f"on_{stage}_start")
    hooks.call(f"on_{stage}_epoch_start")
    wants = stage == "predict" or wants_outputs(hooks, stage)
    outputs = [_run_loader(trainer, stage, i, loaders, limits[i], wants) for i in range(len(loaders))]
    if trainer.interrupted:
        return None
    book.begin(stage, in_step=False)
    book.closing = stage
    given = outputs[0] if len(outputs) == 1 else outputs
    hooks.call(f"{stage}_epoch_end", given)
    hooks.call(f"on_{stage}_epoch_end", given)
    hooks.call("on_epoch_end")
    trainer.publish(stage)
    book.reset(stage)
    return outputs


def sanity_check(trainer: Any, val: tuple[Sequence[Any], Sequence[int | None]] | None) -> None:
    """A few validation batches before training; leaves no trace in metrics or random state."""
    n = trainer.flags.num_sanity_val_steps
    if val is None or n == 0 or trainer.flags.fast_dev_run:
        return
    loaders, limits = val
    if n > 0:
        limits = [n if limit is None else min(n, limit) for limit in limits]
    trainer.sanity_checking = True
    trainer.hooks.call("on_sanity_check_start")
    with isolated(trainer, loaders):
        run_stage(trainer, "validation", loaders, limits)
        end_stage(trainer, "validation")
    trainer.hooks.call("on_sanity_check_end")
    trainer.sanity_checking = False


def end_stage(trainer: Any, stage: str) -> None:
    """The end of a pass: `on_<stage>_end`, `on_<stage>_model_train`."""
    trainer.hooks.call(f"on_{stage}_end")
    trainer.engine.train_mode(stage)


def wants_outputs(hooks: Any, stage: str) -> bool:
    """Does anybody want the outputs of this stage's steps?"""
    return bool({f"{stage}_epoch_end", f"on_{stage}_epoch_end"} & hooks.takes_outputs)


def _run_loader(
    trainer: Any, stage: str, index: int, loaders: Sequence[Any], batches: int | None, wants: bool
) -> list[Any]:
    suffix = f"/dataloader_idx_{index}" if len(loaders) > 1 else ""
    trainer.book.begin(stage, in_step=True, suffix=suffix)
    drawn = Drawn(islice(iter(loaders[index]), batches), trainer, f"the {stage} loader {index}")
    hooks = [getattr(trainer.hooks, f"on_{stage}_batch_{when}") for when in ("start", "end")]
    with noted(lambda: f"in the {stage} loop, loader {index}, batch {drawn.count - 1}{describe(trainer.book.batch)}"):
        if any(hooks) or wants:
            outputs = _one_by_one(trainer, stage, index, drawn, hooks, wants)
        else:
            outputs = []
            while count := trainer.engine.evaluate_many(stage, drawn, CHUNK, drawn.done, index):
                drawn.done += count
                trainer.write_evaluation_steps()
                trainer.tick()
    if not drawn.count and batches != 0 and not trainer.interrupted:
        raise ConfigurationError(
            f"{stage} loader {index}: the {type(loaders[index]).__name__} gave no batch. Is its data empty, or was it "
            "an iterator that is used up?"
        )
    trainer.book.end_loader()
    return outputs


def _one_by_one(
    trainer: Any, stage: str, index: int, batches: Iterable[Any], hooks: list[Any], wants: bool
) -> list[Any]:
    start, end = hooks
    outputs: list[Any] = []
    for batch_idx, batch in enumerate(batches):
        if start is not None:
            start(batch, batch_idx, index)
        output = trainer.engine.evaluate(stage, batch, batch_idx, index)
        if end is not None:
            end(output, batch, batch_idx, index)
        if wants:
            outputs.append(output)
        trainer.write_evaluation_steps()
        trainer.tick()
    return outputs


class Drawn:
    """An iterator over batches that counts them, and ends where Ctrl-C was pressed."""

    def __init__(self, batches: Iterator[Any], trainer: Any, loader: str) -> None:
        self.batches = batches
        self.loader = loader
        self.trainer = trainer
        self.count = self.done = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.trainer.interrupted:
            raise StopIteration
        with noted(lambda: f"while {self.loader} was asked for batch {self.count}"):
            batch = next(self.batches)
        self.trainer.book.batch, self.trainer.book.number = batch, self.count
        self.count += 1
        self.trainer.evaluated += 1
        return batch
