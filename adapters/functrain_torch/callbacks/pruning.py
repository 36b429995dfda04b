"""ModelPruning: weights are set to zero while a module is trained, over `torch.nn.utils.prune`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from functrain.callbacks import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.narrow import is_count, is_sequence
from functrain_torch.module import LightningModule

Parameters = Sequence[tuple[nn.Module, str]]
CONTAINERS = (LightningModule, nn.Sequential, nn.ModuleList, nn.ModuleDict)
METHODS: dict[str, Any] = {
    "ln_structured": prune.LnStructured,
    "l1_unstructured": prune.L1Unstructured,
    "random_structured": prune.RandomStructured,
    "random_unstructured": prune.RandomUnstructured,
}


class ModelPruning(Callback):
    """Sets a part of a module's weights to zero at the end of every epoch, and keeps them there.

    While it prunes, torch holds a weight as `weight_orig` and `weight_mask`. With `make_pruning_permanent` neither is
    left when training ends, and whatever `state_dict()` returns, checkpoints too, holds plain weights with zeros in
    them. The masks are in the callback's own state, so a run that continues prunes on.

    Args:
        pruning_fn: 'l1_unstructured', 'random_unstructured', 'ln_structured', 'random_structured', or a class of
            `torch.nn.utils.prune.BasePruningMethod`.
        parameters_to_prune: pairs of a layer of the module and 'weight' or 'bias'; default: all there are.
        parameter_names: of these names; default: `PARAMETER_NAMES`.
        use_global_unstructured: compare the weights of all layers; else each layer is pruned by itself.
        amount: how much of what is left is pruned each time: a part of it, a number of weights, or a function of the
            epoch that returns one of these.
        apply_pruning: whether to, or a function of the epoch that says so.
        make_pruning_permanent: leave plain weights.
        use_lottery_ticket_hypothesis: put what is left back to where it was before training; or a function of the
            epoch that says whether to.
        resample_parameters: put it to new random values in place of those.
        pruning_dim: of structured pruning, the dimension along which whole rows are pruned.
        pruning_norm: of 'ln_structured', the norm that rows are compared by.
        verbose: print how much is pruned: 1 in all, 2 of each layer too.
        prune_on_train_epoch_end: when a training epoch ends; else when a validation ends.

    Raises:
        ConfigurationError: an argument that cannot be; at the start of a fit, parameters that the module does not have.
    """

    PARAMETER_NAMES = ("weight", "bias")

    def __init__(
        self,
        pruning_fn: str | type[prune.BasePruningMethod],
        parameters_to_prune: Parameters = (),
        parameter_names: Sequence[str] | None = None,
        use_global_unstructured: bool = True,
        amount: int | float | Callable[[int], int | float] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | float | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        self._names = tuple(parameter_names or self.PARAMETER_NAMES)
        for name in self._names:
            if name not in self.PARAMETER_NAMES:
                raise _wrong(f"parameter_names={parameter_names!r}", f"of {', '.join(self.PARAMETER_NAMES)}")
        if verbose not in (0, 1, 2):
            raise _wrong(f"verbose={verbose!r}", "0, 1 or 2")
        if not callable(amount):
            _check_amount(amount)
        self.method, self.arguments = _method(pruning_fn, use_global_unstructured, pruning_dim, pruning_norm)
        self.use_global_unstructured = use_global_unstructured
        self.amount = amount
        self.verbose = verbose
        self._given = parameters_to_prune
        self._applies = apply_pruning
        self._makes_permanent = make_pruning_permanent
        self._draws_lots = use_lottery_ticket_hypothesis
        self._resamples = resample_parameters
        self._at_train_end = prune_on_train_epoch_end
        self._parameters: Parameters = ()
        self._paths: list[str] = []
        self._before: dict[str, Tensor] = {}
        self._saved: dict[str, Any] = {}
        self._handle: Any = None
        self._print: Callable[..., None] = print

    # what a subclass may change

    def filter_parameters_to_prune(self, parameters_to_prune: Parameters = ()) -> Parameters:
        """Return those of the parameters that are to be pruned."""
        return parameters_to_prune

    # when

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: find the parameters, and keep what they are before training."""
        if stage != "fit":
            return
        self._parameters = self.filter_parameters_to_prune(
            self.sanitize_parameters_to_prune(pl_module, self._given, self._names)
        )
        if not self._parameters:
            raise ConfigurationError(
                f"ModelPruning: {type(pl_module).__name__} has no {' or '.join(self._names)} to prune."
            )
        paths = {id(part): path for path, part in pl_module.named_modules()}
        self._paths = [_join(paths[id(layer)], name) for layer, name in self._parameters]
        self._before, self._saved, self._print = {}, {}, trainer.print
        if self._draws_lots:
            self._before = {path: _value(*which).clone() for path, which in self._by_path()}
        if self._makes_permanent:
            self._handle = pl_module.register_state_dict_post_hook(_plain)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins, or goes on with what was pruned before the checkpoint."""
        saved, self._saved = self._saved, {}
        for path, (layer, name) in self._by_path():
            if path in saved.get("masks", ()):
                prune.custom_from_mask(layer, name, saved["masks"][path].to(_value(layer, name).device))
            if path in saved.get("before", ()) and path in self._before:
                self._before[path] = saved["before"][path]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """A training epoch ends: prune."""
        if self._at_train_end:
            self._prune(trainer.current_epoch)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """A validation ends: prune, where it is asked for then."""
        if not self._at_train_end and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._prune(trainer.current_epoch)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The fit is over: leave plain weights. Not before, since a callback may change them when training ends."""
        if self._makes_permanent:
            # A checkpoint that is taken from now on is to know the masks too.
            self._saved = self.state_dict()
            self.make_pruning_permanent(pl_module)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage ends, however it ended."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
            self.make_pruning_permanent(pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint with plain weights calls their parameters by their plain names."""
        if not self._makes_permanent:
            return
        pruned = {f"{path}_orig": path for path, (layer, name) in self._by_path() if _is_pruned(layer, name)}
        for key in ("parameter_names", "frozen", "grads"):
            if key in checkpoint:
                checkpoint[key] = _renamed(checkpoint[key], pruned)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks, and the values from before training."""
        if self._saved:
            return dict(self._saved)
        masks = {path: _mask(*which).bool() for path, which in self._by_path() if _is_pruned(*which)}
        return {"masks": masks, "before": dict(self._before)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back when training begins."""
        self._saved = {name: dict(state_dict[name]) for name in ("masks", "before")}

    # what is done

    def apply_pruning(self, amount: int | float) -> None:
        """Prune so much of what is left."""
        before = self._zeros()
        for layer, name in self._parameters:
            if _is_pruned(layer, name):
                # torch prunes by what the last forward pass has computed, which is from before the last step.
                setattr(layer, name, _masked(layer, name))
        if self.use_global_unstructured:
            arguments = {"amount": amount, **self.arguments}
            prune.global_unstructured(self._parameters, self.method, **_taken(self.method, arguments))
        else:
            for layer, name in self._parameters:
                self.method.apply(layer, name, amount, **self.arguments)
        if self.verbose:
            self._tell(before, self._zeros(), amount)

    def apply_lottery_ticket_hypothesis(self) -> None:
        """Put what is left of the weights back to where it was before training, or to new values."""
        fresh: dict[int, nn.Module | None] = {}
        if self._resamples:
            fresh = {id(layer): _reset(layer) for layer in dict.fromkeys(layer for layer, _ in self._parameters)}
        with torch.no_grad():
            for path, (layer, name) in self._by_path():
                drawn = fresh.get(id(layer))
                value = self._before[path] if drawn is None else _value(drawn, name)
                _value(layer, name).copy_(value)

    def make_pruning_permanent(self, module: nn.Module) -> None:
        """Have every pruned layer of a module hold plain weights, with zeros in them."""
        _make_permanent(module)

    @staticmethod
    def sanitize_parameters_to_prune(
        pl_module: nn.Module, parameters_to_prune: Parameters = (), parameter_names: Sequence[str] = ()
    ) -> Parameters:
        """Return what is to be pruned: what is given, or all parameters of these names.

        Raises:
            ConfigurationError: it is not in the module, or is no list of pairs; says which.
        """
        layers = [layer for layer in pl_module.modules() if not isinstance(layer, CONTAINERS)]
        if not parameters_to_prune:
            names = parameter_names or ModelPruning.PARAMETER_NAMES
            return [(layer, name) for name in names for layer in layers if _has(layer, name)]
        if not _are_pairs(parameters_to_prune):
            raise _wrong("parameters_to_prune=...", "a list of pairs (torch.nn.Module, name of a parameter)")
        for layer, name in parameters_to_prune:
            if not any(layer is known for known in layers) or not _has(layer, name):
                raise ConfigurationError(
                    f"ModelPruning(parameters_to_prune=[({type(layer).__name__}, {name!r})]): "
                    f"{type(pl_module).__name__} has no such layer, or that layer no such parameter."
                )
        return parameters_to_prune

    def _prune(self, epoch: int) -> None:
        amount = self.amount(epoch) if callable(self.amount) else self.amount
        _check_amount(amount)
        if not _asked(self._applies, epoch) or not amount:
            return
        self.apply_pruning(amount)
        if _asked(self._draws_lots, epoch):
            self.apply_lottery_ticket_hypothesis()

    def _by_path(self) -> list[tuple[str, tuple[nn.Module, str]]]:
        return list(zip(self._paths, self._parameters, strict=True))

    def _zeros(self) -> list[tuple[int, int]]:
        """Return how many weights of each parameter are pruned, and how many there are."""
        masks = [_mask(*which) if _is_pruned(*which) else None for which in self._parameters]
        sizes = [_value(*which).numel() for which in self._parameters]
        pruned = [0 if mask is None else int((mask == 0).sum()) for mask in masks]
        return list(zip(pruned, sizes, strict=True))

    def _tell(self, before: list[tuple[int, int]], now: list[tuple[int, int]], amount: int | float) -> None:
        total = sum(size for _, size in now)
        then, after = (sum(zeros for zeros, _ in each) for each in (before, now))
        name = self.method.__name__
        self._print(f"{name}: pruned {then}/{total} ({then / total:.2%}) -> {after}/{total} ({after / total:.2%})")
        if self.verbose == 2:
            for path, (was, size), (is_now, _) in zip(self._paths, before, now, strict=True):
                share = f"{was} ({was / size:.2%}) -> {is_now} ({is_now / size:.2%})"
                self._print(f"{name}({path}, amount={amount}): pruned {share}")


def _method(given: Any, globally: bool, dim: int | None, norm: Any) -> tuple[Any, dict[str, Any]]:
    """Return the method that an argument names, and the arguments that it needs."""
    known = ", ".join(map(repr, METHODS))
    if isinstance(given, str):
        name = given.lower()
        if name not in METHODS:
            raise _wrong(f"pruning_fn={given!r}", f"one of {known}, or a class of torch.nn.utils.prune")
        arguments: dict[str, Any] = {}
        if name.endswith("_structured"):
            if dim is None:
                raise _wrong(f"pruning_fn={given!r}, pruning_dim=None", "given a pruning_dim")
            arguments["dim"] = dim
        if name == "ln_structured":
            if norm is None:
                raise _wrong(f"pruning_fn={given!r}, pruning_norm=None", "given a pruning_norm")
            arguments["n"] = norm
        method: Any = METHODS[name]
    elif isinstance(given, type) and issubclass(given, prune.BasePruningMethod):
        if not globally:
            raise _wrong(f"pruning_fn={given.__name__}, use_global_unstructured=False", "used globally")
        method, arguments = given, {}
    else:
        raise _wrong(f"pruning_fn={given!r}", f"one of {known}, or a class of torch.nn.utils.prune, no instance")
    if globally and method.PRUNING_TYPE != "unstructured":
        raise _wrong(
            f"pruning_fn={given!r}, use_global_unstructured=True",
            "given use_global_unstructured=False, since only unstructured methods compare the weights of all layers",
        )
    return method, arguments


def _wrong(given: str, words: str) -> ConfigurationError:
    return ConfigurationError(f"ModelPruning({given}): must be {words}.")


def _check_amount(amount: Any) -> None:
    is_part = isinstance(amount, float) and 0.0 <= amount <= 1.0
    if not is_part and not is_count(amount):
        raise _wrong(f"amount={amount!r}", "a float from 0.0 to 1.0, an int >= 0, or a function that returns one")


def _asked(wish: Any, epoch: int) -> bool:
    return bool(wish(epoch) if callable(wish) else wish)


def _taken(method: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those of the arguments that a method is made with."""
    names = inspect.signature(method).parameters
    return {name: value for name, value in arguments.items() if name in names}


def _are_pairs(given: Any) -> bool:
    if not isinstance(given, list | tuple):
        return False
    return all(
        is_sequence(pair) and len(pair) == 2 and isinstance(pair[0], nn.Module) and isinstance(pair[1], str)
        for pair in given
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _has(layer: nn.Module, name: str) -> bool:
    return layer._parameters.get(name) is not None or _is_pruned(layer, name)


def _is_pruned(layer: nn.Module, name: str) -> bool:
    return layer._parameters.get(f"{name}_orig") is not None and f"{name}_mask" in layer._buffers


def _value(layer: nn.Module, name: str) -> Tensor:
    """Return what is trained: the parameter, or the one behind a mask."""
    value = layer._parameters[f"{name}_orig" if _is_pruned(layer, name) else name]
    assert value is not None
    return value.detach()


def _mask(layer: nn.Module, name: str) -> Tensor:
    mask = layer._buffers[f"{name}_mask"]
    assert mask is not None
    return mask


def _masked(layer: nn.Module, name: str) -> Tensor:
    """Return the plain weights."""
    return _with_zeros(_value(layer, name), _mask(layer, name))


def _with_zeros(value: Tensor, mask: Tensor) -> Tensor:
    # A product would keep the sign of what is behind the mask, which a checkpoint with plain weights does not know.
    return torch.where(mask.bool(), value, torch.zeros_like(value))


def _reset(layer: nn.Module) -> nn.Module | None:
    """Return a copy of a layer with new values; None where it has none to draw."""
    if not callable(getattr(layer, "reset_parameters", None)):
        return None
    computed = [value for value in vars(layer).values() if isinstance(value, Tensor) and not value.is_leaf]
    fresh = deepcopy(layer, {id(value): value.detach().clone() for value in computed})
    _make_permanent(fresh)
    fresh.reset_parameters()  # type: ignore[operator]
    return fresh


def _make_permanent(module: nn.Module) -> None:
    for layer in module.modules():
        for name in _pruned_names(layer):
            value = _masked(layer, name)
            prune.remove(layer, name)
            _value(layer, name).copy_(value)


def _pruned_names(layer: nn.Module) -> list[str]:
    names = [key.removesuffix("_mask") for key in layer._buffers if key.endswith("_mask")]
    return [name for name in names if _is_pruned(layer, name)]


def _renamed(names: Any, plain: Mapping[str, str]) -> Any:
    """Return names, in lists or as keys, with the plain ones in the place of others."""
    if isinstance(names, str):
        return plain.get(names, names)
    if isinstance(names, Mapping):
        return {plain.get(name, name): value for name, value in names.items()}
    if isinstance(names, Iterable):
        return [_renamed(name, plain) for name in names]
    return names


def _plain(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Have the `state_dict` of a module hold plain weights."""
    for path, layer in module.named_modules(prefix=prefix.removesuffix(".")):
        for name in _pruned_names(layer):
            key = _join(path, name)
            if f"{key}_orig" in state:
                orig, mask = state.pop(f"{key}_orig"), state.pop(f"{key}_mask")
                state[key] = _with_zeros(orig, mask)
