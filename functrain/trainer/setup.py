"""How a run is set up, as text by name: kept in checkpoints, so that a run that continues says what is otherwise now.

What is otherwise belongs to the loader, or the present value is used ('now'), or the checkpoint's ('kept').
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from functrain.trainer.adapter import Inspector
from functrain.trainer.combined import places_of
from functrain.trainer.run import Run

Texts = dict[str, str]

MOST = 8
"""So many differences of a kind are named."""


def of_run(run: Run) -> dict[str, Texts]:
    """Return the set-up of the run under way."""
    plan, flags, facts = run.plan, run.flags, run.facts
    bound = flags.gradient_clip_val or None
    now = {
        "accumulate_grad_batches": repr(plan.windows).removeprefix("Schedule").strip("()"),
        "gradient_clip_val": str(bound),
        "gradient_clip_algorithm": str(flags.gradient_clip_algorithm if bound else None),
        "turns of the optimizers": str([(player.window, player.turn) for player in plan.players]),
    }
    leaves = {f" of {place}" if place else "": leaf for place, leaf in places_of(run.source.loader).items()}
    sizes = {f"batch size{place}": _batch_size(leaf, run.inspector) for place, leaf in leaves.items()}
    samplers = {f"sampler{place}": getattr(leaf, "sampler", None) for place, leaf in leaves.items()}
    known = {**sizes, "batches an epoch": plan.batches}
    known |= {name: None if sampler is None else type(sampler).__name__ for name, sampler in samplers.items()}
    loader = {name: str(value) for name, value in known.items() if value is not None}
    return {
        "loader": loader,
        "now": {**now, **facts.now},
        "timing": dict(facts.timing),
        "kept": dict(facts.kept),
    }


def _batch_size(loader: Any, inspector: Inspector) -> int | None:
    if type(loader) in (list, tuple) and len(loader):
        return inspector.batch_size(loader[0])
    size = getattr(loader, "batch_size", None)
    return size if size is not None else getattr(getattr(loader, "batch_sampler", None), "batch_size", None)


def warn_of_changes(run: Run, saved: Mapping[str, Texts] | None, path: str) -> None:
    """One warning of everything that is otherwise than in the run that wrote the checkpoint, and whose value holds.

    Where the checkpoint's value holds, it is this run's set-up from here on.
    """
    if saved is None:
        return
    present, clock = of_run(run), run.clock
    # What is not known of one of two loaders is no difference.
    of_both = {name: value for name, value in saved["loader"].items() if name in present["loader"]}
    present["loader"] = {name: present["loader"][name] for name in of_both}
    # Checkpoints of before it was kept say nothing of it.
    timing = saved.get("timing", present["timing"])
    loader, kept = _changes(of_both, present["loader"]), _changes(saved["kept"], present["kept"])
    now = _changes({**saved["now"], **timing}, {**present["now"], **present["timing"]})
    run.facts = run.facts._replace(kept=dict(saved["kept"]))
    said: list[str] = []
    if loader:
        means, batches = f"they hold from epoch {clock.epoch} on", run.plan.batches
        is_over = clock.batch and batches is not None and clock.batch >= batches
        if is_over:
            means = f"epoch {clock.epoch} stood at batch {clock.batch}, so it ends at once"
        elif clock.batch:
            means = (
                f"epoch {clock.epoch} goes on at batch {clock.batch} of the present loader, so some of its samples "
                "come twice or not at all"
            )
        said.append(f"{loader}: {means}")
    if now:
        said.append(f"{now}: the present values are used")
    if kept:
        said.append(f"{kept}: the checkpoint's values are used; to have others, set them in on_train_start")
    if said:
        warnings.warn(
            f"{path}: the run that wrote it was set up otherwise (then -> now). {'. '.join(said)}.",
            UserWarning,
            stacklevel=3,
        )


def _changes(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    told = [f"{name} {_shown(name, then, now)} -> {_shown(name, now, then)}" for name in changed[:MOST]]
    return ", ".join(told) + (f" and {len(changed) - MOST} more" if len(changed) > MOST else "")


def _shown(name: str, facts: Mapping[str, str], others: Mapping[str, str]) -> str:
    return facts.get(name, "no" if others.get(name) == "yes" else "none")
