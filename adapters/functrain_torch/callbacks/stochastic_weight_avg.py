"""StochasticWeightAveraging: a run ends with the mean of the weights of its last epochs, over
`torch.optim.swa_utils`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

from functrain.callbacks import Callback
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.narrow import is_count, is_number
from functrain_torch import metric_states
from functrain_torch.schedulers import only_first

Average = Callable[[Tensor, Tensor, Tensor | int], Tensor]


class StochasticWeightAveraging(Callback):
    """Averages the weights that the last epochs begin with, and leaves their mean in the module when the fit is over.

    From its first epoch on the learning rate moves to `swa_lrs` and stays there: torch's `SWALR` steps at the end of
    every epoch, in place of the module's own schedulers. When the fit is over, the statistics of batch normalization
    are computed anew for the averaged weights: the training step runs over the training loader once more, without
    gradients. After Ctrl-C nothing is put in, so that the run can go on.

    Checkpoints that are written on the way hold the weights that are trained, and the mean beside them;
    `trainer.save_checkpoint` after the fit writes the averaged ones.

    Args:
        swa_epoch_start: the epoch, from 1, at whose start the first weights are taken; a float is a part of
            `max_epochs`.
        swa_lrs: the rate in the end, one for all parameter groups or a list; None for the rates of its first epoch.
        annealing_epochs: so many epochs pass until the rate is there.
        annealing_strategy: 'cos' or 'linear'.
        avg_fn: `avg_fn(averaged, weights, number_averaged)` returns the new average of a parameter; None for the mean.
        device: where the mean is kept; None for the module's.

    Attributes:
        average: the averaged weights, and how many were averaged (`n_averaged`); None before.

    Raises:
        ConfigurationError: an argument that cannot be; at the start of a fit, several optimizers, or a part of epochs
            without `max_epochs`.
    """

    def __init__(
        self,
        swa_epoch_start: int | float = 0.8,
        swa_lrs: float | Sequence[float] | None = None,
        annealing_epochs: int = 10,
        annealing_strategy: str = "cos",
        avg_fn: Average | None = None,
        device: torch.device | str | None = torch.device("cpu"),  # noqa: B008 (a constant)
    ) -> None:
        _check(swa_epoch_start, swa_lrs, annealing_epochs, annealing_strategy, avg_fn)
        self.swa_epoch_start = swa_epoch_start
        self.swa_lrs = swa_lrs
        self.annealing_epochs = annealing_epochs
        self.annealing_strategy = annealing_strategy
        self.own_average = avg_fn
        self.device = device
        self.average: AveragedModel | None = None
        self._scheduler: SWALR | None = None
        self._parameters: list[nn.Parameter] = []
        self._max_epochs: int | None = None
        self._is_tried_out = False
        self._last_epoch = -1
        self._saved: dict[str, Any] = {}

    @property
    def swa_start(self) -> int:
        """The first epoch, from 0, at whose start weights are taken."""
        start = self.swa_epoch_start
        if self._is_tried_out:
            return 0
        if isinstance(start, float):
            start = int(start * (self._max_epochs or 0))
        return max(start - 1, 0)

    @property
    def swa_end(self) -> float:
        """The last such epoch; infinite where no number of epochs ends the run."""
        return math.inf if self._max_epochs is None else self._max_epochs - 1

    @staticmethod
    def pl_module_contains_batch_norm(pl_module: nn.Module) -> bool:
        """Return whether a module has batch normalization."""
        return any(isinstance(layer, _BatchNorm) for layer in pl_module.modules())

    # when

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: nothing is averaged yet."""
        if stage == "fit":
            self.average, self._scheduler, self._last_epoch, self._saved = None, None, -1, {}
            self._max_epochs, self._is_tried_out = trainer.max_epochs, bool(trainer.fast_dev_run)

    def on_pretrain_routine_start(self, trainer: Any, pl_module: Any) -> None:
        """The optimizers are known: can it be done?"""
        optimizers = trainer.run.engine.configured.optimizers
        if len(optimizers) != 1:
            raise ConfigurationError(
                f"StochasticWeightAveraging: {type(pl_module).__name__} has {len(optimizers)} optimizers; it works "
                "with one."
            )
        if isinstance(self.swa_epoch_start, float) and self._max_epochs is None:
            raise ConfigurationError(
                f"StochasticWeightAveraging(swa_epoch_start={self.swa_epoch_start!r}): a part of epochs whose number "
                "is not known; give Trainer(max_epochs=...), or an int."
            )
        if self.swa_start > self.swa_end:
            raise ConfigurationError(
                f"StochasticWeightAveraging(swa_epoch_start={self.swa_epoch_start!r}): the last epoch is number "
                f"{self._max_epochs}, so nothing would be averaged; give a smaller one."
            )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins, or goes on with what was averaged before the checkpoint."""
        saved, self._saved = self._saved, {}
        if not saved.get("average"):
            return
        groups = trainer.run.engine.configured.optimizers[0].param_groups
        rates = [group["lr"] for group in groups]
        with only_first(trainer.run.engine.configured.optimizers[0], saved["groups"]):
            self._begin(trainer, pl_module)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate  # to make a scheduler may move it
        assert self.average is not None
        assert self._scheduler is not None
        try:
            self.average.load_state_dict(saved["average"])
        except RuntimeError as error:
            raise CheckpointError(
                f"StochasticWeightAveraging: the averaged weights of the checkpoint do not fit "
                f"{type(pl_module).__name__}: {error}"
            ) from error
        self._scheduler.load_state_dict(saved["scheduler"])
        self._last_epoch = saved["last_epoch"]

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins: take its weights."""
        epoch = trainer.current_epoch
        is_due = self.swa_start <= epoch <= self.swa_end and epoch > self._last_epoch
        if not is_due:
            return
        if self.average is None:
            if epoch > self.swa_start:
                warnings.warn(
                    f"StochasticWeightAveraging: it begins in epoch {epoch}, counted from 0, and not in "
                    f"{self.swa_start}: the checkpoint that the run continues from knows nothing of it.",
                    UserWarning,
                    stacklevel=2,
                )
            self._begin(trainer, pl_module)
        assert self.average is not None
        self.average.update_parameters(nn.ParameterList(self._parameters))
        self._last_epoch = epoch

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The fit is over: put the mean in."""
        if trainer.interrupted:
            return
        if self.average is None:
            warnings.warn(
                f"StochasticWeightAveraging: training ended before epoch {self.swa_start + 1}, so nothing was averaged "
                "and the weights are the trained ones.",
                UserWarning,
                stacklevel=2,
            )
            return
        with torch.no_grad():
            for parameter, mean in zip(self._parameters, self.average.parameters(), strict=True):
                parameter.copy_(mean)
        layers = [each for each in pl_module.modules() if isinstance(each, _BatchNorm) and _counts(each)]
        if layers:
            self._count_anew(trainer, pl_module, layers)

    def state_dict(self) -> dict[str, Any]:
        """Return what was averaged, and where the rate is on its way."""
        if self.average is None or self._scheduler is None:
            return dict(self._saved)
        average, scheduler = self.average.state_dict(), self._scheduler.state_dict()
        return {
            "average": dict(average),
            "scheduler": scheduler,
            "groups": len(self._scheduler.base_lrs),
            "last_epoch": self._last_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back when training begins."""
        if state_dict:
            self._saved = {name: state_dict[name] for name in ("average", "scheduler", "groups", "last_epoch")}

    # what is done

    def _begin(self, trainer: Any, pl_module: Any) -> None:
        engine = trainer.run.engine
        (optimizer,) = engine.configured.optimizers
        device = pl_module.device if self.device is None else torch.device(self.device)
        # The same ones from now on, in an order that stays: pruning changes that in the module, and names.
        named = sorted((name.removesuffix("_orig"), parameter) for name, parameter in pl_module.named_parameters())
        self._parameters = [parameter for _, parameter in named]
        self.average = AveragedModel(nn.ParameterList(self._parameters), device, self.own_average)
        rates = [group["lr"] for group in optimizer.param_groups]
        ends = [float(rate) for rate in rates] if self.swa_lrs is None else self.swa_lrs
        if isinstance(ends, Sequence) and len(ends) != len(rates):
            raise ConfigurationError(
                f"StochasticWeightAveraging(swa_lrs={self.swa_lrs!r}): {type(optimizer).__name__} has {len(rates)} "
                "parameter groups; give as many rates, or one."
            )
        strategy: Any = self.annealing_strategy
        self._scheduler = SWALR(optimizer, ends, self.annealing_epochs, strategy)  # type: ignore[arg-type]
        engine.parts.schedulers.replace(self._scheduler)

    def _count_anew(self, trainer: Any, pl_module: Any, layers: Sequence[_BatchNorm]) -> None:
        engine, run = trainer.run.engine, trainer.run
        if not engine.automatic:
            warnings.warn(
                f"StochasticWeightAveraging: {type(pl_module).__name__} steps its optimizers itself, so its training "
                "step cannot be run for the statistics of batch normalization, which are still those of the trained "
                "weights: call torch.optim.swa_utils.update_bn(loader, module).",
                UserWarning,
                stacklevel=3,
            )
            return
        batches = islice(run.source.open(run.clock.epoch), run.plan.batches)
        metrics = metric_states.states(pl_module, copied=True)
        with engine.family.silent():
            forward = _Forward(engine.forward, layers)
            update_bn(_numbered(batches), forward)
        run.source.close()
        metric_states.load_states(pl_module, metrics)
        if not forward.seen:
            warnings.warn(
                "StochasticWeightAveraging: the training loader gave no batch once more, so batch normalization has no "
                "statistics of the averaged weights: call torch.optim.swa_utils.update_bn(loader, module).",
                UserWarning,
                stacklevel=3,
            )


class _Forward(nn.Module):
    """What `update_bn` looks at: layers to be counted anew, and a forward pass of a batch."""

    def __init__(self, forward: Callable[[Any, int], Any], layers: Sequence[_BatchNorm]) -> None:
        super().__init__()
        self.run_forward = forward
        self.layers = tuple(layers)
        self.seen = 0

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        return iter(self.layers)

    def train(self, mode: bool = True) -> _Forward:
        return self  # the parts of the module train or evaluate as they do

    def forward(self, batch: _Batch) -> None:
        self.run_forward(batch.value, batch.number)
        self.seen += 1


class _Batch:
    """A batch that is not taken apart on the way, and its number."""

    def __init__(self, number: int, value: Any) -> None:
        self.number, self.value = number, value


def _numbered(batches: Iterable[Any]) -> Iterator[_Batch]:
    return (_Batch(number, batch) for number, batch in enumerate(batches))


def _counts(layer: _BatchNorm) -> bool:
    """Does it keep running statistics, and move them in training?"""
    return layer.training and layer.track_running_stats and layer.running_mean is not None


def _check(start: Any, rates: Any, epochs: Any, strategy: Any, average: Any) -> None:
    """Raises ConfigurationError where an argument cannot be."""
    is_part = isinstance(start, float) and 0 <= start <= 1
    each = list(rates) if isinstance(rates, Sequence) and not isinstance(rates, str) else [rates]
    wanted = {
        f"swa_epoch_start={start!r}": (is_part or is_count(start, 1), "an int >= 1 or a float from 0.0 to 1.0"),
        f"swa_lrs={rates!r}": (
            rates is None or all(is_number(rate) and rate > 0 for rate in each),
            "a number > 0, a list of them, or None",
        ),
        f"annealing_epochs={epochs!r}": (is_count(epochs), "an int >= 0"),
        f"annealing_strategy={strategy!r}": (strategy in ("cos", "linear"), "'cos' or 'linear'"),
        f"avg_fn={average!r}": (average is None or callable(average), "a function, or None"),
    }
    for given, (fits, words) in wanted.items():
        if not fits:
            raise ConfigurationError(f"StochasticWeightAveraging({given}): must be {words}.")
