"""Which device a run uses, and the actions of the players as arrays for a compiled program."""

from __future__ import annotations

import os
import warnings
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from functrain.kernel import plan as plans
from functrain.kernel.plan import Plan
from functrain.kernel.state import Clock
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain_jax.loops import has_primitive


def debugging() -> bool:
    """Return whether the user has told JAX to look for NaN, or to compile nothing. Steps run eagerly then, or once
    more, eagerly."""
    config: Any = jax.config
    return looking() or config.jax_disable_jit


def looking() -> bool:
    """Return whether JAX looks for NaN or infinity. It names the operation that gave one, but only outside of loops."""
    config: Any = jax.config
    return config.jax_debug_nans or config.jax_debug_infs


NO_GPUS = (0, "0", [])
"""The values of `gpus` that ask for none."""

OPEN = np.iinfo(np.int32).max
"""The end of a window that does not close."""


class Guarded:
    """A compiled program in which a hidden transfer to the device is an error.

    Not where it calls Python: the functions of `jax.debug.callback` and its like are host code, which may use arrays as
    it likes. Nor where JAX's own debugging runs steps eagerly, which move their constants, as they must.

    Args:
        program: what `jax.jit` returned.
        static: the place of the argument whose values have programs of their own.
    """

    def __init__(self, program: Any, static: int | None = None) -> None:
        self.program = program
        self.static = static
        self.calls_python: dict[Any, bool] = {}

    def __call__(self, *args: Any) -> Any:
        if debugging():
            return self.program(*args)
        value = None if self.static is None else args[self.static]
        if value not in self.calls_python:
            # The call below takes this trace, which has all that runs: gradients and the optimizer too.
            self.calls_python[value] = calls_python(self.program.trace(*args).jaxpr)
        with jax.transfer_guard_host_to_device("allow" if self.calls_python[value] else "disallow"):
            return self.program(*args)


def calls_python(jaxpr: Any) -> bool:
    """Return whether a program prints, or calls a function of the host."""
    return bool(jaxpr.effects) or has_primitive(jaxpr, "pure_callback")


def choose_device(flags: Flags) -> Any:
    """Return the device that the flags ask for; without a wish JAX's first.

    Raises:
        ConfigurationError: a GPU is asked for and JAX sees none.
    """
    wish, gpus = flags.accelerator, flags.gpus
    if wish in ("gpu", "cuda") or gpus not in (None, *NO_GPUS):
        kind = "gpu"
    elif wish == "cpu" or gpus in NO_GPUS:
        kind = "cpu"
    else:
        return jax.devices()[0]
    try:
        return jax.devices(kind)[0]
    except RuntimeError as error:
        flag = f"gpus={flags.gpus!r}" if wish is None else f"accelerator={wish!r}"
        raise ConfigurationError(
            f"Trainer({flag}): JAX sees no {kind.upper()} here (only {jax.default_backend()}); install JAX for it, or "
            "use 'auto'."
        ) from error


def check_determinism(flags: Flags, platform: str) -> None:
    """Raises ConfigurationError where the flags forbid that a run computes otherwise than the last, and such a device
    may."""
    may_differ = (
        flags.deterministic and platform == "gpu" and "xla_gpu_deterministic_ops" not in os.environ.get("XLA_FLAGS", "")
    )
    if may_differ:
        message = (
            f"Trainer(deterministic={flags.deterministic!r}): on a GPU XLA must be told when Python starts; set the "
            "environment variable XLA_FLAGS=--xla_gpu_deterministic_ops=true, or leave the flag out."
        )
        if flags.deterministic != "warn":
            raise ConfigurationError(message)
        warnings.warn(message, UserWarning, stacklevel=2)


def check_one_device(leaf: Any, what: str) -> None:
    """Raises ConfigurationError where an array is spread over several devices, which no run keeps."""
    is_spread = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and len(leaf.sharding.device_set) > 1
    if is_spread:
        raise ConfigurationError(
            f"{what} is spread over {len(leaf.sharding.device_set)} devices ({leaf.sharding}): the Trainer does not "
            "support meshes yet, and would gather it on one. Use functrain_jax.make_step, which keeps shardings, or "
            "put the array on one device with jax.device_put(x, jax.devices()[0])."
        )


def stacked_flags(plan: Plan, clock: Clock, count: int, size: int) -> np.ndarray:
    """For each of the next `count` batches and each player: does it play, does its window close; bool[size,
    players, 2]."""
    flags = np.zeros((size, len(plan.players), 2), np.bool_)
    for player, action in enumerate(plans.actions_of(plan, clock.epoch, clock.batch + np.arange(count))):
        flags[:count, player, 0], flags[:count, player, 1] = action
    return flags


def window_ends(actions: np.ndarray, count: int) -> np.ndarray:
    """For each of `count` batches and the one after them the end of the only player's window: the place after its last
    batch, or `OPEN` where it does not close among them; int32[size + 1]."""
    ends = np.full(len(actions) + 1, OPEN, np.int32)
    closed = np.flatnonzero(actions[:count, 0, 1]) + 1
    if len(closed):
        ends[: closed[-1]] = np.repeat(closed, np.diff(closed, prepend=0))
    return ends
