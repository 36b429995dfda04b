"""What can be asked of a JAX module, its optimizers and its batches without changing them."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

from functrain.trainer.metric_objects import Unknown
from functrain_jax.engine import JaxEngine
from functrain_jax.order import batch_size
from functrain_jax.summary import rows


class JaxInspector:
    """See `functrain.trainer.adapter.Inspector`."""

    batch_size = staticmethod(batch_size)

    def __init__(self, engine: JaxEngine) -> None:
        self.engine = engine
        self.metric_objects = Unknown()

    def rates(self) -> dict[str, float]:
        """By player, of its next update; of one whose rate cannot be known it is told once."""
        engine = self.engine
        assert engine.state is not None
        return engine.rates.read(engine.specs, engine.noted_places.players(engine.state.players))

    def optimizers(self) -> list[Any]:
        return [spec.optimizer for spec in self.engine.specs]

    def schedulers(self) -> list[Any]:
        """None: a schedule is part of an optax transformation."""
        return []

    def momenta(self) -> None:
        """An optax transformation does not tell."""

    def scalar(self, value: Any) -> jax.Array:
        return value if isinstance(value, jax.Array) else jnp.asarray(value)

    def idle(self) -> str | None:
        engine = self.engine
        if engine.state is None or engine.state.moved:
            return None
        name = f"{type(engine.module).__name__}.training_step"
        return (
            f"no update's gradients were finite, or every batch weighed 0; look at the loss and the 'weight' that "
            f"{name} gives, or at the precision."
        )

    def device(self) -> dict[str, Any]:
        placement, config = self.engine.placement, cast("Any", jax.config)
        kind = getattr(placement.device, "device_kind", placement.platform)
        return {
            "device": placement.platform if kind == placement.platform else f"{placement.platform} ({kind})",
            "devices": len(placement.sharding.device_set),
            "x64": bool(config.jax_enable_x64),
            "matmul_precision": str(config.jax_default_matmul_precision),
        }

    def device_stats(self) -> dict[str, float]:
        tell = getattr(self.engine.placement.device, "memory_stats", None)
        stats = None if tell is None else tell()
        return {name: float(value) for name, value in (stats or {}).items()}

    def summary(self, max_depth: int) -> list[tuple[str, str, int, int, int]]:
        engine = self.engine
        assert engine.state is not None
        moved = None if any(s.owned is None for s in engine.specs) else {n for s in engine.specs for n in s.owned or ()}
        return rows(engine.module, engine.binding.parameters(engine.state.params, engine.state.vars), moved, max_depth)
