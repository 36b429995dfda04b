"""LightningCLI: a module, its data and a Trainer from the command line and configuration files.

Needs jsonargparse, which does the reading.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from types import MethodType
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from functrain.seed import seed_everything
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.hooks import overrides
from functrain_torch.cli_parser import (
    Args,
    LightningArgumentParser,
    Namespace,
    ReduceLROnPlateau,
    SaveConfigCallback,
    class_from_function,  # pyright: ignore[reportPrivateImportUsage]
)
from functrain_torch.compat.trainer import Trainer
from functrain_torch.datamodule import LightningDataModule
from functrain_torch.module import LightningModule

ArgsType = Args
OptimizerCallable = Callable[[Iterable[Any]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)

LOADERS = {
    "model", "datamodule", "train_dataloaders", "train_dataloader", "val_dataloaders", "val_dataloader", "dataloaders",
    "test_dataloaders", "test_dataloader", "state", "ckpt_path",
}  # fmt: skip
"""The arguments of the Trainer's methods that a command line does not give as they are."""


class LightningCLI:
    """Reads the command line, makes module, data module and Trainer, and runs the subcommand.

    Args:
        model_class: the module's class, or a function that returns a module; None: any, by `--model`.
        datamodule_class: the data module's, likewise; None: one may be named by `--data`.
        save_config_callback: keeps what was parsed; None for nothing.
        save_config_filename: the file's name, in `trainer.log_dir`.
        save_config_overwrite: replace a file that is there.
        save_config_multifile: write several files where several were read.
        trainer_class: the Trainer's class, or a function that returns one.
        trainer_defaults: flags that are otherwise than the Trainer's own defaults; callbacks are added to those that
            are asked for, and objects, which no file can say, are not written to it.
        seed_everything_default: the seed where none is given; True draws one, None or False seeds nothing.
        parser_kwargs: of the parser; or, by subcommand, of the parsers of each.
        subclass_mode_model: `--model` names any subclass of `model_class`.
        subclass_mode_data: `--data` names any subclass of `datamodule_class`.
        run: False: no subcommands; only make the objects.
        args: what stands for `sys.argv[1:]`: a list, or the values as a dict.
        save_config_kwargs: further arguments of `save_config_callback`; 'config_filename', 'overwrite' and 'multifile'
            there win.
        parser_class: the parser's class.
        auto_configure_optimizers: take `--optimizer` and `--lr_scheduler`, and have them be the module's.
        description, env_prefix, env_parse: of all parsers: what the help says first, and whether variables of the
            environment are read, with which prefix.

    Attributes:
        parser, config, config_init: the parser, what it read, and the same with objects made.
        subcommand: the one that runs; None with run=False.
        model, datamodule, trainer: what was made.

    Raises:
        SystemExit: the command line is wrong; standard error says how.
    """

    def __init__(
        self,
        model_class: type[LightningModule] | Callable[..., LightningModule] | None = None,
        datamodule_class: type[LightningDataModule] | Callable[..., LightningDataModule] | None = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_filename: str = "config.yaml",
        save_config_overwrite: bool = False,
        save_config_multifile: bool = False,
        trainer_class: type[Any] | Callable[..., Any] = Trainer,
        trainer_defaults: dict[str, Any] | None = None,
        seed_everything_default: bool | int | None = True,
        parser_kwargs: dict[str, Any] | None = None,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        run: bool = True,
        args: Args = None,
        *,
        save_config_kwargs: dict[str, Any] | None = None,
        parser_class: type[LightningArgumentParser] = LightningArgumentParser,
        auto_configure_optimizers: bool = True,
        description: str | None = None,
        env_prefix: str | None = None,
        env_parse: bool | None = None,
    ) -> None:
        self.save_config_callback = save_config_callback
        self.save_config_kwargs = {
            "config_filename": save_config_filename, "overwrite": save_config_overwrite,
            "multifile": save_config_multifile, **(save_config_kwargs or {}),
        }  # fmt: skip
        self.trainer_class = trainer_class
        self.trainer_defaults = trainer_defaults or {}
        self.seed_everything_default = seed_everything_default
        self.parser_class = parser_class
        self.auto_configure_optimizers = auto_configure_optimizers
        self.model_class: Any = model_class or LightningModule
        self.datamodule_class: Any = datamodule_class or LightningDataModule
        self.subclass_mode_model = model_class is None or subclass_mode_model
        self.subclass_mode_data = datamodule_class is None or subclass_mode_data
        self._has_data = datamodule_class is not None
        said = {"description": description, "env_prefix": env_prefix, "default_env": env_parse}
        self._of_all_parsers = {name: value for name, value in said.items() if value is not None}
        self._parsers: dict[str, LightningArgumentParser] = {}
        self._of_method: dict[str, list[str]] = {}
        self.parser = self._all_parsers(parser_kwargs or {}, run)
        self.config: Any = None
        self.parse_arguments(self.parser, args)
        self.subcommand: str | None = self.config["subcommand"] if run else None
        self._seed()
        self.before_instantiate_classes()
        self.instantiate_classes()
        self.after_instantiate_classes()
        if self.subcommand is not None:
            self._run(self.subcommand)

    # parsers

    def _all_parsers(self, kwargs: dict[str, Any], run: bool) -> LightningArgumentParser:
        if not run:
            return self._with_arguments(self.init_parser(**kwargs))
        names = self.subcommands()
        parser = self.init_parser(**{name: value for name, value in kwargs.items() if name not in names})
        subparsers = parser.add_subcommands()
        for name, skipped in names.items():
            text = (inspect.getdoc(getattr(self._trainer_type(), name)) or "").partition("\n")[0]
            own = self._with_arguments(self.init_parser(**{"description": text, **kwargs.get(name, {})}))
            self._add_method(own, name, skipped)
            subparsers.add_subcommand(name, own, help=text)
            self._parsers[name] = own
        return parser

    def _trainer_type(self) -> Any:
        kind = self.trainer_class
        return kind if isinstance(kind, type) else class_from_function(kind)

    def _add_method(self, parser: LightningArgumentParser, name: str, skipped: set[str]) -> None:
        kind = self._trainer_type()
        known = inspect.signature(getattr(kind, name)).parameters
        skip: set[str | int] = {each for each in known if each in skipped | LOADERS}
        self._of_method[name] = parser.add_method_arguments(kind, name, skip=skip, fail_untyped=False)
        if "ckpt_path" in known:
            parser.add_argument("--ckpt_path", type=str | None, help="the checkpoint: a path, 'best' or 'last'")

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser that takes `--config`."""
        parser = self.parser_class(**{**kwargs, **self._of_all_parsers})
        parser.add_config_argument()
        return parser

    def _with_arguments(self, parser: LightningArgumentParser) -> LightningArgumentParser:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            parser.add_automatic()
        parser.link_added()
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take `--seed_everything`."""
        parser.add_argument(
            "--seed_everything", type=bool | int | None, default=self.seed_everything_default,
            help="the seed of all random generators; true draws one",
        )  # fmt: skip

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take the arguments of Trainer, module and data module."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        plain = {name: value for name, value in self.trainer_defaults.items() if _can_be_written(value)}
        parser.set_defaults({f"trainer.{name}": value for name, value in plain.items() if name != "callbacks"})
        parser.add_lightning_class_args(self.model_class, "model", subclass_mode=self.subclass_mode_model)
        needs_data = self._has_data and self.subclass_mode_data
        parser.add_lightning_class_args(
            self.datamodule_class, "data", subclass_mode=self.subclass_mode_data, required=needs_data
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Take further arguments, and link some to others; for subclasses."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the methods of the Trainer that are subcommands, each with the arguments that are not taken."""
        return {name: {"model", "datamodule"} for name in ("fit", "validate", "test", "predict", "tune")}

    def parse_arguments(self, parser: LightningArgumentParser, args: Args) -> None:
        """Read the command line, or what stands for it, into `self.config`."""
        is_object = isinstance(args, dict | Namespace)
        self.config = parser.parse_object(args) if is_object else parser.parse_args(args)

    # objects

    def _own(self, config: Any) -> Any:
        """Return the part of the subcommand."""
        return config if self.subcommand is None else config[self.subcommand]

    def _parser(self) -> LightningArgumentParser:
        return self.parser if self.subcommand is None else self._parsers[self.subcommand]

    def _seed(self) -> None:
        config = self._own(self.config)
        seed = config["seed_everything"]
        if seed is not None and seed is not False:
            # What is saved says which it was.
            config["seed_everything"] = seed_everything(None if seed is True else seed, workers=True)

    def before_instantiate_classes(self) -> None:
        """For subclasses: everything is read, nothing made."""

    def instantiate_classes(self) -> None:
        """Make data module, module and Trainer."""
        self.config_init = self.parser.instantiate(self.config)
        made = self._own(self.config_init)
        self.datamodule: Any = made.get("data")
        self.model: Any = made.get("model")
        self._set_optimizers()
        self.trainer = self.instantiate_trainer()

    def after_instantiate_classes(self) -> None:
        """For subclasses: everything is made, nothing run."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Make the Trainer of what was read; these flags win."""
        made = self._own(self.config_init)
        flags = {**vars(made.get("trainer") or Namespace()), **kwargs}
        callbacks = [*_as_list(flags.get("callbacks")), *_as_list(self.trainer_defaults.get("callbacks"))]
        callbacks += [made.get(key) for key in self._parser().callback_keys]
        if self.save_config_callback is not None and not flags.get("fast_dev_run"):
            callbacks.append(
                self.save_config_callback(self._parser(), self._own(self.config), **self.save_config_kwargs)
            )
        # What is as by default is left out, so that another name of the same flag does not contradict it.
        defaults = {name: each.default for name, each in inspect.signature(self.trainer_class).parameters.items()}
        given = {name: value for name, value in flags.items() if not _is(value, defaults.get(name, Flags))}
        objects = {name: value for name, value in self.trainer_defaults.items() if not _can_be_written(value)}
        given = {**objects, **given}
        if "callbacks" in defaults:
            given["callbacks"] = callbacks
        else:
            warnings.warn(
                f"{type(self).__name__}: {self.trainer_class.__name__} takes no callbacks, so it gets none: neither "
                "those of the command line nor the one that keeps the configuration.",
                UserWarning,
                stacklevel=2,
            )
        return self.trainer_class(**given)

    # optimizers

    @staticmethod
    def configure_optimizers(lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: Any = None) -> Any:
        """Return what the module's `configure_optimizers` is to return, of the optimizer and scheduler that were asked
        for; for subclasses."""
        if lr_scheduler is None:
            return optimizer
        if isinstance(lr_scheduler, ReduceLROnPlateau):
            scheduler = {"scheduler": lr_scheduler, "monitor": lr_scheduler.monitor}
            return {"optimizer": optimizer, "lr_scheduler": scheduler}
        return [optimizer], [lr_scheduler]

    def _set_optimizers(self) -> None:
        """Have the module be trained by the optimizer that was asked for, where one was."""
        parser, made = self._parser(), self._own(self.config)
        keys, scheduler_keys = parser.automatic()
        if len(keys) > 1 or len(scheduler_keys) > 1:
            raise ConfigurationError(
                f"{type(self).__name__}: {', '.join([*keys, *scheduler_keys])} cannot all be the module's by "
                "themselves; give each a link_to, and make them in the module's configure_optimizers."
            )
        optimizer = parser.init_of(keys[0], made.get(keys[0])) if keys else None
        scheduler = parser.init_of(scheduler_keys[0], made.get(scheduler_keys[0])) if scheduler_keys else None
        if optimizer is None:
            if scheduler is not None:
                raise ConfigurationError(
                    f"{type(self).__name__}: --{scheduler_keys[0]} was given without "
                    f"--{keys[0] if keys else 'optimizer'}, of which it would set the rate; give both."
                )
            return
        if overrides(self.model, "configure_optimizers"):
            warnings.warn(
                f"{type(self).__name__}: the optimizer of the command line takes the place of "
                f"{type(self.model).__name__}.configure_optimizers.",
                UserWarning,
                stacklevel=2,
            )
        configure = _Configure(self.configure_optimizers, optimizer, scheduler)
        self.model.configure_optimizers = MethodType(configure, self.model)

    # running

    def _run(self, name: str) -> None:
        for call in (f"before_{name}", name, f"after_{name}"):
            own = getattr(self, call, None)
            if call == name:
                run = own if callable(own) else getattr(self.trainer, name)
                run(**self._arguments(name))
            elif callable(own):
                own()

    def _arguments(self, name: str) -> dict[str, Any]:
        made = self.config_init[name]
        given: dict[str, Any] = {key: made.get(key) for key in self._of_method[name]}
        if made.get("ckpt_path") is not None:
            given["ckpt_path"] = made["ckpt_path"]
        if self.datamodule is not None:
            given["datamodule"] = self.datamodule
        return {"model": self.model, **given}


class _Configure:
    """A module's `configure_optimizers`: makes optimizer and scheduler anew each time."""

    def __init__(
        self, returns: Callable[..., Any], optimizer: dict[str, Any], scheduler: dict[str, Any] | None
    ) -> None:
        self.returns, self.optimizer, self.scheduler = returns, optimizer, scheduler

    def __call__(self, module: LightningModule) -> Any:
        optimizer = instantiate_class(module.parameters(), self.optimizer)
        scheduler = None if self.scheduler is None else instantiate_class(optimizer, self.scheduler)
        return self.returns(module, optimizer=optimizer, lr_scheduler=scheduler)


def instantiate_class(args: Any, init: dict[str, Any]) -> Any:
    """Return an object of a class by its path.

    Args:
        args: the positional arguments: a tuple, or the only one.
        init: 'class_path' and, where there are any, 'init_args'.
    """
    module, _, name = init["class_path"].rpartition(".")
    positional = args if isinstance(args, tuple) else (args,)
    return getattr(import_module(module), name)(*positional, **init.get("init_args", {}))


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _can_be_written(value: Any) -> bool:
    """Return whether a configuration file can say it: plain values, and jsonargparse's lazy instances."""
    if isinstance(value, list | tuple):
        return all(map(_can_be_written, value))
    if isinstance(value, dict):
        return all(map(_can_be_written, value.values()))
    return isinstance(value, bool | int | float | str | None) or hasattr(value, "lazy_get_init_args")


def _is(value: Any, default: Any) -> bool:
    """Return whether it is the default: of the same type too, as 1 is not 1.0."""
    return type(value) is type(default) and value == default


__all__ = [
    "ArgsType",
    "LRSchedulerCallable",
    "LRSchedulerTypeTuple",
    "LightningArgumentParser",
    "LightningCLI",
    "Namespace",
    "OptimizerCallable",
    "ReduceLROnPlateau",
    "SaveConfigCallback",
    "instantiate_class",
]
