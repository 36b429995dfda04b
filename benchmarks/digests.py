"""What StateDigest adds to a step of the digits networks of `examples/digits.py`, in torch and in JAX.

Fits with and without it run in turn, each with a CSVLogger and the loaders of the example; a row every 10 updates, and
every update for comparison. A figure is a long fit less a short one, over the difference in steps, so that what a fit
costs once is not in it. Times are the process's own.

`python -m benchmarks.digests [torch or jax ...]` measures those alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks.measure import interleaved, machine, median, timed
from functrain import seed_everything
from functrain.callbacks import StateDigest
from functrain.loggers import CSVLogger

EPOCHS = 8
ROUNDS = 11
INTERVALS = (None, 10, 1)
"""Updates between two rows; None for no rows."""


def example() -> Any:
    """Return the example as a module."""
    path = Path(__file__).parent.parent / "examples" / "digits.py"
    spec = importlib.util.spec_from_file_location("digits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = module
    spec.loader.exec_module(module)
    return module


def fit(world: tuple[Any, Callable[..., Any], Any], train: Any, every: int | None, epochs: int) -> None:
    """One fit; a JAX module that is fitted again compiles nothing again."""
    module, loader, trainer = world
    seed_everything(7)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        flags: dict[str, Any] = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
        callbacks = [] if every is None else [StateDigest(every)]
        trainer(max_epochs=epochs, logger=CSVLogger(folder), callbacks=callbacks, **flags).fit(
            module, loader(train, True)
        )


def per_step(world: tuple[Any, Callable[..., Any], Any], train: Any, every: int | None, batches: int) -> float:
    """Return microseconds a step."""
    short = timed(1, partial(fit, world, train, every, 1), process_time)
    return (timed(1, partial(fit, world, train, every, 1 + EPOCHS), process_time) - short) / (EPOCHS * batches)


def main() -> None:
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    digits = example()
    train = digits.digits()[0]
    print(machine("torch", "jax"))
    print()
    print("| world | us/step | a row every | adds a step | of a step |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or digits.WORLDS:
        world = digits.WORLDS[name]()
        batches = len(world[1](train, True))
        runs: dict[str, Callable[[], float]] = {
            str(every): partial(per_step, world, train, every, batches) for every in INTERVALS
        }
        for run in runs.values():
            run()
        figures = interleaved(runs, ROUNDS)
        base = figures["None"]
        for every in INTERVALS[1:]:
            pairs = list(zip(figures[str(every)], base, strict=True))
            added, share = median([a - b for a, b in pairs]), median([a / b - 1 for a, b in pairs])
            print(f"| {name} | {median(base):.0f} | {every} updates | {added:.1f} us | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
