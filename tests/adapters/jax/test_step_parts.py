"""The parts of a step, made of a module without a Trainer; and programs, which outlive the run that compiled them."""

import gc
import weakref

import jax
import numpy as np
import optax
import pytest

import functrain_jax as ft
from functrain import kernel
from functrain.trainer.context import Context
from functrain.trainer.flags import Flags
from functrain_jax.parts import step_parts
from tests import inside
from tests.adapters.jax.common import Batches, Classifier, Plain, bits, same, trainer


def stepped(module, flags, epochs=1):
    """The state after the kernel's own steps, compiled, from the module's parts."""
    parts = step_parts(module, flags)
    size = flags.accumulate_grad_batches
    step = jax.jit(lambda state, window: kernel.step(parts.backend, parts.rules, state, window)[0])
    state, batches = parts.init(), Batches().batches
    for start in [*range(0, len(batches), size)] * epochs:
        state = step(state, [jax.tree.map(np.asarray, batch) for batch in batches[start : start + size]])
    return parts, state


class Descends(Classifier):
    """Adam would blow up the rounding of gradients that are zero, as those of a bias before a BatchNorm are."""

    def configure_optimizers(self):
        return optax.sgd(0.1)


@pytest.mark.parametrize("kind", [Plain, Descends])
@pytest.mark.parametrize("given", [{}, {"accumulate_grad_batches": 3, "gradient_clip_val": 0.1}], ids=str)
def test_steps_made_without_a_trainer_train_as_fit_does(kind, given):
    ft.seed_everything(4)
    parts, state = stepped(kind(), Flags(**given))
    ft.seed_everything(4)
    run = trainer(max_epochs=1, **given)
    run.fit(kind(), Batches())
    fitted = inside.train_state(run)
    for mine, its in ((state.params, fitted.params), (state.vars, fitted.vars)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), bits(mine), bits(its))
    assert [int(player.updates) for player in state.players] == inside.updates(run)
    assert parts.plan(12).players == tuple(spec.plan for spec in parts.specs)
    assert parts.plan(12).batches == 12


def test_a_part_without_an_optimizer_is_left_as_it_is_by_steps_without_a_trainer():
    class Frozen(Classifier):
        def configure_optimizers(self):
            return {"net": None, "params": optax.sgd(0.1)}

        def __init__(self):
            super().__init__()
            self.params = {"shift": np.zeros(3, np.float32)}

        def training_step(self, batch, batch_idx):
            return ((self.net(batch[0]) + self.params["shift"]) ** 2).mean()

    before = bits(Frozen().net.first.kernel[...])
    _, state = stepped(Frozen(), Flags())
    same(bits(state.vars["net"]["first"]["kernel"]), before)
    assert np.abs(np.array(state.params["params"]["shift"])).sum() > 0


def test_the_context_of_a_step_without_a_trainer_gets_what_it_logs():
    logged = []
    module = Plain()
    parts = step_parts(module, Flags(), Context(lambda: kernel.Clock(), lambda *given: logged.append(given)))
    jax.make_jaxpr(lambda s, b: kernel.step(parts.backend, parts.rules, s, [b])[0])(parts.init(), Batches().batches[0])
    assert {name for name, *_ in logged} == {"loss"}
    assert all(isinstance(value, jax.core.Tracer) for _, value, *_ in logged)
    assert module.trainer is None


def test_parts_name_the_method_that_is_missing():
    class Without(ft.Module):
        def __init__(self):
            self.params = {"w": np.zeros(2, np.float32)}

        def training_step(self, batch, batch_idx):
            return self.params["w"].sum()

    with pytest.raises(ft.ConfigurationError, match=r"Without.configure_optimizers is not defined"):
        step_parts(Without(), Flags())


def test_a_run_is_freed_while_the_programs_that_it_compiled_go_on(compiles):
    module = Classifier()

    def fitted():
        run = trainer(max_epochs=1, num_sanity_val_steps=0)
        run.fit(module, Batches(), Batches())
        return weakref.ref(inside.engine(run)), weakref.ref(run)

    fitted()
    engine, run = fitted()
    module.trainer = None
    gc.collect()
    assert engine() is None
    assert run() is None
    before = compiles()
    fitted()
    assert compiles() == before > 0


def test_a_fit_within_a_fit_leaves_the_outer_run_its_own_metrics():
    """Both trace the same module's step; each logs into its own run."""

    class Tries(Plain):
        tried = None

        def on_train_epoch_start(self):
            if self.tried is None and self.current_epoch == 1:
                Tries.tried = trainer(max_epochs=1)
                inner = Plain()
                Tries.tried.fit(inner, Batches())

    run = trainer(max_epochs=3)
    run.fit(Tries(), Batches())
    assert float(run.callback_metrics["loss"]) < float(Tries.tried.callback_metrics["loss"])
