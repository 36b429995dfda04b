"""Which checkpoint a `ckpt_path` stands for: a path, 'best', 'last'. Looks at names and times; reads no checkpoint."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from enum import Enum

from functrain import files
from functrain.trainer.callback import Checkpoint
from functrain.trainer.errors import ConfigurationError, kind

BEST, LAST = "best", "last"


class Default(Enum):
    """What `ckpt_path` is where a call leaves it out; the only one that may go without a checkpoint."""

    BEST_IF_ANY = "the best checkpoint, where the module of the last fit is meant and there is one"


BEST_IF_ANY = Default.BEST_IF_ANY
CkptPath = str | os.PathLike[str] | None


def given(stage: str, wish: CkptPath | Default) -> CkptPath | Default:
    """Return the wish as it is, if it can name a checkpoint.

    Raises:
        ConfigurationError: it is no path; names the call and the value.
    """
    known = (str, Default, os.PathLike)
    if wish is None or (isinstance(wish, known) and wish != ""):  # pyright: ignore[reportUnnecessaryIsInstance]
        return wish
    what = "an empty string" if wish == "" else kind(wish)
    raise ConfigurationError(
        f"trainer.{stage}(ckpt_path={wish!r}): {what} names no checkpoint; give a path, 'best', 'last' or None."
    )


def of_evaluation(stage: str, wish: CkptPath | Default, callbacks: Iterable[Checkpoint], of_the_fit: bool) -> CkptPath:
    """Return the checkpoint whose weights an evaluation takes; None for the weights as they are.

    Args:
        callbacks: those that save checkpoints.
        of_the_fit: the module of the last fit is meant, and with it the best that was saved, where nothing was said.

    Raises:
        ConfigurationError: 'best' or 'last' was asked for, and there is none.
    """
    if wish is BEST_IF_ANY:
        return best(callbacks) if of_the_fit else None
    if wish == BEST:
        return best(callbacks) or _none(stage, wish, callbacks)
    if wish == LAST:
        return newest(written(callbacks)) or _none(stage, wish, callbacks)
    assert not isinstance(wish, Default)
    return wish


def of_fit(wish: CkptPath, callbacks: Iterable[Checkpoint]) -> CkptPath:
    """Return the checkpoint that a fit continues from, as far as this Trainer's own runs know it. Before their records
    are emptied for the new run.

    Raises:
        ConfigurationError: 'best' was asked for, and there is none.
    """
    if wish == BEST:
        return best(callbacks) or _none("fit", wish, callbacks)
    return newest(written(callbacks)) if wish == LAST else wish


def best(callbacks: Iterable[Checkpoint]) -> str | None:
    """Return the best checkpoint of the first callback that has one; None where there is none that may be opened.

    A path that only stands in the checkpoint which the run continued from is not opened; a warning says so.
    """
    saver = next((callback for callback in callbacks if callback.best_model_path), None)
    if saver is None or saver.may_open_best():
        return None if saver is None else saver.best_model_path
    warnings.warn(
        f"the best checkpoint so far, {saver.best_model_path!r}, is only named in the checkpoint that the run "
        "continued from: it is not opened. Give its path as ckpt_path where you trust it.",
        UserWarning,
        stacklevel=2,
    )
    return None


def written(callbacks: Iterable[Checkpoint]) -> Iterator[str]:
    """Yield the checkpoints that the callbacks have written and kept."""
    for callback in callbacks:
        best_path = callback.best_model_path if callback.may_open_best() else ""
        yield from (path for path in (*callback.kept(), callback.last_model_path, best_path) if path)


def standing(callbacks: Iterable[Checkpoint], suffix: str) -> Iterator[str]:
    """Yield the checkpoints that stand in the callbacks' directories, whoever wrote them."""
    for callback in callbacks:
        directory = callback.dirpath
        if directory is not None and files.is_dir(directory):
            names = (name for name in files.list_dir(directory) if name.endswith(suffix))
            yield from (files.join(directory, name) for name in names)


def newest(paths: Iterable[str]) -> str | None:
    """Return the one that was written last, of those that are still there."""
    return max((path for path in paths if files.exists(path)), key=files.modified, default=None)


def _none(stage: str, wish: CkptPath, callbacks: Iterable[Checkpoint]) -> None:
    why = "nothing was saved yet" if any(True for _ in callbacks) else "this Trainer saves no checkpoints"
    raise ConfigurationError(
        f"trainer.{stage}(ckpt_path={wish!r}): there is no such checkpoint, {why}; fit first, give a path, or "
        "ckpt_path=None for the weights as they are."
    )
