"""The values of a run in the user's module: left there for hooks, and taken from there where a hook has put others."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from functrain.kernel.state import TrainState
from functrain.trainer.errors import ConfigurationError
from functrain_jax import snapshot
from functrain_jax.binding import Bindings
from functrain_jax.placement import Placement
from functrain_jax.precision import keep_types


class Values:
    """What the user's module holds of the state of a run.

    Attributes:
        published: the state whose values the module was given last, or that was made of its values.
    """

    def __init__(self, binding: Bindings, placement: Placement) -> None:
        self.binding = binding
        self.placement = placement
        self.published: TrainState | None = None

    def collected(self) -> tuple[dict[str, object], dict[str, object]]:
        """Return (params, vars) of the module, in their place."""
        return self.placement.state(self.binding.collect())

    def publish(self, state: TrainState) -> None:
        """Leave the values of the state in the user's module; they are the state's own arrays, gone after the next
        dispatch. A state that has gone already leaves nothing."""
        if state is self.published or any(x.is_deleted() for x in jax.tree.leaves(state.params)):
            return
        self.binding.publish(state.params, state.vars)
        self.published = state

    def adopted(self, state: TrainState) -> TrainState:
        """Return the state with the values that a hook has put into the module that it was shown; they are the run's
        from here on.

        Raises:
            ConfigurationError: their names, shapes or kinds are others.
        """
        if self.published is not state or self.binding.published(state.params, state.vars):
            return state
        params, vars_ = self.binding.collect()
        own, given = snapshot.weights(state), snapshot.weights(state._replace(params=params, vars=vars_))
        differs = snapshot.differences(given, own)
        if differs:
            name = type(self.binding.module).__name__
            raise ConfigurationError(f"{name}: a hook has changed the form of its state: {differs}.")
        new = keep_types(params, state.params), snapshot.rebuilt(given, state.vars)
        params, vars_ = self.placement.state(jax.tree.map(jnp.copy, new))
        return state._replace(params=params, vars=vars_)
