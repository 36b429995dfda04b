"""What of a user's module is state: which attributes hold it, and how it is taken out of them and put back."""

from functrain_jax.binding.composite import Bindings, register
from functrain_jax.binding.protocol import Binding, Mode, Trees

__all__ = ["Binding", "Bindings", "Mode", "Trees", "register"]
