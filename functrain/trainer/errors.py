"""The errors that a run raises on purpose. Each names the offender, its value, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from functrain.trainer.narrow import is_mapping, is_sequence

NOTED = "_functrain_noted"


class ConfigurationError(ValueError):
    """A flag, a module or a loader that cannot work as it is."""


class OlderNameWarning(DeprecationWarning):
    """An older name was used, which still works; says what replaced it."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, or does not fit what it is read into. Names the file."""


class NotFiniteError(RuntimeError):
    """A loss or a parameter became NaN or infinite, and the run was told to stop at that.

    Attributes:
        before: within it the run is as it was before the step; it gives the batch. None where that is not known.
        path: the checkpoint of the state before the step, beside which stands its batch; None where none was written.
    """

    before: Callable[[], AbstractContextManager[Any]] | None = None
    path: str | None = None

    @classmethod
    def of_loss(cls, epoch: int, batch: int, value: float | None = None) -> NotFiniteError:
        """Return the error of a loss, with its value where it is known."""
        return cls(f"the loss is {'not finite' if value is None else value} at epoch {epoch}, batch {batch}.")

    @classmethod
    def of_parameter(cls, name: str, epoch: int, batch: int) -> NotFiniteError:
        """Return the error of a parameter."""
        return cls(
            f"parameter {name!r} is not finite after epoch {epoch}, batch {batch}: a lower learning rate or "
            "gradient_clip_val may help."
        )


def kind(value: Any) -> str:
    """Return what a value is, with its article: 'a str', 'an int', 'the class Net'."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' with the known names nearest to this one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


@contextmanager
def noted(where: Callable[[], str]) -> Generator[None]:
    """Add to an error of the block, as a note, where the run was.

    The error itself and its traceback stay as they are.
    """
    try:
        yield
    except NotFiniteError:
        raise  # says it itself
    except Exception as error:
        # Notes of others, as JAX leaves them, are no reason to say nothing.
        if not getattr(error, NOTED, False):
            error.add_note(f"({where()})")
            setattr(error, NOTED, True)
        raise


@contextmanager
def note_secondary(error: BaseException) -> Generator[None]:
    """What fails in the block, on the way out of a run that this error ends, is noted with it."""
    try:
        yield
    except Exception as second:
        error.add_note(f"(after it there was a {type(second).__name__} too: {second})")


def describe(batch: Any) -> str:
    """Return a batch in a few words, such as '; the batch is a list of Tensor (32, 1, 8, 8), Tensor (32,)'.

    Nothing for None.
    """
    return "" if batch is None else f"; the batch is a {_described(batch, 2)}"


def _described(tree: Any, depth: int) -> str:
    name = type(tree).__name__
    if hasattr(tree, "shape"):
        return f"{name} {tuple(tree.shape)}"
    if is_mapping(tree):
        parts = [f"{key!r}: {_described(item, depth - 1)}" for key, item in list(tree.items())[:5]]
    elif is_sequence(tree):
        parts = [_described(item, depth - 1) for item in tree[:5]]
    else:
        return name
    if not depth:
        return f"{name} of {len(tree)}"
    return f"{name} of {', '.join(parts) or 'nothing'}{' and more' if len(tree) > 5 else ''}"
