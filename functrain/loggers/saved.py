"""Which checkpoints a logger is to upload, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from functrain import files
from functrain.trainer.callback import Checkpoint
from functrain.trainer.errors import ConfigurationError

LogModel = bool | Literal["all"]


class Saved(NamedTuple):
    """A checkpoint that was not uploaded yet.

    Attributes:
        score: of the metric that is watched; None without one.
        aliases: 'latest', and 'best' where it is.
    """

    path: str
    score: float | None
    aliases: list[str]


class Uploads:
    """What is uploaded of the checkpoints of a callback: 'all' of them when they are saved, or (True) at the end of the
    run those that are left then; with `save_top_k=-1` both are the same."""

    def __init__(self, log_model: LogModel, owner: str) -> None:
        if log_model not in (True, False, "all"):
            raise ConfigurationError(f"{owner}(log_model={log_model!r}): must be True, False or 'all'.")
        self.log_model = log_model
        self._done: dict[str, float] = {}
        self._waiting: list[Checkpoint] = []

    def after_save(self, callback: Checkpoint) -> list[Saved]:
        """Return what is to be uploaded now that the callback has saved."""
        at_once = self.log_model == "all" or (self.log_model and callback.save_top_k == -1)
        if at_once:
            return list(self._new(callback))
        if self.log_model and callback not in self._waiting:
            self._waiting.append(callback)
        return []

    def at_the_end(self) -> list[Saved]:
        """Return what is to be uploaded now that the run is over."""
        waiting, self._waiting = self._waiting, []
        return [saved for callback in waiting for saved in self._new(callback)]

    def _new(self, callback: Checkpoint) -> Iterator[Saved]:
        watches = callback.best_model_score is not None
        scores = callback.best_k_models if watches else {}
        best = callback.best_model_path
        for path in dict.fromkeys([*callback.kept(), best, callback.last_model_path]):
            if not path or not files.exists(path):
                continue
            written = files.modified(path)
            if self._done.get(path) != written:
                self._done[path] = written
                yield Saved(path, scores.get(path), ["latest", "best"] if path == best else ["latest"])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_waiting": []}


def metadata(saved: Saved, callback: str = "ModelCheckpoint") -> dict[str, Any]:
    """Return what is told of a checkpoint."""
    return {"score": saved.score, "original_filename": os.path.basename(saved.path), "saved_by": callback}
