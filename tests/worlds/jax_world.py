"""Programs in JAX, with the weights in a plain tree, in flax nnx modules or in flax linen modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

import functrain_jax
from functrain.loggers import Logger
from tests.worlds.body import module_members
from tests.worlds.observe import Record, flat, hook_methods
from tests.worlds.program import Optimizer, Program, weights_of
from tests.worlds.run import Api, run

Binding = Callable[[Any, dict[str, Any]], None]


def run_jax(
    program: Program, folder: Path, resume: str | None = None, binding: str = "nnx", idle: tuple[str, ...] = ()
) -> Record:
    """The program in functrain_jax.

    Args:
        binding: 'plain', 'nnx' or 'linen'.
        idle: hooks that are overridden by a callback that does nothing.
    """
    bind, read = BINDINGS[binding]
    api = replace(API, make=_maker(bind, read), weights=lambda m: _named(read(m)))
    with jax.enable_x64(program.precise):
        return run(api, program, folder, resume, idle)


class Part(nnx.Module):
    """A weight matrix and a bias."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.w = nnx.Param(jnp.asarray(values["w"]))
        self.b = nnx.Param(jnp.asarray(values["b"]))


class LinenPart(linen.Module):
    """A weight matrix and a bias, which it gives."""

    values: Any

    @linen.compact
    def __call__(self) -> tuple[Any, Any]:
        names = ("w", "b")
        return tuple(self.param(name, lambda _, n=name: jnp.asarray(self.values[n])) for name in names)  # type: ignore[return-value]


def _bind_plain(module: Any, values: dict[str, Any]) -> None:
    module.params = jax.tree.map(jnp.asarray, values)


def _bind_nnx(module: Any, values: dict[str, Any]) -> None:
    for name, part in values.items():
        setattr(module, name, Part(part))


def _bind_linen(module: Any, values: dict[str, Any]) -> None:
    for name, part in values.items():
        setattr(module, name, functrain_jax.from_linen(LinenPart(part)))


def _parts(module: Any) -> dict[str, Any]:
    return {name: getattr(module, name) for name in ("first", "second") if hasattr(module, name)}


def _read_nnx(module: Any) -> dict[str, Any]:
    return {name: {"w": part.w[...], "b": part.b[...]} for name, part in _parts(module).items()}


def _read_linen(module: Any) -> dict[str, Any]:
    return {name: dict(zip(("w", "b"), part(), strict=True)) for name, part in _parts(module).items()}


BINDINGS: dict[str, tuple[Binding, Callable[[Any], dict[str, Any]]]] = {
    "plain": (_bind_plain, lambda module: module.params),
    "nnx": (_bind_nnx, _read_nnx),
    "linen": (_bind_linen, _read_linen),
}


def _named(weights: dict[str, Any]) -> dict[str, Any]:
    return flat(jax.tree.map(np.array, weights))


def _maker(bind: Binding, read: Callable[[Any], dict[str, Any]]) -> Callable[[Program, Record, str], Any]:
    def make(program: Program, record: Record, folder: str) -> Any:
        members = {
            "__init__": lambda self: bind(self, weights_of(program)),
            "weights": read,
            "configure_optimizers": lambda self: configured(program),
            **module_members(program, record, lambda batch: batch, jnp.tanh),
            **hook_methods("module", program.module_hooks, record, lambda m: _named(read(m)), folder),
        }
        return type("Model", (functrain_jax.Module,), members)()

    return make


def configured(program: Program) -> Any:
    """What configure_optimizers gives; of several optimizers each has a part of its own."""
    if not program.several:
        return _optimizer(program.optimizers[0])
    parts = zip(program.optimizers, weights_of(program), strict=True)
    entries = [{"optimizer": _optimizer(each), "params": part, "frequency": each.frequency} for each, part in parts]
    return [{key: value for key, value in entry.items() if value is not None} for entry in entries]


def _optimizer(given: Optimizer) -> optax.GradientTransformation:
    rate: Any = given.rate
    if given.decay is not None:
        assert given.interval == "step", "a schedule of optax counts updates"
        rate = lambda count: given.rate * given.decay ** (count // given.every)  # noqa: E731
    if given.kind == "adam":
        return optax.adam(rate)
    return optax.sgd(rate, momentum=0.5 if given.kind == "momentum" else None)


API = Api(
    trainer=functrain_jax.Trainer,
    callback=functrain_jax.Callback,
    early_stopping=functrain_jax.callbacks.EarlyStopping,
    model_checkpoint=functrain_jax.callbacks.ModelCheckpoint,
    logger=Logger,
    make=_maker(*BINDINGS["nnx"]),
    weights=lambda module: _named(_read_nnx(module)),
    convert=lambda batch: batch,
    seed=functrain_jax.seed_everything,
)
