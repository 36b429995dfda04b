"""Metrics, hyperparameters, media and checkpoints for Weights & Biases. Imports wandb at the first use."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

from functrain import files
from functrain.loggers.base import numbers
from functrain.loggers.client import ClientLogger, plain_hyperparams
from functrain.loggers.saved import LogModel, Saved, Uploads, metadata
from functrain.trainer.callback import Checkpoint
from functrain.trainer.errors import ConfigurationError

STEP = "trainer/global_step"
"""The metric that holds the step, by which all others are shown."""


class WandbLogger(ClientLogger):
    """Writes to a run of Weights & Biases, which is made at the first use, and goes on until `wandb.finish()` or the
    end of the program: a test after a fit is of the same run.

    Where a run of wandb's is under way already, it is that one that is written to, and a warning says so.

    Args:
        name: of the run, to be shown.
        save_dir: where wandb keeps its files; default: the working directory.
        offline: write files alone, which `wandb sync` uploads.
        id, version: of the run, one or the other; that of an earlier run goes on with it.
        anonymous: True where a run needs no account; for older versions of wandb.
        project: default: the variable WANDB_PROJECT, else 'lightning_logs'.
        log_model: upload the checkpoints of the ModelCheckpoints: 'all' when they are saved, True those that are left
            at the end of the fit.
        experiment: a run that `wandb.init` has returned.
        prefix: put in front of every metric's name, with a `-`.
        checkpoint_name: of the uploaded checkpoints; default: `model-` and the run's id.
        agg_key_funcs, agg_default_func: not available; must be None.
        kwargs: further arguments of `wandb.init`, such as `entity`, `group`, `tags`.

    Raises:
        ConfigurationError: wandb is not installed, or arguments that contradict each other.
    """

    PACKAGE: ClassVar[str] = "wandb"
    INSTALL: ClassVar[str] = "wandb"

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        offline: bool = False,
        id: str | None = None,
        anonymous: bool | None = None,
        version: str | None = None,
        project: str | None = None,
        log_model: LogModel = False,
        experiment: Any = None,
        prefix: str = "",
        agg_key_funcs: None = None,
        agg_default_func: None = None,
        checkpoint_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, agg_key_funcs, agg_default_func)
        if offline and log_model:
            raise ConfigurationError(
                f"WandbLogger(offline=True, log_model={log_model!r}): checkpoints cannot be uploaded offline; leave "
                "one out."
            )
        if id is not None and version is not None and id != version:
            raise ConfigurationError(
                f"WandbLogger(id={id!r}, version={version!r}): two names of one argument; give one."
            )
        self._uploads = Uploads(log_model, "WandbLogger")
        self._experiment = experiment
        if experiment is not None:
            id = experiment.id
        self._checkpoint_name = checkpoint_name
        directory = save_dir if save_dir is not None else kwargs.pop("dir", None)
        self._init: dict[str, Any] = {
            "name": name,
            "project": project or os.environ.get("WANDB_PROJECT", "lightning_logs"),
            "dir": None if directory is None else os.path.expanduser(os.fspath(directory)),
            "id": version or id or _new_id(),
            **({"mode": "offline"} if offline else {"resume": "allow"}),
            **({"anonymous": "allow"} if anonymous else {}),
            **kwargs,
        }

    def _connect(self, library: ModuleType) -> Any:
        if library.run is not None and library.run.id != self._init["id"]:
            warnings.warn(
                f"WandbLogger: a run of wandb is under way, {library.run.name!r} ({library.run.id}), and is written "
                "to. For a run of its own call wandb.finish() before.",
                UserWarning,
                stacklevel=4,
            )
        if library.run is not None:
            self._init["id"] = library.run.id
            return library.run
        if self._init["dir"] is not None:
            files.ensure_directory(self._init["dir"])
        run = library.init(**self._init)
        if not self._init.get("sync_tensorboard"):
            run.define_metric(STEP)
            run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    @property
    def name(self) -> str:
        """The project."""
        return self._init["project"]

    @property
    def version(self) -> str:
        """The run's id."""
        return self._init["id"]

    def _take_version(self, version: Any) -> None:
        self._init["id"] = version

    @property
    def save_dir(self) -> str | None:
        """The directory of wandb's files; None for the working directory."""
        return self._init["dir"]

    @property
    def log_dir(self) -> str:
        """The directory for further files of this run."""
        return files.join(self.save_dir or ".", self.name, self.version)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one step.

        Raises:
            TypeError: a value is no number. The message names it.
        """
        if self._writes:
            self._log(numbers(metrics), step)

    def _log(self, values: Mapping[str, Any], step: int | None) -> None:
        named = self._named(values)
        if step is not None and not self._init.get("sync_tensorboard"):
            named[STEP] = step
        self.experiment.log(named)

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Add to the run's config; what is no plain value as text. `metrics`, where given, are logged."""
        if not self._writes:
            return
        self.experiment.config.update(plain_hyperparams(params), allow_val_change=True)
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def watch(self, model: Any, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = True) -> None:
        """Record gradients, parameters ('parameters', or 'all') and the graph of a torch module while it trains."""
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Record a table, of columns and rows or of a DataFrame; cells may be wandb's media."""
        if self._writes:
            rows = None if data is None else [list(row) for row in data]
            names = None if columns is None else list(columns)
            self._log({key: self.library().Table(columns=names, data=rows, dataframe=dataframe)}, step)

    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Record texts as a table."""
        self.log_table(key, columns, data, dataframe, step)

    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Record images: arrays, tensors, PIL images or paths.

        Args:
            kwargs: lists of further arguments of `wandb.Image`, one an image, such as `caption`.

        Raises:
            TypeError: `images` is no list.
            ValueError: a list in `kwargs` has another length.
        """
        if not isinstance(images, list | tuple):
            raise TypeError(f"WandbLogger.log_image: images is a {type(images).__name__}; give a list of images")
        for name, values in kwargs.items():
            if len(values) != len(images):
                raise ValueError(
                    f"WandbLogger.log_image: there are {len(images)} images, and {name} has {len(values)} values; give "
                    "one an image"
                )
        if self._writes:
            made = [
                self.library().Image(image, **{name: values[i] for name, values in kwargs.items()})
                for i, image in enumerate(images)
            ]
            self._log({key: made}, step)

    def after_save_checkpoint(self, checkpoint_callback: Checkpoint) -> None:
        """A ModelCheckpoint has saved."""
        for saved in self._uploads.after_save(checkpoint_callback):
            self._upload(saved)

    def _upload(self, saved: Saved) -> None:
        name = self._checkpoint_name or f"model-{self.version}"
        artifact = self.library().Artifact(name=name, type="model", metadata=metadata(saved))
        if files.is_remote(saved.path):
            artifact.add_reference(saved.path, name="model.ckpt")
        elif files.is_dir(saved.path):
            artifact.add_dir(saved.path, name="model.ckpt")
        else:
            artifact.add_file(saved.path, name="model.ckpt")
        self.experiment.log_artifact(artifact, aliases=saved.aliases)

    def finalize(self, status: str) -> None:
        """A run of the Trainer is over: upload what is to be. wandb's run goes on."""
        if status != "failed":
            for saved in self._uploads.at_the_end():
                self._upload(saved)


def _new_id() -> str:
    """Return an id as wandb makes them, without a draw from the generators of the run."""
    return "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(8))
