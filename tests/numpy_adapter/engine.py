"""The numpy engine of a run: moves the state through the kernel batch by batch, evaluates, saves and loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from functrain.kernel import plan as plans
from functrain.kernel.plan import PlayerPlan
from functrain.kernel.state import Accumulator, Clock, TrainState
from functrain.kernel.step import Rule, micro_step, update
from functrain.trainer.adapter import Dispatch, Facts, Traits
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.overriding import overrides
from functrain.trainer.planning import clip
from functrain.trainer.run import Run
from functrain.trainer.signatures import adapt
from functrain.trainer.step_outputs import of_players
from functrain.trainer.weights import ArraySpec, check_not_weights_only, check_weights, differences
from tests.numpy_adapter.module import Module
from tests.oracle.backend import Micro, NumpyBackend, Part


class NumpyEngine:
    """See `functrain.trainer.adapter.Engine`. The module's arrays are the state's, so nothing need be published."""

    def __init__(self, module: Module, run: Run) -> None:
        self.module = module
        self.run = run
        self.state: TrainState | None = None
        self.parts: list[Part] = []
        self.given: dict[int, Any] = {}

    # setting up

    def setup(self, stage: str) -> None:
        if not getattr(self.module, "params", None):
            raise ConfigurationError(f"{type(self.module).__name__} has no self.params, a dict of arrays by name.")

    def configure(self) -> Traits:
        name, step = type(self.module).__name__, getattr(self.module, "training_step", None)
        if step is None or not overrides(self.module, "configure_optimizers"):
            raise ConfigurationError(f"{name}: trainer.fit needs training_step and configure_optimizers.")
        found = self.module.configure_optimizers()
        entries = found if isinstance(found, list) else [{"optimizer": found}]
        taken = ("batch", "batch_idx", "optimizer_idx")
        self.step = adapt(step, taken, f"{name}.training_step")
        self.parts = [
            Part(lambda state, batch, i=i: self._forward(state, batch, i), entry["optimizer"], entry.get("params"))
            for i, entry in enumerate(entries)
        ]
        self.rules = (Rule(clip(self.run.flags)),) * len(self.parts)
        self.backend = NumpyBackend(*self.parts)
        self.state = self.backend.init(self.module.params, self.rules)
        self.module.params = self.state.params
        return Traits(_players(entries))

    def start(self, wants_outputs: bool, one_by_one: bool) -> Facts:
        self.wants_outputs = wants_outputs
        return Facts(kept={f"optimizer {i}": repr(part.optimizer) for i, part in enumerate(self.parts)})

    def _forward(self, state: TrainState, batch: Any, player: int) -> Micro | None:
        micro = self.step(batch, state.clock.batch, player)
        if self.wants_outputs:
            self.given[player] = None if micro is None else {"loss": np.asarray(micro.loss)}
        return micro

    # training

    def train(self, batches: Iterator[Any], n: int) -> Dispatch:
        assert self.state is not None
        run, outputs, count = self.run, [], 0
        self.state = self.state._replace(clock=run.clock)
        for batch in islice(batches, n):
            run.metrics.current.batch = batch
            actions = plans.actions(run.plan, run.clock.epoch, run.clock.batch)
            closes = any(action.closes for action in actions)
            self.state, _ = micro_step(self.backend, self.rules, self.state, batch, actions, closes)
            run.clock = self.state.clock
            if self.wants_outputs:
                outputs.append(of_players(self.given, len(self.parts) > 1))
                self.given = {}
            count += 1
            if run.stop.raised:
                break
        return Dispatch(run.clock, count, not count or (count < n and not run.stop.raised), outputs)

    def close_window(self) -> bool:
        assert self.state is not None
        clock, closed = self.run.clock, False
        for i, player in enumerate(self.state.players):
            if player.acc.count:
                self.state, _ = update(self.backend, self.rules, self.state, i)
                closed = True
        self.run.clock = clock._replace(update=clock.update + closed, skipped=self.state.clock.skipped)
        self.state = self.state._replace(clock=self.run.clock)
        return closed

    def publish(self) -> None:
        """Nothing."""

    def close_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Nothing: there are no schedulers."""

    # evaluating

    def mode(self, stage: str, evaluating: bool) -> None:
        hook = getattr(self.run.hooks, f"on_{stage}_model_{'eval' if evaluating else 'train'}")
        if hook is not None:
            hook()

    def evaluate(self, stage: str, batches: Iterator[Any], n: int, first: int, loader: int, wants: bool) -> Dispatch:
        name = f"{type(self.module).__name__}.{stage}_step"
        if not overrides(self.module, f"{stage}_step"):
            raise ConfigurationError(f"{name} is not defined; the {stage} loop needs it.")
        step = adapt(getattr(self.module, f"{stage}_step"), ("batch", "batch_idx", "dataloader_idx"), name)
        outputs: list[Any] = []
        count = 0
        for batch in islice(batches, n):
            self.run.metrics.current.batch = batch
            output = step(batch, first + count, loader)
            if wants:
                outputs.append(output)
            count += 1
        return Dispatch(self.run.clock, count, count < n, outputs)

    # what is saved, and read back

    def state_dict(self, weights_only: bool) -> dict[str, Any]:
        saved: dict[str, Any] = {"state_dict": self.module.params}
        if weights_only:
            return saved
        assert self.state is not None
        saved["players"] = [
            {"opt": p.opt, "updates": p.updates, "window": p.acc._asdict() if p.acc.count else None}
            for p in self.state.players
        ]
        return saved

    def load_state_dict(self, saved: Mapping[str, Any], weights_only: bool) -> None:
        own, name = self.module.params, type(self.module).__name__
        check_weights(saved, own, _forms, name)
        if not weights_only:
            self._check_players(saved, name)
        for path, array in saved["state_dict"].items():
            own[path][...] = array
        if weights_only:
            return
        assert self.state is not None
        for i, kept in enumerate(saved["players"]):
            player = self.state.players[i]
            acc = player.acc if kept["window"] is None else Accumulator(**kept["window"])
            self.state = self.state.with_player(i, player._replace(opt=kept["opt"], acc=acc, updates=kept["updates"]))
        self.state = self.state._replace(clock=Clock(**saved["clock"])) if "clock" in saved else self.state

    def _check_players(self, saved: Mapping[str, Any], name: str) -> None:
        assert self.state is not None
        check_not_weights_only(saved, "players")
        if len(saved["players"]) != len(self.state.players):
            count = len(self.state.players)
            raise CheckpointError(f"has {len(saved['players'])} optimizers, and {name} configures {count}.")
        for i, (player, kept) in enumerate(zip(self.state.players, saved["players"], strict=True)):
            differs = differences(_forms(kept["opt"]), _forms(player.opt))
            if differs:
                raise CheckpointError(f"its optimizer {i} is another than {name}'s: {differs}.")

    def finish(self) -> None:
        """Nothing."""


def _players(entries: list[dict[str, Any]]) -> tuple[PlayerPlan, ...]:
    """When each moves: one after another, as many batches each as its frequency says; without one at all of them."""
    lengths = [entry["frequency"] for entry in entries if entry.get("frequency") is not None]
    if len(lengths) < len(entries):
        return (PlayerPlan(),) * len(entries)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return tuple(PlayerPlan(turn=(start, n, sum(lengths))) for start, n in zip(starts, lengths, strict=True))


def _forms(tree: Any, path: str = "") -> dict[str, ArraySpec | None]:
    """What the leaves of nested dicts are like, by their dotted names."""
    if isinstance(tree, dict):
        parts = [_forms(value, f"{path}.{name}".removeprefix(".")) for name, value in tree.items()]
        return {name: form for part in parts for name, form in part.items()}
    return {path: ArraySpec(tree.shape, tree.dtype.name) if isinstance(tree, np.ndarray) else None}
