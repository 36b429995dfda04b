"""A program that fails, made small: what can be left out is left out, as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from tests.worlds.program import Program

TRIES = 150
"""Runs that may be spent on one failure."""


def shrink(program: Program, fails: Callable[[Program], bool], tries: int = TRIES) -> Program:
    """The smallest program found that still fails. Greedy: the first simpler one that fails is gone on from."""
    while tries:
        for simpler in simpler_ones(program):
            tries -= 1
            if fails(simpler):
                program = simpler
                break
            if not tries:
                break
        else:
            break
    return program


def simpler_ones(program: Program) -> Iterator[Program]:
    """Programs with one thing less, the boldest first."""
    plain = Program()
    for each in fields(program):
        value, default = getattr(program, each.name), getattr(plain, each.name)
        if value != default:
            yield from (made for v in (default, *_simpler(value)) if sound(made := replace(program, **{each.name: v})))


def _simpler(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from ({k: v for k, v in value.items() if k != key} for key in value)
        yield from ({**value, key: v} for key, old in value.items() for v in _simpler(old))
    elif isinstance(value, tuple):
        yield from (value[:i] + value[i + 1 :] for i in range(len(value)))
        yield from ((*value[:i], v, *value[i + 1 :]) for i, old in enumerate(value) for v in _simpler(old))
    elif isinstance(value, int) and not isinstance(value, bool) and value > 1:
        yield from (n for n in (1, value - 1) if n < value)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            old, default = getattr(value, each.name), getattr(type(value)(), each.name)
            if old != default:
                yield from (replace(value, **{each.name: v}) for v in (default, *_simpler(old)))


def sound(program: Program) -> bool:
    """Does it hang together? A shrunk program must not fail for a reason of its own."""
    parts = 2 if program.model == "mlp" else 1
    loaders = (program.train, *program.val)
    return (
        len(program.optimizers) in (1, parts)
        and (program.model == "recurrent") == ("truncated_bptt_steps" in program.flags)
        and all(loader.sizes for loader in loaders)
        and len({optimizer.frequency is None for optimizer in program.optimizers}) == 1
        and (program.several or program.optimizers[0].frequency is None)
        and ("gradient_clip_val" in program.flags or "gradient_clip_algorithm" not in program.flags)
        and "max_epochs" in program.flags
        and program.flags.get("precision", 64) == 64
        and 0 in _starts(program.flags.get("accumulate_grad_batches"))
        and (bool(program.val) or not program.then)
    )


def _starts(windows: Any) -> tuple[int, ...]:
    """The epochs from which a schedule of windows says something."""
    return tuple(windows) if isinstance(windows, Mapping) else (0,)
