"""The processes that train one module together, and how they come to do the same. Reads the environment.

Whatever a clock on the wall, a signal or a metric decides goes through a World, so that all processes decide alike.
Its verbs are collective: every process calls each of them, in the same order. Where another process is gone they raise;
they do not wait for ever. With one process none of them is called within a step.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from functrain.trainer.errors import ConfigurationError

T = TypeVar("T")
P = ParamSpec("P")


class World(Protocol):
    """Processes that run the same program.

    Attributes:
        rank: this one's number, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    def agree(self, flags: int) -> int:
        """Return the bitwise or of all processes' flags: what one of them raises, all see raised, at the same call."""
        ...

    def broadcast(self, value: T) -> T:
        """Return the value of process 0, on every process; the others' are ignored. A plain value."""
        ...

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks, the same list on every process. Plain values,
        bytes, or arrays of the host's memory."""
        ...

    def sum(self, tree: T) -> T:
        """Return the sum over all processes, leaf by leaf, of a nest of numbers or arrays that has the same form on
        each; the same bits on every process."""
        ...

    def barrier(self) -> None:
        """Returns when every process has called it."""
        ...


class Alone:
    """The world of one process: every verb returns at once."""

    rank = 0
    size = 1

    def agree(self, flags: int) -> int:
        """Return its own flags."""
        return flags

    def broadcast(self, value: T) -> T:
        """Return its own value."""
        return value

    def gather(self, value: T) -> list[T]:
        """Return its own value, as the only one."""
        return [value]

    def sum(self, tree: T) -> T:
        """Return its own tree."""
        return tree

    def barrier(self) -> None:
        """Nobody is waited for."""


class Ranks(NamedTuple):
    """Which process this is, as whoever started it says in the environment."""

    rank: int = 0
    size: int = 1
    local: int = 0
    node: int = 0


def ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """Return what WORLD_SIZE, RANK, LOCAL_RANK and NODE_RANK say; of a single process where there is no WORLD_SIZE
    above 1.

    Raises:
        ConfigurationError: one of them is no such number.
    """
    environment = os.environ if environment is None else environment
    size = _number(environment, "WORLD_SIZE", 1)
    if size <= 1:
        return Ranks()
    found = Ranks(*(_number(environment, name, own) for name, own in _NAMES.items()))
    if found.rank >= size:
        raise ConfigurationError(f"RANK={found.rank} with WORLD_SIZE={size}: ranks go from 0 to {size - 1}.")
    return found


_NAMES = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "NODE_RANK": 0}


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise ConfigurationError(f"{name}={text!r} in the environment: must be a number from 0 on; set or unset it.")
    return int(text)


Maker = Callable[[Ranks], World | None]
_makers: list[Maker] = []


def register(maker: Maker) -> None:
    """Have `maker(ranks)` asked for the World whenever a Trainer is made; it returns None where it knows none. The one
    that was registered last is asked first."""
    _makers.append(maker)


def find() -> World:
    """Return the World of this process: the first that a registered maker gives, else `Alone`."""
    found = ranks()
    for maker in reversed(_makers):
        world = maker(found)
        if world is not None:
            return world
    if found.size > 1:
        warnings.warn(
            f"WORLD_SIZE={found.size} is in the environment, and nothing here joins several processes: each trains a "
            "module of its own and writes its own files. Register a World (functrain.trainer.world.register), or unset "
            "WORLD_SIZE.",
            UserWarning,
            stacklevel=3,
        )
    return Alone()


def on_first(world: World, call: Callable[[], T]) -> T:
    """Return what `call` returns on process 0, the only one to call it; the others wait for it.

    Raises:
        RuntimeError: on the other processes, where it has failed on process 0, which raises its own error.
    """
    if world.size == 1:
        return call()
    value: Any = None
    failure: Exception | None = None
    if world.rank == 0:
        try:
            value = call()
        except Exception as error:
            failure = error
    value, received = world.broadcast((value, failure and f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        raise failure
    if received:
        raise _ends_too(world, 0, received)
    return value


def of_all(world: World, call: Callable[[], T]) -> list[T]:
    """Return what `call` returns on each process, in the order of ranks. A plain value.

    Raises:
        RuntimeError: it has failed on another process, which raises its own error.
    """
    value: Any = None
    failure: Exception | None = None
    try:
        value = call()
    except Exception as error:
        failure = error
    received = world.gather((value, failure and f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        raise failure
    for rank, (_, error) in enumerate(received):
        if error:
            raise _ends_too(world, rank, error)
    return [each for each, _ in received]


def _ends_too(world: World, rank: int, error: str) -> RuntimeError:
    return RuntimeError(f"process {rank} of {world.size} failed, so this one, {world.rank}, ends too: {error}")


def rank_zero_only(function: Callable[P, T]) -> Callable[P, T | None]:
    """`function` on process 0, by the environment; on the others a function that does nothing and returns None."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        return function(*args, **kwargs) if ranks().rank == 0 else None

    return call
