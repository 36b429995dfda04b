"""One seed for every random number generator, and their states as plain values.

May touch the generators and three environment variables. An adapter adds its generators when it is imported.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import os
import random
import secrets
import zlib
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SEED_VARIABLE = "PL_GLOBAL_SEED"
WORKERS_VARIABLE = "PL_SEED_WORKERS"
HIGHEST_SEED = 2**32 - 1

_log = logging.getLogger(__name__)


class _Generator(NamedTuple):
    get_state: Callable[[], Any]
    set_state: Callable[[Any], None]
    digest: Callable[[], int] | None


_seeders: dict[str, Callable[[int], None]] = {}
_generators: dict[str, _Generator] = {}
_seeded: int | None = None  # by seed_everything in this process


def seed_everything(seed: int | None = None, workers: bool = False) -> int:
    """Seed Python's `random`, NumPy's global generator, the registered frameworks and child processes.

    Sets PYTHONHASHSEED and PL_GLOBAL_SEED for child processes, and PL_SEED_WORKERS for code that looks for it.

    Args:
        seed: 0 to 2**32 - 1. None takes PL_GLOBAL_SEED where it is set, else draws a seed and logs it.
        workers: what PL_SEED_WORKERS says. Here the worker processes of a DataLoader need no flag: Python, NumPy and
            torch are seeded in them for every batch, from the random state at the epoch's start.

    Returns:
        The seed in use.

    Raises:
        TypeError: the seed is not an integer.
        ValueError: the seed is out of bounds, or PL_GLOBAL_SEED holds none.
    """
    global _seeded
    if seed is None:
        seed = global_seed()
    if seed is None:
        seed = secrets.randbelow(HIGHEST_SEED + 1)
        _log.warning("seed_everything: no seed was given and %s is not set; drew %d", SEED_VARIABLE, seed)
    seed = checked_seed(seed, "seed")
    os.environ[SEED_VARIABLE] = os.environ["PYTHONHASHSEED"] = str(seed)
    os.environ[WORKERS_VARIABLE] = str(int(bool(workers)))
    _seeded = seed
    seed_generators(seed)
    return seed


def seed_generators(seed: int) -> None:
    """Seed every generator as `seed_everything` does, and nothing else: no environment variable.

    Raises:
        TypeError: the seed is not an integer.
        ValueError: the seed is out of bounds.
    """
    seed = checked_seed(seed, "seed")
    for apply in list(_seeders.values()):
        apply(seed)


def global_seed() -> int | None:
    """Return the seed that `seed_everything` last set, here or in the process that started this one; else None.

    Raises:
        ValueError: PL_GLOBAL_SEED holds something else than a seed.
    """
    text = os.environ.get(SEED_VARIABLE)
    if text is None:
        return None
    try:
        seed = int(text)
    except ValueError:
        raise ValueError(
            f"the environment variable {SEED_VARIABLE} is {text!r}; "
            f"set it to an integer from 0 to {HIGHEST_SEED}, or unset it"
        ) from None
    return checked_seed(seed, f"the environment variable {SEED_VARIABLE}")


def register_seeder(name: str, apply: Callable[[int], None]) -> None:
    """Have `apply(seed)` called by every `seed_everything`; the same name replaces the one before.

    Where `seed_everything` has run in this process already, `apply` is called at once: the order of imports
    does not decide which generators are seeded.
    """
    _seeders[name] = apply
    if _seeded is not None:
        apply(_seeded)


def register_rng(
    name: str, get_state: Callable[[], Any], set_state: Callable[[Any], None], digest: Callable[[], int] | None = None
) -> None:
    """Add a generator to `rng_state`, `set_rng_state`, `isolate_rng` and `rng_digests`; the same name replaces.

    Args:
        name: its key in the dictionary of `rng_state`.
        get_state: returns the state in values that survive JSON: numbers, strings, None, lists, dictionaries.
        set_state: takes such a value, and raises ValueError or TypeError where it fits no state.
        digest: returns 32 bits that stand for the state; default: of what `get_state` returns, which may take longer.
    """
    _generators[name] = _Generator(get_state, set_state, digest)


def rng_state() -> dict[str, Any]:
    """Return the state of every registered generator by name ("python", "numpy", ...), fit for JSON."""
    return {name: generator.get_state() for name, generator in _generators.items()}


def rng_digests() -> dict[str, int]:
    """Return 32 bits that stand for the state of every registered generator, by name: two differ where the states do,
    but for one pair in four billion."""
    return {
        name: zlib.crc32(repr(generator.get_state()).encode()) if generator.digest is None else generator.digest()
        for name, generator in sorted(_generators.items())
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put generators back into what `rng_state` returned; those which `state` does not name stay as they are.

    Raises:
        ValueError: a name that nothing is registered for (then nothing has been changed), or a state that
            does not fit its generator. The message says which.
    """
    unknown = sorted(set(state) - set(_generators))
    if unknown:
        raise ValueError(
            f"the random state has an entry {unknown[0]!r}, but only {sorted(_generators)} are registered; "
            f"import the package that brings it (functrain_torch, functrain_jax) first, or drop the entry"
        )
    for name, value in state.items():
        try:
            _generators[name].set_state(value)
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            message = f"the entry {name!r} of the random state fits no state of that generator: {error}"
            raise ValueError(message) from error


@contextlib.contextmanager
def isolate_rng() -> Iterator[None]:
    """Whatever the block draws or seeds, every registered generator continues as if it had not run."""
    before = rng_state()
    try:
        yield
    finally:
        set_rng_state(before)


def checked_seed(seed: Any, name: str) -> int:
    """Return a seed as an int. Raises TypeError or ValueError where it is none; `name` is what it was given as."""
    if isinstance(seed, bool):
        raise TypeError(f"{name} is {seed!r}; give an integer from 0 to {HIGHEST_SEED}")
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(
            f"{name} is {seed!r}, a {type(seed).__name__}; give an integer from 0 to {HIGHEST_SEED}"
        ) from None
    if not 0 <= value <= HIGHEST_SEED:
        raise ValueError(f"{name} is {value}; it must be from 0 to {HIGHEST_SEED}")
    return value


def _python_state() -> list[Any]:
    version, words, gauss = random.getstate()
    return [version, list(words), gauss]


def _python_digest() -> int:
    _, words, gauss = random.getstate()
    return zlib.crc32(array("I", words).tobytes(), zlib.crc32(repr(gauss).encode()))


def _set_python_state(state: Any) -> None:
    version, words, gauss = state
    random.setstate((version, tuple(words), gauss))


# NumPy is imported when a generator is first needed: importing it costs more than the whole core.


def _seed_numpy(seed: int) -> None:
    import numpy as np

    np.random.seed(seed)


def _numpy_state() -> dict[str, Any]:
    import numpy as np

    return _listed(np.random.get_state(legacy=False))


def _numpy_digest() -> int:
    import numpy as np

    state: Any = np.random.get_state(legacy=False)
    rest = (state["bit_generator"], state["has_gauss"], state["gauss"])
    inner = state["state"]
    key = inner.get("key")
    if key is None:  # another bit generator than the usual one
        return zlib.crc32(repr((rest, inner)).encode())
    return zlib.crc32(key.tobytes(), zlib.crc32(repr((rest, inner["pos"])).encode()))


def _set_numpy_state(state: Any) -> None:
    import numpy as np

    np.random.set_state(_arrayed(state, np.random.get_state(legacy=False)))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _arrayed(value: Any, like: Any) -> Any:
    """`value` with its lists as arrays wherever `like` has arrays, of the same types."""
    import numpy as np

    if isinstance(like, dict):
        return {key: _arrayed(value[key], item) for key, item in like.items()}
    if isinstance(like, np.ndarray):
        array = np.asarray(value, dtype=like.dtype)
        if array.shape != like.shape:
            raise ValueError(f"{array.size} numbers where {like.size} are needed")
        return array
    return value


register_seeder("python", random.seed)
register_seeder("numpy", _seed_numpy)
register_rng("python", _python_state, _set_python_state, _python_digest)
register_rng("numpy", _numpy_state, _set_numpy_state, _numpy_digest)
