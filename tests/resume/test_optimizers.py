"""Optimizers that are not those of the checkpoint: states find their parameters by name, or it is refused."""

from contextlib import nullcontext
from typing import Any

import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from tests.adapters.jax.common import Batches
from tests.adapters.jax.common import Plain as JaxPlain
from tests.adapters.jax.common import trainer as jax_trainer
from tests.adapters.torch.small import QUIET, Net, batches


class Adam(Net):
    """Adam over the parameters in any order, or over some, or in groups."""

    def __init__(self, arrange: Any = list) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.arrange = arrange

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.arrange(self.parameters()), lr=0.05)


def backwards(parameters: Any) -> Any:
    return list(reversed(list(parameters)))


def groups(parameters: Any) -> Any:
    a, b, c, d = parameters
    return [{"params": [b, a]}, {"params": [d, c], "lr": 0.01}]


def other_groups(parameters: Any) -> Any:
    a, b, c, d = parameters
    return [{"params": [a, c]}, {"params": [b, d], "lr": 0.01}]


def in_order_groups(parameters: Any) -> Any:
    a, b, c, d = parameters
    return [{"params": [a, b]}, {"params": [c, d], "lr": 0.01}]


def fit(model: Any, ckpt_path: Any = None, **flags: Any) -> Any:
    trainer = pl.Trainer(**{**QUIET, "max_steps": 6, **flags})
    trainer.fit(model, batches(8), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize(("then", "now"), [(list, backwards), (backwards, list), (groups, in_order_groups)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_reordered_parameters_get_their_own_moments(then, now, accumulate, tmp_path):
    """In the middle of a window too."""

    class Saver(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    flags = {"accumulate_grad_batches": accumulate, "max_steps": -1, "max_epochs": 2}
    whole = Adam(then)
    fit(whole, callbacks=[Saver()], **flags)
    again = Adam(now)
    fit(again, tmp_path / "a.ckpt", **flags)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        (list, lambda p: [*list(p)[:3], torch.nn.Parameter(torch.zeros(2))],
         r"optimizer 0 \(Adam\) is of other parameters: it has no state of parameter 0 without a name; it has one of "
         r"net\.3\.bias"),
        (groups, other_groups, r"parameter group 0 is of other parameters: it has no state of net\.3\.weight; "
                               r"it has one of net\.0\.bias"),
    ],
)  # fmt: skip
def test_other_parameters_are_named(then, now, says, tmp_path):
    fit(Adam(then)).save_checkpoint(tmp_path / "a.ckpt")
    model = Adam(now)
    before = [p.clone() for p in model.parameters()]
    told = pytest.warns(UserWarning, match="no optimizer trains") if then is list else nullcontext()
    with told, pytest.raises(pl.CheckpointError, match=says):
        fit(model, tmp_path / "a.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (optax.adamw(0.1), optax.adam(0.1)),
        (optax.adam(0.1), optax.adamw(0.1)),
        (optax.sgd(0.1), optax.chain(optax.clip(1.0), optax.sgd(0.1))),
        (optax.sgd(0.1, momentum=0.9), optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda n: -0.1))),
        (optax.adam(0.1), optax.lion(0.1)),
    ],
)
def test_jax_takes_no_state_of_another_transformation(then, now, tmp_path):
    run = jax_trainer(max_epochs=1)
    run.fit(JaxPlain(then), Batches())
    run.save_checkpoint(str(tmp_path / "a.ckpt"))
    with pytest.raises(ft.CheckpointError, match=r"a\.ckpt: its optimizer 0 .*(State|another)"):
        jax_trainer(max_epochs=2).fit(JaxPlain(now), Batches(), ckpt_path=str(tmp_path / "a.ckpt"))
    again = JaxPlain(then)
    jax_trainer(max_epochs=2).fit(again, Batches(), ckpt_path=str(tmp_path / "a.ckpt"))
