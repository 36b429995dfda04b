"""What a fit says of itself where a user would expect something else. Reads the run."""

from __future__ import annotations

import warnings

from functrain.kernel import plan as plans
from functrain.trainer.flags import Flags
from functrain.trainer.run import Run


def warn_of_short_run(run: Run) -> None:
    """Say it where the values of steps were logged and the run is too short for a row of them."""
    plan, clock, names = run.plan, run.clock, run.metrics.step_metrics()
    is_read = names and run.loggers
    writes_no_row = is_read and clock.update < plan.log_updates and plans.reaches_log(plan, clock) is False
    if writes_no_row:
        warnings.warn(
            f"the run makes fewer than Trainer(log_every_n_steps={plan.log_updates}) updates, so the loggers get "
            f"no row of the steps' {', '.join(names)}; give a smaller log_every_n_steps.",
            UserWarning,
            stacklevel=2,
        )


def print_exceeded(run: Run, began: int) -> None:
    """A batch whose pieces or steps are updates is finished, also where they go past the limit. Say it."""
    most, now = run.plan.max_steps, run.clock.update
    if most is not None and began < most < now:
        run.print(f"max_steps={most} was met within a batch, which was finished: {now} updates, {now - most} more.")


def warn_of_idle(run: Run, skipped: bool) -> None:
    """Say it where the batches of the first epoch have trained nothing. `skipped`: a hook left the rest of them out."""
    clock, why = run.clock, None
    if clock.batch and not clock.epoch:
        why = run.inspector.idle()
    elif skipped and not clock.epoch:
        why = "on_train_batch_start returned -1 for its first batch, which skips the rest of the epoch."
    if why is not None:
        warnings.warn(f"the first epoch ended without a single update: {why}", UserWarning, stacklevel=2)


def warn_of_no_tuning(flags: Flags) -> None:
    """Say it where the flags ask for a tuner, and the first fit comes without one."""
    asked = [name for name in ("auto_lr_find", "auto_scale_batch_size") if getattr(flags, name)]
    if asked and not flags.fast_dev_run:
        warnings.warn(
            f"Trainer({', '.join(f'{name}={getattr(flags, name)!r}' for name in asked)}): trainer.fit tunes nothing by "
            "itself, and runs with the values that the module has; call trainer.tune(module) before it.",
            UserWarning,
            stacklevel=4,
        )
