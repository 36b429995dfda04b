"""The parser of a LightningCLI: jsonargparse's, which also knows modules, data modules, Trainers, callbacks, optimizers
and schedulers; and the callback that keeps what was parsed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedulers
from torch.optim.lr_scheduler import LRScheduler

from functrain import files
from functrain.loggers.base import Logger
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flagged import help_of_flags
from functrain.trainer.foreign import MetricsLogger
from functrain.trainer.trainer import Trainer
from functrain.trainer.world import on_first
from functrain_torch.datamodule import LightningDataModule
from functrain_torch.module import LightningModule

if find_spec("jsonargparse") is None:
    raise ConfigurationError(
        "functrain_torch.cli: jsonargparse reads the command line, and is not installed: pip install "
        "'jsonargparse[signatures]' (or pip install 'functrain[cli]')."
    )

from jsonargparse import (
    ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage]
    ArgumentParser,
    Namespace,
    class_from_function,  # pyright: ignore[reportPrivateImportUsage]
)

AUTOMATIC = "AUTOMATIC"
"""The link of optimizers and schedulers that become the module's without a word of its own."""


class ReduceLROnPlateau(schedulers.ReduceLROnPlateau):
    """torch's scheduler, which also says what metric it watches."""

    def __init__(self, optimizer: Optimizer, monitor: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, **kwargs)
        self.monitor = monitor


Args = list[str] | dict[str, Any] | Namespace | None
Loggers = bool | Logger | MetricsLogger | Iterable[Logger | MetricsLogger] | None
SCHEDULERS: tuple[type, ...] = (LRScheduler, ReduceLROnPlateau)
KINDS = (Trainer, LightningModule, LightningDataModule, Callback)


class LightningArgumentParser(ArgumentParser):
    """jsonargparse's parser, with arguments of classes by what they are.

    Attributes:
        callback_keys: where the arguments of callbacks are, which the Trainer gets.
    """

    def __init__(
        self,
        *args: Any,
        description: str = "Command line of the Trainer",
        env_prefix: str = "PL",
        default_env: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs = {"description": description, "env_prefix": env_prefix, "default_env": default_env, **kwargs}
        # A flag that is cut short would mean another one as soon as there is one.
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self.callback_keys: list[str] = []
        self._optimizers: dict[str, tuple[Any, str]] = {}
        self._lr_schedulers: dict[str, tuple[Any, str]] = {}

    def add_config_argument(self) -> None:
        """Take `--config file.yaml`, once or several times; what comes later wins."""
        self.add_argument("--config", action=ActionConfigFile, help="a configuration file, in YAML or JSON")

    def add_lightning_class_args(
        self,
        lightning_class: Callable[..., Any] | type,
        nested_key: str,
        subclass_mode: bool = False,
        required: bool = True,
    ) -> list[str]:
        """Take the arguments of a class, below a key.

        Args:
            lightning_class: a Trainer, module, data module or callback class, or a function that returns one.
            nested_key: such as 'model', for `--model.lr`.
            subclass_mode: take any subclass of it, `--model MyModel`.
            required: where a subclass must be named.

        Raises:
            ConfigurationError: it is of another kind.
        """
        kind: Any = lightning_class if isinstance(lightning_class, type) else class_from_function(lightning_class)
        if not (isinstance(kind, type) and issubclass(kind, KINDS)):
            raise ConfigurationError(
                f"add_lightning_class_args({getattr(lightning_class, '__name__', lightning_class)}): must be a class "
                "of Trainers, LightningModules, LightningDataModules or Callbacks, or a function that returns one."
            )
        if issubclass(kind, Callback):
            self.callback_keys.append(nested_key)
        if subclass_mode:
            self.add_subclass_arguments(kind, nested_key, fail_untyped=False, required=required)
            return [nested_key]
        if issubclass(kind, Trainer):
            return self._add_trainer(kind, nested_key)
        return self.add_class_arguments(kind, nested_key, fail_untyped=False, sub_configs=True)

    def _add_trainer(self, kind: type[Trainer], nested_key: str) -> list[str]:
        known = inspect.signature(kind).parameters
        skipped: set[str | int] = set(kind.older_names)
        if "logger" in known:
            skipped.add("logger")
        added = self.add_class_arguments(
            kind, nested_key, instantiate=False, fail_untyped=False, sub_configs=True, skip=skipped
        )
        if "logger" in known:
            key = f"{nested_key}.logger"
            self.add_argument(f"--{key}", type=Loggers, default=known["logger"].default)
            added.append(key)
        helps = {f"{nested_key}.{name}": text for name, text in help_of_flags().items()}
        for action in self._actions:
            if action.dest in helps:
                action.help = helps[action.dest].replace("%", "%%")
        return added

    def add_optimizer_args(
        self,
        optimizer_class: type[Optimizer] | tuple[type[Optimizer], ...] = (Optimizer,),
        nested_key: str = "optimizer",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Take an optimizer and its arguments.

        Args:
            optimizer_class: that class, `--optimizer.lr`; or, of a tuple, any subclass, `--optimizer Adam`.
            nested_key: where its arguments are.
            link_to: the argument that gets them, such as 'model.optimizer_init'; 'AUTOMATIC' for the module's own
                `configure_optimizers`.
        """
        self._add_of_module(optimizer_class, (Optimizer,), nested_key, "params")
        self._optimizers[nested_key] = (optimizer_class, link_to)

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: Any = SCHEDULERS,
        nested_key: str = "lr_scheduler",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Take a learning-rate scheduler and its arguments; as `add_optimizer_args`."""
        self._add_of_module(lr_scheduler_class, SCHEDULERS, nested_key, "optimizer")
        self._lr_schedulers[nested_key] = (lr_scheduler_class, link_to)

    def _add_of_module(self, given: Any, bases: tuple[type, ...], nested_key: str, first: str) -> None:
        """Take the arguments of a class but for its first, which comes from the module."""
        classes = given if isinstance(given, tuple) else (given,)
        for each in classes:
            if not (isinstance(each, type) and issubclass(each, bases)):
                raise ConfigurationError(
                    f"add arguments below {nested_key!r}: {each!r} is no subclass of "
                    f"{' or '.join(base.__name__ for base in bases)}."
                )
        if isinstance(given, tuple):
            self.add_subclass_arguments(given, nested_key, instantiate=False, fail_untyped=False, skip={first})
        else:
            self.add_class_arguments(
                given, nested_key, instantiate=False, fail_untyped=False, sub_configs=True, skip={first}
            )

    def automatic(self) -> tuple[list[str], list[str]]:
        """Return the keys of the optimizers and of the schedulers that become the module's by themselves."""
        found = (self._optimizers, self._lr_schedulers)
        optimizers, lr_schedulers = ([key for key, (_, link) in of.items() if link == AUTOMATIC] for of in found)
        return optimizers, lr_schedulers

    def add_automatic(self) -> None:
        """Take an optimizer and a scheduler, `--optimizer` and `--lr_scheduler`, where none was added."""
        if not self._optimizers:
            self.add_optimizer_args()
        if not self._lr_schedulers:
            self.add_lr_scheduler_args()

    def link_added(self) -> None:
        """Hand the arguments of optimizers and schedulers to what they are linked to."""
        for key, (kind, link_to) in {**self._optimizers, **self._lr_schedulers}.items():
            if link_to == AUTOMATIC:
                continue
            if isinstance(kind, tuple):
                self.link_arguments(key, link_to)
            else:
                self.link_arguments(key, link_to, compute_fn=_Named(kind))

    def init_of(self, key: str, config: Namespace | None) -> dict[str, Any] | None:
        """Return what an optimizer or scheduler is made of, by 'class_path' and 'init_args'; None where none was named.

        Args:
            config: what was parsed below its key.
        """
        kind = {**self._optimizers, **self._lr_schedulers}[key][0]
        if config is None:
            return None
        return config.as_dict() if isinstance(kind, tuple) else _Named(kind)(config.as_dict())


class _Named:
    """Names the class that arguments are of. An object, as jsonargparse asks for its return type."""

    def __init__(self, kind: type) -> None:
        self.path = f"{kind.__module__}.{kind.__qualname__}"

    def __call__(self, config: Any) -> dict[str, Any]:
        return {"class_path": self.path, "init_args": config}


class SaveConfigCallback(Callback):
    """Writes what was parsed beside the logs, when the first run begins: `--config` with that file repeats it.

    Args:
        parser: reads and writes it.
        config: what was parsed.
        config_filename: the file's name, in `trainer.log_dir`.
        overwrite: replace a file that is there.
        multifile: where the configuration came in several files, write several.
        save_to_log_dir: False: `save_config` alone keeps it.

    Raises:
        ConfigurationError: when the run begins: the file is there already.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        self.parser, self.config, self.config_filename = parser, config, config_filename
        self.overwrite, self.multifile, self.save_to_log_dir = overwrite, multifile, save_to_log_dir
        self.already_saved = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str | None = None) -> None:
        """Write it, once."""
        if not self.already_saved:
            on_first(trainer.world, lambda: self._save(trainer, pl_module, str(stage)))
            self.already_saved = True

    def _save(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self.save_to_log_dir:
            path = files.join(trainer.log_dir, self.config_filename)
            if files.exists(path) and not self.overwrite:
                raise ConfigurationError(
                    f"LightningCLI: {path} is there already, of an earlier run. Remove it, log to another directory, "
                    "or give LightningCLI(save_config_overwrite=True), or save_config_callback=None to keep none."
                )
            files.ensure_directory(trainer.log_dir)
            if self.multifile:
                self.parser.save(self.config, path, skip_unset=False, overwrite=self.overwrite, multifile=True)
            else:
                with files.atomic_write(path, "w") as file:
                    file.write(self.parser.dump(self.config, skip_unset=False))
        self.save_config(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Keep it elsewhere too; for subclasses. Called in the first process."""
