"""When learning-rate schedulers step, and with what."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.optim import lr_scheduler as torch_schedulers

from functrain.kernel.plan import passed
from functrain.kernel.state import Report, TrainState
from functrain.trainer.errors import ConfigurationError, nearest
from functrain_torch.optimizers import Scheduler

Metrics = Mapping[str, Any]

OF_ALL_GROUPS = (
    torch_schedulers.StepLR, torch_schedulers.MultiStepLR, torch_schedulers.ConstantLR, torch_schedulers.LinearLR,
    torch_schedulers.ExponentialLR, torch_schedulers.PolynomialLR, torch_schedulers.CosineAnnealingLR,
    torch_schedulers.ReduceLROnPlateau,
)  # fmt: skip
"""Schedulers that go on from a group's present rate, so that they move groups too that were added later."""


class Schedulers:
    """The schedulers of a run, or of a pure step.

    Args:
        hook: the module's own `lr_scheduler_step`, which steps a scheduler in its way.

    Attributes:
        by_update: those that count their optimizer's updates.
        by_epoch: those that count epochs.
    """

    def __init__(self, configs: Sequence[Scheduler], hook: Callable[..., Any] | None = None) -> None:
        self.by_update = [config for config in configs if config.interval == "step"]
        self.by_epoch = [config for config in configs if config.interval == "epoch"]
        self.hook = hook
        self.made_for = _groups_of(configs)

    def replace(self, scheduler: Any) -> None:
        """From now on this one steps at the end of every epoch, in place of all others."""
        self.by_update, self.by_epoch = [], [Scheduler(scheduler)]
        self.made_for = _groups_of(self.by_epoch)

    def after_update(
        self, state: TrainState, reports: Sequence[Report | None], metrics: Callable[[], Metrics] = dict
    ) -> None:
        """Step those that are due after an update; none of a player that did not move.

        Args:
            metrics: returns what was logged, for those that look at a metric.
        """
        for config in self.by_update:
            report, updates = reports[config.player], state.players[config.player].updates
            moved = report is not None and report.finite is not False
            if moved and passed(config.frequency, updates - 1, updates):
                self._step(config, metrics() if config.reduce_on_plateau else {})

    def end_epoch(self, epoch: int, metrics: Metrics) -> None:
        """Step those that are due when this epoch, counted from 0, is over."""
        for config in self.by_epoch:
            if passed(config.frequency, epoch, epoch + 1):
                self._step(config, metrics)

    def _step(self, config: Scheduler, metrics: Metrics) -> None:
        """Step one; a plateau scheduler with the metric that it monitors.

        Raises:
            ConfigurationError: nobody has logged the metric, and it is strict.
        """
        monitor, metric = str(config.monitor), None
        if config.reduce_on_plateau:
            if monitor not in metrics:
                if not config.strict:
                    return
                raise ConfigurationError(
                    f"{type(config.scheduler).__name__}(monitor={monitor!r}): nobody logs this metric; logged are "
                    f"{', '.join(sorted(metrics)) or 'none'}.{nearest(monitor, metrics)}"
                )
            metric = metrics[monitor]
        known = self.made_for.get(id(config))
        if known is None or known == len(config.scheduler.optimizer.param_groups):
            self._take_step(config, metric)
        else:
            with only_first(config.scheduler.optimizer, known):
                self._take_step(config, metric)

    def _take_step(self, config: Scheduler, metric: Any) -> None:
        if self.hook is not None:
            self.hook(config.scheduler, config.player, metric)
        elif config.reduce_on_plateau:
            config.scheduler.step(metric)
        else:
            config.scheduler.step()


def _groups_of(configs: Sequence[Scheduler]) -> dict[int, int]:
    """Return how many groups the optimizer has, by the id of each scheduler's entry that cannot know of others."""
    return {
        id(config): len(config.scheduler.optimizer.param_groups)
        for config in configs
        if hasattr(config.scheduler, "optimizer") and type(config.scheduler) not in OF_ALL_GROUPS
    }


@contextmanager
def only_first(optimizer: Any, count: int) -> Generator[None]:
    """Within it the optimizer has its first groups only: a scheduler that has a rate for each of them cannot know those
    of groups that were added later, and leaves them alone."""
    groups = optimizer.param_groups
    optimizer.param_groups = groups[:count]
    try:
        yield
    finally:
        optimizer.param_groups = groups
