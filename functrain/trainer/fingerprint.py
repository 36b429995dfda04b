"""Which data a run has: how many, and digests of the first and the last batch. Changes nothing: no iterator is drawn
from, and random generators are put back."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

from functrain.data import ArrayLoader
from functrain.trainer.combined import leaves_of
from functrain.trainer.loader_forms import length_of
from functrain.trainer.narrow import class_of, is_mapping, is_sequence
from functrain.trainer.random_states import isolated
from functrain.trainer.reader import LoaderTools
from functrain.trainer.run import Run


def of_run(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return the fingerprints of a fit's loaders, by stage."""
    return {
        "train": [_of_loader(run, loader) for loader in leaves_of([run.source.loader])],
        "validation": [_of_loader(run, loader) for loader in leaves_of(run.val_loaders)],
    }


def _of_loader(run: Run, loader: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"loader": _name(loader), "batches": length_of(loader), "samples": _samples(loader)}
    try:
        with isolated(run, [loader]):
            ends = _ends(loader, run.loader_tools)
            if ends is None:
                why = f"the batches of {_name(loader)} cannot be had by their numbers"
                return {**found, "first": None, "last": None, "why": why}
            return {**found, "first": digest_of(ends[0]), "last": digest_of(ends[1])}
    except Exception as error:  # whatever the user's data set does, training is about to tell better
        why = f"the batches could not be read ({type(error).__name__}: {error})"
        return {**found, "first": None, "last": None, "why": why}


def _ends(loader: Any, tools: LoaderTools) -> tuple[Any, Any] | None:
    """Return the first and the last batch in the order of the data; None where they cannot be had without drawing."""
    if class_of(loader) in (list, tuple):
        return loader[0], loader[-1]
    if class_of(loader) is ArrayLoader:
        return loader.in_order(0), loader.in_order(-1)
    return tools.ends(loader)


def _samples(loader: Any) -> int | None:
    return loader.samples if isinstance(loader, ArrayLoader) else length_of(getattr(loader, "dataset", None))


def _name(loader: Any) -> str:
    kind = class_of(loader)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def digest_of(batch: Any) -> str:
    """Return 8 hex digits of all bits of a batch: its arrays in order, with their places, types and shapes.

    Raises:
        TypeError: there is something in it that is neither a number, text nor an array.
    """
    digest = 0
    for place, leaf in _leaves(batch, ""):
        kind, content = _content(place, leaf)
        digest = zlib.crc32(content, zlib.crc32(f"{place}:{kind};".encode("utf-8", "surrogatepass"), digest))
    return f"{digest:08x}"


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if is_mapping(value):
        for key, item in value.items():
            yield from _leaves(item, f"{place}[{key!r}]")
    elif is_sequence(value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _leaves({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, place)
    else:
        yield place, value


def _content(place: str, leaf: Any) -> tuple[str, bytes | memoryview]:
    """Return what kind of value a leaf is, and its bytes."""
    import numpy as np

    if leaf is None or isinstance(leaf, bool | int | float | complex | str):
        return type(leaf).__name__, repr(leaf).encode("utf-8", "surrogatepass")
    if isinstance(leaf, bytes):
        return "bytes", leaf
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise TypeError(f"batch{place} is a {_name(leaf)}, no array")
    kind = f"{str(leaf.dtype).rpartition('.')[2]}{tuple(leaf.shape)}"
    array = _on_host(leaf)
    if array.dtype == object:
        raise TypeError(f"batch{place} is an array of objects")
    return kind, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _on_host(array: Any) -> Any:
    import numpy as np

    array = array.detach().cpu() if hasattr(array, "detach") else array
    try:
        return np.asarray(array)
    except TypeError:
        return np.asarray(array.float())  # torch's bfloat16, which numpy does not know: exact
