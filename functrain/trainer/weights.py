"""Arrays by name, of any framework: what differs between those of a checkpoint and a module's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from functrain.trainer.errors import CheckpointError

KINDS = ("bool", "complex", "float", "int")


class ArraySpec(NamedTuple):
    """What is compared of an array.

    Attributes:
        dtype: the name of its type, such as 'float32'.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def kind(self) -> str | None:
        """The kind of its numbers: 'float' of any precision, and so on; None for another."""
        return next((kind for kind in KINDS if kind in self.dtype), None)


def differences(
    saved: Mapping[str, ArraySpec | None], own: Mapping[str, ArraySpec | None], strict: bool = True
) -> str | None:
    """Return what differs between two sets of named arrays, in words; None where nothing does.

    That is what is missing, unexpected, of another shape, or of another kind of numbers: integers for floating-point
    weights, say. Another precision is the same kind.

    Args:
        saved, own: the arrays by name; None for what is no array, of which only the name is compared.
        strict: False compares only the kinds.
    """
    both = [(name, was, now) for name, now in own.items() if (was := saved.get(name)) and now]
    kinds = [f"{name} {was.dtype} instead of {now.dtype}" for name, was, now in both if was.kind != now.kind]
    found = [("of another type:", kinds)]
    if strict:
        missing = [name for name in own if name not in saved]
        unexpected = [name for name in saved if name not in own]
        shapes = [f"{name} {was.shape} instead of {now.shape}" for name, was, now in both if was.shape != now.shape]
        found = [("missing", missing), ("unexpected", unexpected), ("of another shape:", shapes), *found]
    return "; ".join(f"{what} {_listed(names)}" for what, names in found if names) or None


ArraySpecs = Callable[[Any], Mapping[str, ArraySpec | None]]
"""What returns the forms of named arrays, in a framework."""


def check_weights(saved: Mapping[str, Any], own: Any, forms: ArraySpecs, name: str, strict: bool = True) -> None:
    """Compare the weights of a checkpoint with those of a module.

    Args:
        saved: the checkpoint.
        own: the module's arrays by name.
        name: the module's class name, for messages.

    Raises:
        CheckpointError: there are none, or they do not fit.
    """
    if "state_dict" not in saved:
        raise CheckpointError(f"has no weights (no 'state_dict'), so it is no checkpoint of {name}.")
    differs = differences(forms(saved["state_dict"]), forms(own), strict)
    if differs:
        raise CheckpointError(f"is of another module than {name}: {differs}.")


def check_not_weights_only(saved: Mapping[str, Any], key: str) -> None:
    """Check that a checkpoint has what stands under this key where training can continue.

    Raises:
        CheckpointError: it has not.
    """
    if key not in saved:
        raise CheckpointError(f"holds weights only (no {key!r}), so training cannot continue from it.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
