"""What a checkpoint of several processes holds of each of them. The file is as one process would write it, with the
state of the first; beside it stands what differs from that in each of the others.

Collective where something is saved; to read one back asks nobody.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from operator import index
from typing import Any

from functrain.trainer.narrow import is_list, is_mapping
from functrain.trainer.run import Run
from functrain.trainer.world import World, of_all

OTHERS = "others"
"""Of the processes from 1 on: a list of (path in the checkpoint, what this process has there)."""

OWN = ("rng", "loop", "datamodule", "metrics", "metric_states", "metric_links", "grads", "jax_key")
"""What each process may have of its own, beside every callback's state and every player's open window. Weights,
optimizers and the position are those of all."""

Path = tuple[str | int, ...]


def _parts(checkpoint: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for key in OWN:
        if key in checkpoint:
            yield (key,), checkpoint[key]
    for name, state in checkpoint.get("callbacks", {}).items():
        yield ("callbacks", name), state
    for i, player in enumerate(checkpoint.get("players", ())):
        yield ("players", i, "window"), player["window"]


def with_others(run: Run, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the checkpoint with what the other processes have of their own, for the first one, which writes it. A
    collective call. Large states that are the same in all are told by their sums alone."""
    world, packed = run.world, dict[Path, bytes]()

    def sums() -> dict[Path, bytes]:
        packed.update({path: run.checkpoints.pack(part) for path, part in _parts(checkpoint)})
        return {path: hashlib.sha256(data).digest() for path, data in packed.items()}

    told = of_all(world, sums)
    first, own = told[0], told[world.rank]
    differ: dict[Path, bytes | None] = {path: packed[path] for path in own if own[path] != first.get(path)}
    differ |= {path: None for path in first if path not in own}
    others = world.gather(differ)[1:]
    if world.rank:
        return checkpoint
    unpack = run.checkpoints.unpack
    kept = [[[list(path), data and unpack(data)] for path, data in parts.items()] for parts in others]
    return {**checkpoint, OTHERS: kept}


def own(world: World, saved: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the checkpoint as this process would have written it; where another number of processes did, as the first
    one has, which is told once."""
    others = saved.get(OTHERS, [])
    mine = {key: part for key, part in saved.items() if key != OTHERS}
    if not is_list(others):
        raise TypeError(f"its {OTHERS!r} is a {type(others).__name__}, not a list")
    if len(others) + 1 != world.size:
        if world.rank == 0:
            _warn_of_other_size(path, len(others) + 1, world.size)
        return mine
    for place, part in others[world.rank - 1] if world.rank else ():
        if place[0] not in (*OWN, "callbacks", "players"):
            raise ValueError(f"{place[0]!r} is nothing that a process has of its own")
        mine = _put(mine, place, part)
    return mine


def _put(value: Any, place: list[str | int], part: Any) -> Any:
    """Return the same containers, with another part at this place."""
    if not place:
        return part
    here, below = place[0], place[1:]
    if is_mapping(value):
        return {**value, here: _put(value[here] if below else None, below, part)}
    items, here = list(value), index(here)  # pyright: ignore[reportArgumentType]
    items[here] = _put(items[here], below, part)
    return items


def _warn_of_other_size(path: str, then: int, now: int) -> None:
    message = (
        f"{path} was written by {_number(then)}, and it is continued by {_number(now)} with the random state, the "
        "loaders' place, the running metrics and the open window of process 0."
    )
    if then > 1:
        message += f" What the other {_number(then - 1)} had is lost."
    if now > 1:
        message += " What they draw is the same in each; where it must differ, seed them in on_train_start."
    warnings.warn(message, UserWarning, stacklevel=3)


def _number(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"
