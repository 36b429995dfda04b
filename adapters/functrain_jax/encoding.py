"""A checkpoint as arrays and JSON: what is large goes to one side, everything else becomes plain text. Runs
nothing on the way back."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functrain.trainer.errors import ConfigurationError
from functrain_jax.keys import is_key

ARRAY, TENSOR, SCALAR, TUPLE, BYTES, ITEMS = "$array", "$tensor", "$scalar", "$tuple", "$bytes", "$items"
KEY = "$key"

LONGEST_NAME = 1000
"""Characters that the name of an array in the store may have."""

STORED = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64", "complex128", "bfloat16", "int2", "int4", "float4_e2m1fn", "float8_e3m4", "float8_e4m3b11fnuz",
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
}  # fmt: skip
"""The types of numbers that the store can hold."""


def encode(value: Any, arrays: dict[str, Any], where: str = "") -> Any:
    """Return the value as JSON, with its arrays in `arrays` by the place where they stand.

    Raises:
        ConfigurationError: something is neither plain nor an array; names the place.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return _builtin(value)
    if isinstance(value, Mapping):
        return _encode_mapping(value, arrays, where)
    if isinstance(value, list | tuple):
        items = [encode(item, arrays, f"{where}/{i}") for i, item in enumerate(value)]
        return {TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, bytes):
        return {BYTES: base64.b64encode(value).decode()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _encode_array(value, arrays, where, ARRAY)
    if type(value).__module__ == "torch" and hasattr(value, "numpy"):
        return _encode_array(value.detach().cpu().numpy(), arrays, where, TENSOR)
    raise ConfigurationError(
        f"checkpoint[{where.strip('/')}] holds a {type(value).__module__}.{type(value).__qualname__}, which could not "
        "be read back without running code; store plain values, lists, dicts and arrays."
    )


def _builtin(value: Any) -> Any:
    # A subclass would be stored with its class; its value is what counts.
    base = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return None if base is None else base(value)


def _encode_mapping(value: Mapping[Any, Any], arrays: dict[str, Any], where: str) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: encode(item, arrays, f"{where}/{key}") for key, item in value.items()}
    return {ITEMS: [[encode(k, arrays, f"{where}/key"), encode(v, arrays, f"{where}/{k}")] for k, v in value.items()]}


def _encode_array(value: Any, arrays: dict[str, Any], where: str, kind: str) -> Any:
    if is_key(value):
        data = _encode_array(jax.random.key_data(value), arrays, where, ARRAY)
        return {KEY: [str(jax.random.key_impl(value)), data]}
    dtype = np.dtype(value.dtype)
    if dtype.name not in STORED:
        raise ConfigurationError(
            f"checkpoint[{where.strip('/')}] holds an array of {dtype.name}, which could not be read back; store it as "
            "a list, or as an array of numbers of another type."
        )
    if not dtype.isnative:
        value, dtype = value.astype(dtype.newbyteorder("=")), dtype.newbyteorder("=")
    is_number = value.ndim == 0 and kind == ARRAY and dtype.kind in "biuf"
    if is_number:
        return {SCALAR: [str(dtype), np.asarray(value).item()]}
    name = _own_name(where, arrays)
    if value.size:  # orbax stores no empty ones; their form says all
        arrays[name] = value
    return {kind: [name, str(dtype), list(value.shape)]}


def _own_name(where: str, arrays: Mapping[str, Any]) -> str:
    """Return a name in the store that no other array has: the place itself, where it is short and not taken. 'a/b' may
    be one key, or two."""
    name = where.strip("/").encode("utf-8", "replace").decode()[:LONGEST_NAME]
    number, own = len(arrays), name
    while own in arrays:
        number, own = number + 1, f"{name}~{number}"
    return own


def pack(value: Any) -> bytes:
    """Return a part of a checkpoint as bytes.

    Raises:
        ConfigurationError: something in it is neither plain nor an array; names the place.
    """
    arrays: dict[str, Any] = {}
    rest = encode(value, arrays)
    held = {name: base64.b64encode(np.asarray(array).tobytes()).decode() for name, array in arrays.items()}
    return json.dumps([rest, held]).encode()


def unpack(data: bytes) -> Any:
    """Return what `pack` was given, its arrays as numpy's."""
    rest, held = json.loads(data)
    arrays = {
        name: np.frombuffer(base64.b64decode(held[name]), dtype).reshape(shape)
        for name, (dtype, shape) in specs(rest).items()
    }
    return decode(rest, arrays)


def decode(value: Any, arrays: Mapping[str, Any]) -> Any:
    """Return the inverse of `encode`. Raises KeyError, TypeError or ValueError where the JSON is none of its kind."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, inner),) = value.items()
        if tag == TUPLE:
            return tuple(decode(item, arrays) for item in inner)
        if tag == ITEMS:
            return {decode(k, arrays): decode(v, arrays) for k, v in inner}
        if tag == BYTES:
            return base64.b64decode(inner, validate=True)
        if tag == SCALAR:
            return np.asarray(inner[1], dtype_of(inner[0]))
        if tag == ARRAY:
            return _array(inner, arrays)
        if tag == KEY:
            return jax.random.wrap_key_data(jnp.asarray(decode(inner[1], arrays)), impl=inner[0])
        if tag == TENSOR:
            return _tensor(np.asarray(_array(inner, arrays)))
    return {key: decode(item, arrays) for key, item in value.items()}


def _array(spec: list[Any], arrays: Mapping[str, Any]) -> Any:
    name, dtype, shape = spec
    if 0 not in shape:
        return arrays[name]
    empty = np.zeros(_shape(shape), dtype_of(dtype))
    return jnp.asarray(empty) if jax.dtypes.canonicalize_dtype(empty.dtype) == empty.dtype else empty


def dtype_of(name: Any) -> np.dtype:
    """Return the type of numbers that has this name.

    Raises:
        TypeError, ValueError: it is none of numbers.
    """
    dtype = jnp.dtype(name)
    if not (jnp.issubdtype(dtype, np.number) or dtype == np.bool_):
        raise ValueError(f"{name!r} is no type of numbers")
    return dtype


def _shape(shape: Any) -> tuple[int, ...]:
    impossible = not isinstance(shape, list) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape)
    if impossible:
        raise ValueError(f"{shape!r} is no shape of an array")
    return tuple(shape)


def _tensor(array: np.ndarray) -> Any:
    torch = sys.modules.get("torch")
    return array if torch is None else torch.from_numpy(array.copy())


def specs(value: Any) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return the arrays that some JSON of `encode` refers to and that are not empty: name -> (type, shape).

    Raises:
        KeyError, TypeError, ValueError: the JSON is none of its kind.
    """
    found: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    if isinstance(value, list):
        for item in value:
            found.update(specs(item))
    elif isinstance(value, dict):
        for tag, item in value.items():
            if tag in (ARRAY, TENSOR) and len(value) == 1:
                name, dtype, shape = item
                if 0 not in shape:
                    found[str(name)] = (dtype_of(dtype), _shape(shape))
            else:
                found.update(specs(item))
    return found
