"""What a run sends to its loggers: rows of steps, of evaluations, of epochs. Here values come to the host."""

from __future__ import annotations

from functools import partial
from typing import Any

from functrain.trainer import all_ranks
from functrain.trainer.entries import is_of_loader
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.foreign import RecordsGraph
from functrain.trainer.hparams import HyperparametersMixin
from functrain.trainer.run import Run


def write_steps(run: Run, flush: bool, alone: bool = False) -> None:
    """The log event: the last step's values to the loggers, which are written out where `flush` says so.

    Args:
        alone: the other processes are not here, since this one has failed.
    """
    several = run.world.size > 1 and not alone
    metrics = all_ranks.step_metrics(run.metrics, run.world) if several else run.metrics.step_metrics()
    for _, log_step in run.hooks.log_step:
        log_step(metrics)
    _send(run, metrics)
    if flush:
        for logger in run.writing_loggers:
            logger.save()


def write_evaluation_steps(run: Run, ended: bool = False) -> None:
    """Write what `self.log(..., on_step=True)` collected in the last batches of an evaluation to the loggers: a row a
    batch.

    Within a fit their step is the fit's, so that a run that continues knows which rows it will write again; elsewhere
    it is the batch. Those of several processes wait for the end of their loader, since they may have different numbers
    of batches; that call is collective.

    Args:
        ended: the loader has ended.
    """
    if run.world.size > 1 and not ended:
        return
    rows = run.metrics.take_rows()
    if run.sanity_checking:
        return
    if run.world.size > 1:
        rows = all_ranks.evaluation_rows(run.metrics, rows, run.world)
    for number, metrics in rows.items():
        _send(run, metrics, step=None if run.stage == "fit" else number)


def write_epoch(run: Run, stage: str) -> None:
    """A stage's epoch is over: its values are computed, readable, and sent to the loggers."""
    if run.sanity_checking:
        return
    of_all = partial(all_ranks.epoch_values, run.metrics, world=run.world) if run.world.size > 1 else None
    _send(run, run.metrics.end_epoch(stage, of_all))


def _send(run: Run, metrics: dict[str, Any], step: int | None = None) -> None:
    run.metrics.logged.update(metrics)
    if not metrics or not run.writing_loggers:
        return
    values = {name: float(value) for name, value in metrics.items()}
    values.setdefault("epoch", float(run.clock.epoch))
    for logger in run.writing_loggers:
        logger.log_metrics(values, step=run.clock.update if step is None else step)


def write_hyperparameters(run: Run) -> None:
    """The hyperparameters of the module and of its data, once, where they do not keep them to themselves; and the
    module's graph, of loggers that were told to record it.

    Raises:
        ConfigurationError: module and data module have different values of one name.
    """
    hparams = _told(run.module)
    data = _told(run.datamodule) if isinstance(run.datamodule, HyperparametersMixin) else {}
    for name in hparams.keys() & data.keys():
        if not _same(hparams[name], data[name]):
            module, owner = type(run.module).__name__, type(run.datamodule).__name__
            raise ConfigurationError(
                f"hyperparameter {name!r} is {hparams[name]!r} of {module} and {data[name]!r} of {owner}: loggers keep "
                "one value of a name; name one otherwise, or leave it out by save_hyperparameters(logger=False)."
            )
    for logger in run.writing_loggers:
        if hparams or data:
            logger.log_hyperparams({**data, **hparams})
        if isinstance(logger, RecordsGraph):
            logger.log_graph(run.module)


def _told(owner: Any) -> dict[str, Any]:
    """The hyperparameters that loggers get."""
    return dict(getattr(owner, "hparams", None) or {}) if getattr(owner, "_log_hyperparams", True) else {}


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; values that cannot tell are if they are the same object."""
    try:
        return one is other or bool(one == other)
    except Exception:
        return False


def results(run: Run, stage: str, loaders: int, verbose: bool) -> list[dict[str, float]]:
    """Return the metrics of an evaluation, a dict per loader; print a table of them where `verbose` says so."""
    values = {name: float(value) for name, value in run.metrics.results.items()}
    found: list[dict[str, float]] = []
    for index in range(max(loaders, 1)):
        found.append({name: value for name, value in values.items() if is_of_loader(name, index)})
    prints = verbose and values and run.world.rank == 0
    if prints:
        for index, result in enumerate(found):
            print(f"{stage} results, loader {index}")
            for name, value in result.items():
                print(f"  {name:<32} {value:.6g}")
    return found
