"""Where arrays live. An engine has one `Placement`, and whatever it moves to devices or back goes through it."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import jax

from functrain.trainer.flags import Flags
from functrain_jax.device import choose_device

T = TypeVar("T")


class Placement(Protocol):
    """Where the arrays of a run live.

    Attributes:
        device: the device that users are told about, as `module.device`.
        platform: the kind of all its devices: 'cpu', 'gpu' or 'tpu'.
        sharding: where a checkpoint's arrays go as they are read.
    """

    @property
    def device(self) -> Any: ...

    @property
    def platform(self) -> str: ...

    @property
    def sharding(self) -> jax.sharding.Sharding: ...

    def state(self, tree: T, /) -> T:
        """Return the state, or a part of it, in its place."""
        ...

    def batch(self, local: Any, /) -> jax.Array:
        """Return an array of batches of this process, the batches along its first axis, as a part of the array that the
        programs of all processes work on."""
        ...

    def numbers(self, array: Any, /) -> jax.Array:
        """Return an array of the host that is the same in all processes, such as a count of batches, in the place of
        values that programs read as a whole. An array that is on devices already is returned as it is."""
        ...

    def host(self, tree: T, /) -> T:
        """Return the values as numpy arrays; of arrays that every device has as a whole, so that no process waits for
        another."""
        ...


class OneDevice:
    """All arrays on one device.

    Example:
        >>> placement = OneDevice(jax.devices("cpu")[0])
        >>> placement.host(placement.numbers(np.array(3)))
        array(3)
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self.sharding = jax.sharding.SingleDeviceSharding(device)

    @property
    def platform(self) -> str:
        return self.device.platform

    def state(self, tree: T) -> T:
        return jax.device_put(tree, self.sharding)

    def numbers(self, array: Any) -> jax.Array:
        if isinstance(array, jax.Array):
            return array
        # On a CPU this takes the memory of a buffer as it is, and costs less than jax.device_put.
        return jax.make_array_from_callback(array.shape, self.sharding, lambda _: array)

    batch = numbers

    def host(self, tree: T) -> T:
        return jax.device_get(tree)


def first_device() -> OneDevice:
    """Return the placement of what is read without a run: all on JAX's first device."""
    return OneDevice(jax.devices()[0])


def placement_of(flags: Flags) -> Placement:
    """Return the placement that the flags ask for."""
    return OneDevice(choose_device(flags))
