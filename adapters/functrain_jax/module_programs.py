"""The compiled programs of one module, found again by the runs after the one that has compiled them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrain.trainer.overriding import overrides
from functrain_jax.binding import Bindings
from functrain_jax.context import Surroundings
from functrain_jax.device import debugging
from functrain_jax.frozen import Same, code_of, frozen
from functrain_jax.module import Module
from functrain_jax.placement import Placement
from functrain_jax.precision import Policy
from functrain_jax.program_cache import Constants, ProgramCache, Programs
from functrain_jax.programs import Evaluation, Training
from functrain_jax.trace import Tracer

AFTER_TRANSFER = "on_after_batch_transfer"


class ModulePrograms:
    """What a run asks of its module's programs: those that fit it, compiled or not yet.

    The programs know the run by its `Surroundings` alone, and those only from `begin` to `end`.
    """

    def __init__(
        self,
        module: Module,
        binding: Bindings,
        policy: Policy,
        placement: Placement,
        datamodule: object,
        around: Surroundings,
    ) -> None:
        self.module = module
        self.binding = binding
        self.policy = policy
        self.placement = placement
        self.datamodule = datamodule
        self.around = around
        self.kept = ProgramCache.of(module)
        self.constants = Constants(binding)

    def begin(self) -> None:
        """From here on steps are traced with the surroundings of this run."""
        self.kept.surroundings.append(self.around)

    def end(self) -> None:
        """No step is traced for this run any more."""
        self.kept.surroundings[:] = [each for each in self.kept.surroundings if each is not self.around]

    def training(self, spec: Any, make: Callable[[Tracer], Training]) -> Programs[Training]:
        """Return the programs of the training step that were made under the same `spec`; the first time those of what
        `make` returns."""
        return self.kept.programs((*self._same("training"), *spec), lambda: make(self._tracer()))

    def evaluation(self, stage: str) -> Programs[Evaluation]:
        """Return the programs of a stage's step."""
        return self.kept.programs(self._same(stage), lambda: Evaluation(self._tracer(), stage))

    def _tracer(self) -> Tracer:
        return Tracer(self.module, self.binding, self.policy, self.kept.surroundings)

    def _same(self, stage: str) -> tuple[Any, ...]:
        """Return what must be the same for the programs of a stage to be those of an earlier run."""
        module = self.module
        names = (f"{stage}_step", f"{stage}_step_end", "tbptt_split_batch", "forward")
        steps = [getattr(module, name, None) for name in names]
        owners = [o for o in (module, self.datamodule) if o is not None and overrides(o, AFTER_TRANSFER)]
        steps += [getattr(owner, AFTER_TRANSFER) for owner in owners]
        kinds = [type(part) for part in (*self.binding.networks(), *vars(module).values())]
        code = code_of(steps, type(module), dict.fromkeys(kinds))
        moved = tuple(Same(owner) if owner is module else frozen(owner) for owner in owners)
        device = Same(self.placement.device)
        return stage, device, self.policy.name, debugging(), self.binding.structure(), code, moved
