"""Finetuning: parts of a module are frozen at first, and join the training later, with rates of their own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeAlias

from torch.nn import Module, Parameter
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from functrain.callbacks import Callback
from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.narrow import is_count
from functrain_torch.optimizers import parameters_of

Modules: TypeAlias = Module | Iterable["Modules"]


def multiplicative(epoch: int) -> float:
    """Return by how much a backbone's rate grows each epoch: it doubles."""
    return 2.0


class BaseFinetuning(Callback):
    """Freezes parts of a module before a fit, and trains them later: subclass it, and define `freeze_before_training`
    and `finetune_function`.

    `configure_optimizers` gives its optimizer the parameters that require gradients, those that are not frozen;
    `unfreeze_and_add_param_group` gives it the others when their time comes. A checkpoint knows which groups were added
    and what is frozen, so a run that continues has them without a further word.

    A frozen layer of batch normalization neither learns nor counts: its `track_running_stats` is False.
    """

    def __init__(self) -> None:
        self._module: Module | None = None

    # what a subclass defines

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze what is not to be trained at first; before `configure_optimizers` is called."""
        raise NotImplementedError(f"{type(self).__name__} defines no freeze_before_training.")

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer, opt_idx: int) -> None:
        """Unfreeze what is due; at the start of every epoch, for every optimizer. `opt_idx` may be left out."""
        raise NotImplementedError(f"{type(self).__name__} defines no finetune_function.")

    # when

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: freeze."""
        if stage == "fit":
            self._module = pl_module
            self.freeze_before_training(pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins: unfreeze what is due."""
        for index, optimizer in enumerate(trainer.run.engine.configured.optimizers):
            given: tuple[Any, ...] = (pl_module, trainer.current_epoch, optimizer, index)
            self.finetune_function(*given[: _most(self.finetune_function)])

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage ends."""
        self._module = None

    def state_dict(self) -> dict[str, Any]:
        """Return which layers of batch normalization do not count."""
        return {"not_tracking": [name for name, layer in self._batch_norms() if not layer.track_running_stats]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the layers count, or not, as they did."""
        still = set(state_dict["not_tracking"])
        for name, layer in self._batch_norms():
            layer.track_running_stats = name not in still

    def _batch_norms(self) -> list[tuple[str, Any]]:
        named = () if self._module is None else self._module.named_modules()
        return [(name, layer) for name, layer in named if isinstance(layer, _BatchNorm)]

    # tools

    @staticmethod
    def flatten_modules(modules: Modules) -> list[Module]:
        """Return the modules without children, and those with parameters of their own, of a module or of several."""
        if isinstance(modules, Module):
            parts = list(modules.modules())
        elif isinstance(modules, Iterable):
            parts = [part for module in modules for part in BaseFinetuning.flatten_modules(module)]
        else:
            raise ConfigurationError(f"finetuning: {kind(modules)} is neither a module nor several of them.")
        return list(dict.fromkeys(part for part in parts if part._parameters or not part._modules))

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Generator[Parameter]:
        """Yield the parameters of modules that are trained, or those that are not.

        Args:
            train_bn: also those of batch normalization.
            requires_grad: yield those that are trained; False for those that are frozen.
        """
        for part in BaseFinetuning.flatten_modules(modules):
            if isinstance(part, _BatchNorm) and not train_bn:
                continue
            yield from (p for p in part.parameters(recurse=False) if p.requires_grad == requires_grad)

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Have all parameters of modules require gradients."""
        for part in BaseFinetuning.flatten_modules(modules):
            _set_trainable(part, True)

    @staticmethod
    def freeze_module(module: Module) -> None:
        """Freeze the parameters of a module itself, not those of its children."""
        _set_trainable(module, False)

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Freeze modules.

        Args:
            train_bn: leave batch normalization trainable.
        """
        for part in BaseFinetuning.flatten_modules(modules):
            _set_trainable(part, isinstance(part, _BatchNorm) and train_bn)

    @staticmethod
    def filter_on_optimizer(optimizer: Optimizer, params: Iterable[Parameter]) -> list[Parameter]:
        """Return those of the parameters that the optimizer does not have, with a warning about the others."""
        known, given = {id(parameter) for parameter in parameters_of(optimizer)}, list(params)
        new = [parameter for parameter in given if id(parameter) not in known]
        if len(new) < len(given):
            warnings.warn(
                f"finetuning: {len(given) - len(new)} of the parameters that are unfrozen are in the "
                f"{type(optimizer).__name__} already, and stay in the group that they are in: give it only those that "
                "require gradients, [p for p in self.parameters() if p.requires_grad].",
                UserWarning,
                stacklevel=3,
            )
        return new

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Unfreeze modules, and give their parameters to an optimizer, as a group of its own.

        Args:
            lr: the group's rate; None for that of the first group, divided by `initial_denom_lr`.
            train_bn: batch normalization too; else it stays as it is.
        """
        trained = {id(p) for p in BaseFinetuning.filter_params(modules)}
        known = {id(p) for p in parameters_of(optimizer)}
        for part in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(part, _BatchNorm):
                _set_trainable(part, True)
        rate = float(optimizer.param_groups[0]["lr"]) / initial_denom_lr if lr is None else float(lr)
        # What was trained all the time, as batch normalization may be, is not unfrozen.
        unfrozen = (p for p in BaseFinetuning.filter_params(modules, train_bn) if id(p) not in trained & known)
        if new := BaseFinetuning.filter_on_optimizer(optimizer, unfrozen):
            optimizer.add_param_group({"params": new, "lr": rate})


class BackboneFinetuning(BaseFinetuning):
    """Freezes `pl_module.backbone`, and trains it from an epoch on, with a rate that grows.

    Args:
        unfreeze_backbone_at_epoch: the epoch, from 0, in which it joins.
        lambda_func: `lambda_func(epoch + 1)` is by how much its rate grows at the start of a later epoch.
        backbone_initial_ratio_lr: its first rate, as a part of the first group's.
        backbone_initial_lr: its first rate, in place of that.
        should_align: its rate never grows beyond the first group's.
        initial_denom_lr: not used, since its first rate is always given; it is there for `BaseFinetuning`.
        train_bn: train its batch normalization, all the time; else never.
        verbose: print both rates at the start of every epoch from then on.
        rounding: to so many digits.

    Raises:
        ConfigurationError: an epoch that is no count; at the start of a fit, a module without a backbone, or with
            several optimizers.
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = multiplicative,
        backbone_initial_ratio_lr: float = 10e-2,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        if not is_count(unfreeze_backbone_at_epoch):
            raise ConfigurationError(
                f"BackboneFinetuning(unfreeze_backbone_at_epoch={unfreeze_backbone_at_epoch!r}): must be an int >= 0."
            )
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        self.previous_backbone_lr: float | None = None
        self._group: int | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """A fit begins: is there a backbone?"""
        backbone = getattr(pl_module, "backbone", None)
        if not isinstance(backbone, Module):
            raise ConfigurationError(
                f"BackboneFinetuning: {type(pl_module).__name__}.backbone is {kind(backbone)}; it must be the "
                "torch.nn.Module that is frozen at first."
            )
        self.previous_backbone_lr = self._group = None

    def state_dict(self) -> dict[str, Any]:
        """Return the backbone's rate too, and which parameter group it is."""
        mine = {"previous_backbone_lr": self.previous_backbone_lr, "group": self._group}
        return {**super().state_dict(), **mine}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.previous_backbone_lr, self._group = state_dict["previous_backbone_lr"], state_dict["group"]
        super().load_state_dict(state_dict)

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze the backbone."""
        self.freeze(pl_module.backbone, self.train_bn)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer, opt_idx: int = 0) -> None:
        """Train the backbone from its epoch on, and have its rate grow."""
        if opt_idx:
            raise ConfigurationError(
                f"BackboneFinetuning: {type(pl_module).__name__} has several optimizers, and the backbone is for one "
                "of them; subclass BaseFinetuning and say for which."
            )
        if epoch < self.unfreeze_backbone_at_epoch:
            return
        rate = float(optimizer.param_groups[0]["lr"])
        before, first = self.previous_backbone_lr, self.backbone_initial_lr
        if before is None:
            own = rate * self.backbone_initial_ratio_lr if first is None else first
            groups = len(optimizer.param_groups)
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, own, self.initial_denom_lr, self.train_bn)
            self._group = groups if len(optimizer.param_groups) > groups else None
        else:
            own = self.lambda_func(epoch + 1) * before
            own = min(own, rate) if self.should_align else own
            if self._group is not None:  # else the optimizer had the backbone from the start
                optimizer.param_groups[self._group]["lr"] = own
        self.previous_backbone_lr = own
        if self.verbose:
            shown = (round(each, self.rounding) for each in (rate, own))
            pl_module.trainer.print("Current lr: {}, Backbone lr: {}".format(*shown))


def _set_trainable(part: Module, trains: bool) -> None:
    if isinstance(part, _BatchNorm):
        part.track_running_stats = trains
    for parameter in part.parameters(recurse=False):
        parameter.requires_grad_(trains)


def _most(method: Callable[..., Any]) -> int | None:
    """Return how many arguments a method takes by position; None for any number."""
    parameters = list(inspect.signature(method).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
