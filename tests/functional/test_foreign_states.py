"""A state that meets another module, other flags or the other world goes on as its checkpoint would, or is refused: it
is never read as something else."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.trainer.errors import CheckpointError, ConfigurationError
from tests.functional.test_refusals import BATCHES, WORLDS, JaxNet, TorchNet


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Any:
    return WORLDS[request.param]


class TorchAdam(TorchNet):
    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class JaxAdam(JaxNet):
    def configure_optimizers(self) -> Any:
        return optax.adam(0.1)


class TorchWide(TorchNet):
    def __init__(self) -> None:
        super().__init__()
        self.more = torch.nn.Parameter(torch.zeros(3))


class JaxWide(JaxNet):
    def __init__(self) -> None:
        super().__init__()
        self.params["more"] = jnp.zeros(3)


OTHERS = {TorchNet: (TorchAdam, TorchWide), JaxNet: (JaxAdam, JaxWide)}


def weight(state: Any) -> float:
    return float(state.params.w.detach() if hasattr(state.params, "w") else jax.tree.leaves(state.params)[0])


@pytest.mark.parametrize("which", [0, 1], ids=["optimizer", "weights"])
def test_a_state_of_another_module_is_refused(world: Any, which: int):
    package, net, array = world
    state = package.functional(OTHERS[net][which]()).init()
    step = package.functional(net())
    batches = list(map(array, BATCHES))
    for call in (
        lambda: step.step(state, batches[0]),
        lambda: step.epoch(state, batches),
        *((lambda: step.evaluate(state, batches),) if which or net is JaxNet else ()),
    ):
        with pytest.raises((ConfigurationError, CheckpointError), match=r"more|optimizer|Adam"):
            call()


def test_a_state_goes_on_with_the_flags_of_the_function_that_takes_it(world: Any):
    """As a run that continues from its checkpoint with other flags does."""
    package, net, array = world
    module, batches = net(), list(map(array, [1.0, 2.0, 4.0, 3.0]))
    plain, pairs = package.functional(module), package.functional(module, accumulate_grad_batches=2)
    state, _ = plain.step(plain.init(), batches[0])
    alone, _ = plain.step(plain.init(), batches[0])
    assert weight(state) == weight(alone) == pytest.approx(0.2)
    state, first = pairs.step(state, batches[1])
    # The second batch of the epoch closes the window that the first would have begun.
    assert bool(first.closed)
    state, _ = pairs.step(state, batches[2])
    before = weight(state)
    state, report = pairs.step(state, batches[3])
    assert bool(report.closed)
    assert weight(state) == pytest.approx(before - 0.1 * 2 * (before - 3.5))


def test_an_open_window_meets_flags_without_windows(world: Any):
    package, net, array = world
    module = net()
    pairs, plain = package.functional(module, accumulate_grad_batches=2), package.functional(module)
    state, first = pairs.step(pairs.init(), array(1.0))
    assert not bool(first.closed)
    state, second = plain.step(state, array(3.0))
    assert bool(second.closed)
    assert weight(state) == pytest.approx(0.1 * 2 * 2.0)


def test_a_moved_state_of_other_flags_is_dead(world: Any):
    package, net, array = world
    module = net()
    plain, other = package.functional(module), package.functional(module, gradient_clip_val=0.5)
    old = plain.init()
    other.step(old, array(1.0))
    with pytest.raises(ConfigurationError, match="go on with the state that the step returned"):
        plain.step(old, array(1.0))


def test_a_kept_state_of_other_flags_lives(world: Any):
    package, net, array = world
    module = net()
    plain, other = package.functional(module), package.functional(module, gradient_clip_val=0.5, donate=False)
    old = plain.init()
    moved = [weight(other.step(old, array(1.0))[0]) for _ in range(2)]
    assert moved == [pytest.approx(0.05)] * 2
    assert weight(old) == 0.0
    assert weight(plain.step(old, array(1.0))[0]) == pytest.approx(0.2)


def test_a_state_of_the_other_world():
    states = ft.functional(JaxNet()).init(), pl.functional(TorchNet()).init()
    with pytest.raises(ConfigurationError, match="is none of functional"):
        pl.functional(TorchNet()).step(states[0], torch.tensor(1.0))
    with pytest.raises(ConfigurationError, match="is none of functional"):
        ft.functional(JaxNet()).step(states[1], np.float32(1.0))


def test_a_state_of_another_precision_says_so_in_jax():
    state = ft.functional(JaxNet(), precision=32).init()
    with pytest.raises(ConfigurationError, match="no loss scale, by another precision"):
        ft.functional(JaxNet(), precision=16).step(state, np.float32(1.0))


def test_objects_put_into_a_torch_state_are_refused():
    """They would be ignored: a state of torch holds the very module that its steps move."""
    step = pl.functional(TorchNet())
    state = step.init()
    player = state.players[0]
    others = (
        (state._replace(params=TorchNet()), "state.params"),
        (state.with_player(0, player._replace(opt=torch.optim.SGD([torch.zeros(())], 1.0))), r"players\[0\]\.opt"),
        (state._replace(hidden=torch.zeros(1)), "state.hidden"),
    )
    for other, name in others:
        with pytest.raises(ConfigurationError, match=f"{name} is another object"):
            step.step(other, torch.tensor(1.0))
    with torch.no_grad():
        state.params.w.fill_(1.0)
    assert weight(step.step(state, torch.tensor(2.0))[0]) == pytest.approx(1.2)


@pytest.mark.parametrize("given", [None, 3, object()])
def test_what_is_no_checkpoint(world: Any, given: Any):
    package, net, _ = world
    with pytest.raises(ConfigurationError, match=r"load\(.*give the path of a checkpoint"):
        package.functional(net()).load(given)


@pytest.mark.parametrize("given", ["no", 0, None])
def test_donate_is_true_or_false(world: Any, given: Any):
    package, net, _ = world
    with pytest.raises(ConfigurationError, match=r"functional\(donate="):
        package.functional(net(), donate=given)


def test_what_cannot_be_evaluated(world: Any):
    package, net, array = world
    step = package.functional(net())
    state, batches = step.init(), list(map(array, BATCHES))
    for given, message in (
        (torch.zeros(2) if net is TorchNet else np.zeros(2), "this is one batch"),
        ({"x": batches[0]}, "this is one batch"),
        ([iter(batches), iter(batches)], "of 2 loaders"),
        (5, r"evaluate\(state, int\)"),
        (iter(()), "no batch|length 0"),
        ([], "no batch|length 0"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            step.evaluate(state, given)
    whole = [array([1.0, 2.0])]
    assert step.evaluate(state, whole) == {"off": pytest.approx(2.5)}


def test_last_may_stand_by_its_place(world: Any):
    package, net, array = world
    step = package.functional(net(), accumulate_grad_batches=2)
    state, report = step.step(step.init(), array(1.0), True)
    assert bool(report.closed)
    assert tuple(map(int, state.clock))[:2] == (1, 0)


def test_hooks_that_a_compiled_step_does_not_call_are_told_once():
    class Hooked(JaxNet):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None: ...

        def validation_epoch_end(self, outputs: Any) -> None: ...

        def prepare_data(self) -> None: ...

    with pytest.warns(UserWarning, match="calls (validation_epoch_end|on_train_batch_start), ") as told:
        ft.functional(Hooked())
    assert len(told) == 1
    assert "prepare_data" not in str(told[0].message)


def test_what_a_compiled_step_does_not_have():
    class Manual(JaxNet):
        automatic_optimization = False

    class Stepping(JaxNet):
        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None: ...

    with pytest.raises(ConfigurationError, match="automatic_optimization=False needs torch"):
        ft.functional(Manual())
    with pytest.raises(ConfigurationError, match="on_before_optimizer_step is overridden"):
        ft.functional(Stepping())
    with pytest.raises(ConfigurationError, match=r"functional\(track_grad_norm=2"):
        ft.functional(JaxNet(), track_grad_norm=2)


def test_a_foreign_state_within_a_program_of_ones_own():
    wide, step = ft.functional(JaxWide()).init(), ft.functional(JaxNet())
    with pytest.raises(ConfigurationError, match="is of another module"):
        jax.jit(step.step)(wide, jnp.float32(1.0))
