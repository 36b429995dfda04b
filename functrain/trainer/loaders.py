"""Where a stage's loaders come from, in order: the call, the data module, the module; and how much of each is used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from functrain.data import ArrayLoader
from functrain.trainer.combined import CombinedLoader, leaves_of
from functrain.trainer.data import TrainSource, evaluation_limits
from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.flags import Flags
from functrain.trainer.hooks import Hooks
from functrain.trainer.loader_forms import as_loaders, is_several, loaders_in
from functrain.trainer.narrow import is_mapping
from functrain.trainer.overriding import overrides
from functrain.trainer.reader import LoaderTools

Loaders = tuple[Sequence[Any], Sequence[int | None]]


class RandomState(NamedTuple):
    """How the random state of a run is read and set."""

    get: Callable[[], dict[str, Any]]
    put: Callable[[Mapping[str, Any]], object]


class LoaderFinder:
    """Finds the loaders of one run's stages.

    Args:
        flags: the Trainer's flags, for limits and overfit_batches.
        owners: who may define loaders: the data module (or None), then the module.
        hooks: of the run, for `on_<stage>_dataloader`.
        tools: what the adapter knows of its framework's loaders.
        random: the random state of the run, which methods that make loaders may draw from.
        quiet: warn of nothing, as a run within another does.
    """

    def __init__(
        self,
        flags: Flags,
        owners: Sequence[Any],
        hooks: Hooks,
        tools: LoaderTools,
        random: RandomState,
        quiet: bool = False,
    ) -> None:
        self.flags = flags
        self.owners = [owner for owner in owners if owner is not None]
        self.hooks = hooks
        self.tools = tools
        self.random = random
        self.draws: dict[str, Any] = {}
        self.draws_then: dict[str, Any] = {}
        self._quiet = quiet
        self._said: set[str] = set()

    @contextmanager
    def _drawing(self, stage: str) -> Generator[None]:
        """Within it a method makes the loader of a stage of fit, and may draw random numbers to split or order data.

        It draws what it drew in the run that wrote the checkpoint; what a run began with is kept where it drew.
        """
        if stage in self.draws_then:
            self.random.put(self.draws_then.pop(stage))
        before = self.random.get()
        yield
        self.draws.pop(stage, None)
        if self.random.get() != before:
            self.draws[stage] = before

    def train(self, given: Any) -> TrainSource:
        """Return the source of training batches."""
        with self._drawing("train"):
            loader, overfit = self._train_loader(given), self.flags.overfit_batches
        if overfit:
            loader = self._unshuffled(loader)
        return TrainSource(loader, self.dev_batches or overfit or self.flags.limit_train_batches, self.tools)

    def validation(self, given: Any, train: Any) -> Loaders | None:
        """Return the validation loaders of a fit and their limits; None where the fit does not validate."""
        overfit, name = self.flags.overfit_batches, type(self.owners[-1]).__name__
        if not overrides(self.owners[-1], "validation_step"):
            if evaluated(given, "val_dataloader"):
                self._say(
                    f"a validation loader was given, and {name} defines no validation_step: nothing is validated. "
                    "Define it, or leave the loader out."
                )
            return None
        if self.flags.limit_val_batches == 0:
            return None
        with self._drawing("val"):
            loaders = [self._unshuffled(self._train_loader(train))] if overfit else self._defined("val", given)
        if not loaders:
            self._say(
                f"{name} defines a validation_step, and there is no val_dataloader: nothing is validated. Give "
                "val_dataloaders=..., or set limit_val_batches=0."
            )
            return None
        how_much = self.dev_batches or overfit or self.flags.limit_val_batches
        limits = evaluation_limits(loaders, how_much, "validation", self._say)
        if not any(batches != 0 for batches in limits):
            return None
        is_drawn_before = self.flags.num_sanity_val_steps and not self.dev_batches
        for loader, batches in zip(loaders, limits, strict=True):
            if batches is None and is_drawn_before and isinstance(loader, Iterator):
                raise ConfigurationError(
                    f"val_dataloader: {kind(loader)} can be iterated over only once, and is needed again "
                    "and again; give a list or a DataLoader, or an int limit_val_batches. With "
                    "num_sanity_val_steps=0 it does for one validation."
                )
        return loaders, limits

    def evaluation(self, stage: str, given: Any, train: Any) -> Loaders:
        """Return the loaders of 'val', 'test' or 'predict' and their limits.

        Args:
            train: the training loader of the last fit, for overfit_batches.

        Raises:
            ConfigurationError: there are none.
        """
        overfit = self.flags.overfit_batches if stage != "predict" else 0
        validates_training = overfit and (
            train is not None or any(overrides(owner, "train_dataloader") for owner in self.owners)
        )
        if validates_training:
            loaders = [self._unshuffled(self._train_loader(train))]
            return loaders, evaluation_limits(loaders, self.dev_batches or overfit, stage, self._say)
        loaders = self._defined(stage, given)
        if not loaders and given is not None:
            raise ConfigurationError(f"dataloaders={given!r}: there is no loader and no batch in it.")
        if not loaders:
            raise ConfigurationError(
                f"{type(self.owners[-1]).__name__}: no loader was given, and it has no {stage}_dataloader; give "
                "dataloaders=..., or define it."
            )
        how_much = self.dev_batches or getattr(self.flags, f"limit_{stage}_batches")
        return loaders, evaluation_limits(loaders, how_much, stage, self._say)

    @property
    def dev_batches(self) -> int:
        """The batches of every stage under fast_dev_run; 0 otherwise."""
        return int(self.flags.fast_dev_run)

    def cap(self, batches: int | None) -> int | None:
        """Return the batches of an epoch under fast_dev_run, else as they are."""
        n = self.dev_batches
        if not n:
            return batches
        return n if batches is None else min(n, batches)

    def _train_loader(self, given: Any) -> Any:
        if given is not None:
            return self._as_one(given)
        for owner in self.owners:
            if overrides(owner, "train_dataloader"):
                self.hooks.call("on_train_dataloader")
                return self._as_one(owner.train_dataloader())
        raise ConfigurationError(
            f"trainer.fit({type(self.owners[-1]).__name__}): no training loader; give train_dataloaders=..., a "
            "datamodule, or define train_dataloader."
        )

    def _as_one(self, given: Any) -> Any:
        """Return the loader that trains: several are one whose batches have the form of the loaders."""
        what = "train_dataloader"
        if isinstance(given, CombinedLoader):
            if given.limits is not None:
                self._say(
                    f"{what}: CombinedLoader.limits={given.limits} are for iterating by hand; a Trainer goes by its "
                    "flag limit_train_batches."
                )
            return given
        return CombinedLoader(given, self.flags.multiple_trainloader_mode) if is_several(given, what) else given

    def _unshuffled(self, loader: Any) -> Any:
        if not isinstance(loader, CombinedLoader):
            return self._in_order(loader, "train_dataloader")
        fixed = CombinedLoader(loader.iterables, loader.mode)
        fixed.flattened = [self._in_order(leaf, f"train_dataloader{place}") for place, leaf in loader.places.items()]
        return fixed

    def _in_order(self, loader: Any, what: str) -> Any:
        """Return the loader that gives the same batches in every epoch, for overfit_batches."""
        is_ours = isinstance(loader, ArrayLoader)
        fixed = (loader.unshuffled() if loader.shuffle else loader) if is_ours else self.tools.unshuffled(loader)
        flag = f"Trainer(overfit_batches={self.flags.overfit_batches!r})"
        if self._shuffles(fixed):
            self._say(
                f"{flag}: the {type(loader).__name__} of {what} shuffles, and its order cannot be changed from here, "
                "so its batches are others in every epoch. Give it shuffle=False."
            )
        elif fixed is not loader:
            self._say(f"{flag}: {what} shuffles or samples; its batches are taken in the order of its data instead.")
        return fixed

    def _shuffles(self, loader: Any) -> bool:
        return loader.shuffle if isinstance(loader, ArrayLoader) else self.tools.shuffles(loader)

    def _say(self, message: str) -> None:
        """Warn, once a run."""
        if message not in self._said and not self._quiet:
            self._said.add(message)
            warnings.warn(message, UserWarning, stacklevel=7)

    def _defined(self, stage: str, given: Any) -> list[Any]:
        what = f"{stage}_dataloader"
        loaders = evaluated(given, what)
        if given is None:
            owner = next((owner for owner in self.owners if overrides(owner, what)), None)
            if owner is not None:
                self.hooks.call(f"on_{what}")
                loaders = evaluated(getattr(owner, what)(), what)
        if any(self._shuffles(leaf) for leaf in leaves_of(loaders)):
            self._say(
                f"{what}: its sampler has shuffling enabled, so its batches come in another order every time; give it "
                "shuffle=False."
            )
        return loaders


def evaluated(given: Any, what: str) -> list[Any]:
    """Return the loaders of an evaluation, one after another: those in lists and dicts, and in a CombinedLoader of mode
    'sequential'; one of another mode is a loader of its own."""
    if isinstance(given, CombinedLoader):
        return given.flattened if given.mode == "sequential" else [given]
    if is_mapping(given) and not is_several(given, what):
        return [given]
    if is_several(given, what):
        return list(loaders_in(given, what).values())
    return as_loaders(given, what)


def either(new: str, a: Any, old: str, b: Any) -> Any:
    """One argument that goes by two names.

    Raises:
        ConfigurationError: both were given.
    """
    if a is not None and b is not None:
        raise ConfigurationError(f"{new}=... and {old}=... were both given: they are names of one argument.")
    return a if a is not None else b
