"""The tools of `functrain.testing` for modules of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_convert

from functrain.kernel.state import TrainState
from functrain.seed import isolate_rng
from functrain.testing import tools
from functrain.testing.values import described, is_of_user, of_classes
from functrain.testing.verdict import nothing
from functrain.trainer.functional import Step
from functrain_torch import ckpt, metric_states
from functrain_torch.aside import set_aside
from functrain_torch.module import LightningModule
from functrain_torch.optimizers import parameters_of
from functrain_torch.pure import functional
from functrain_torch.stepper import Held
from functrain_torch.tree import tensors, tree_map

OF_MODULES = frozenset((*vars(nn.Module()), *vars(LightningModule()), *LightningModule._of_a_run))
"""The attributes of every module, which are state or of a run."""


def _array(tensor: Tensor) -> np.ndarray:
    wide = tensor.detach().cpu()
    return (wide.float() if wide.dtype is torch.bfloat16 else wide).numpy().copy()


class TorchTools:
    """What the checks ask of torch. A state's `params` are its own copy of the module."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Step:
        return functional(module, donate=False, **flags)

    @contextmanager
    def precise(self) -> Iterator[Mapping[str, Any]]:
        yield {"precision": 64}

    def arrays(self, state: Any, whole: bool = False) -> dict[str, np.ndarray]:
        named = [*state.params.named_parameters(), *state.params.named_buffers()]
        found = {name: _array(tensor) for name, tensor in named}
        return {**found, **_kept(state)} if whole else found

    def gradients(self, state: Any) -> Sequence[dict[str, np.ndarray | None]]:
        names = {id(weight): name for name, weight in state.params.named_parameters()}
        return [
            {
                names[id(weight)]: None if weight.grad is None else _array(weight.grad)
                for weight in parameters_of(player.opt)
                if id(weight) in names and int(player.acc.count)
            }
            for player in state.players
        ]

    def frozen(self, module: Any) -> frozenset[str]:
        return frozenset(name for name, weight in module.named_parameters() if not weight.requires_grad)

    def unmoved(self, state: Any) -> Sequence[str]:
        moved = {id(weight) for player in state.players for weight in parameters_of(player.opt)}
        named = state.params.named_parameters()
        return [name for name, weight in named if weight.requires_grad and id(weight) not in moved]

    def with_values(self, state: Any, values: Mapping[str, np.ndarray]) -> Any:
        new = _copied(state)
        with torch.no_grad():
            for name, weight in new.params.named_parameters():
                if name in values:
                    weight.copy_(torch.from_numpy(np.asarray(values[name])))
        return new

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        parts = dict(state.params.named_modules())
        own = {id(tensor) for tensor in (*state.params.parameters(), *state.params.buffers())}
        metrics = {id(metric) for metric in metric_states.found(state.params).values()}

        def known(value: Any) -> Any:
            if isinstance(value, Tensor):
                return "a part of the state" if id(value) in own else _array(value)
            # What draws is in the state, as the global generators are.
            return type(value).__name__ if isinstance(value, nn.Module | torch.Generator) else None

        found = of_classes(type(state.params), known)
        for path, part in parts.items():
            # What metric objects have seen is in the state.
            names = () if id(part) in metrics else vars(part).keys() - OF_MODULES
            private = is_of_user(type(part))
            found |= {
                f"{path}.{name}" if path else name: described(vars(part)[name], known)
                for name in names
                if private or not name.startswith("_")
            }
        return found

    def reloaded(self, step: Step, state: Any, path: str) -> Any:
        ckpt.write(path, state.metrics.checkpoint(state))
        return step.load(path)

    @contextmanager
    def evaluating(self, module: Any) -> Iterator[None]:
        with set_aside(module), torch.no_grad():
            module.eval()
            yield

    def taken_apart(self, tree: Any) -> tuple[list[np.ndarray], Callable[[Sequence[np.ndarray]], Any]]:
        found = tensors(tree)

        def made(arrays: Sequence[np.ndarray]) -> Any:
            given = iter(arrays)
            return tree_map(lambda old: torch.from_numpy(next(given)).to(old.dtype).to(old.device), tree)

        return [_array(tensor) for tensor in found], made

    def given(self, batch: Any) -> Any:
        return default_convert(batch)

    def spread(self, law: str, tree: Any, devices: int, samples: int | None) -> NoReturn:
        nothing(
            law,
            "replicas of torch are processes, which no strategy trains in yet; check_accumulation holds the gradients "
            "of a batch's parts against those of the whole batch",
        )


def _copied(state: Any) -> TrainState:
    with isolate_rng():
        stepper = state.metrics.stepper(state).copied()
    stepper.move_to(state)
    held = stepper.engine.state
    assert held is not None
    return held._replace(clock=state.clock, rng=state.rng, metrics=Held(stepper))


def _kept(state: Any) -> dict[str, np.ndarray]:
    """What the optimizers keep of each parameter, and their learning rates and other numbers."""
    names = {id(weight): name for name, weight in state.params.named_parameters()}
    found: dict[str, np.ndarray] = {}
    for i, player in enumerate(state.players):
        for weight in parameters_of(player.opt):
            for key, value in player.opt.state.get(weight, {}).items():
                if isinstance(value, Tensor | int | float):
                    array = _array(value) if isinstance(value, Tensor) else np.asarray(value)
                    found[f"optimizer {i}: {key} of {names.get(id(weight), 'a parameter')}"] = array
        for g, group in enumerate(player.opt.param_groups):
            for key, value in group.items():
                if isinstance(value, int | float):
                    found[f"optimizer {i}: {key} of group {g}"] = np.asarray(value)
    return found


def register() -> None:
    """Have the modules of torch be checked with these tools."""
    tools.register(LightningModule, TorchTools)
