"""torch: an optimizer's state whose tensors are of other shapes is refused when it is read, not in the first update."""

import re
from typing import Any

import pytest
import torch

import functrain_torch as pl
from tests.adapters.torch.small import QUIET, Net, batches, same

OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    and name not in ("SparseAdam", "Muon")  # sparse gradients only; matrices only
}  # fmt: skip


class With(Net):
    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.name = name

    def configure_optimizers(self) -> Any:
        more = {"momentum": 0.9} if self.name in ("SGD", "RMSprop") else {}
        return OPTIMIZERS[self.name](self.parameters(), lr=0.01, **more)


def fit(name: str, steps: int, ckpt_path: Any = None) -> Any:
    model, trainer = With(name), pl.Trainer(**QUIET, max_steps=steps)
    trainer.fit(model, batches(8), ckpt_path=ckpt_path)
    return model, trainer


def tampered(path: Any, change: Any) -> None:
    saved = torch.load(path, weights_only=False)
    change(saved["optimizer_states"][0]["state"])
    torch.save(saved, path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_continues_from_its_own_state(name: str, tmp_path: Any):
    whole = fit(name, 6)[0]
    fit(name, 3)[1].save_checkpoint(tmp_path / "a.ckpt")
    assert same(fit(name, 6, tmp_path / "a.ckpt")[0], whole)


@pytest.mark.parametrize(
    ("name", "index", "key", "value", "said"),
    [
        ("Adam", 0, "exp_avg", torch.zeros(3), "tensor of shape (3,) as 'exp_avg' of parameter 'net.0.weight', where "
         "one of shape (8, 4)"),
        ("Adam", 1, "exp_avg_sq", torch.zeros(()), "shape () as 'exp_avg_sq' of parameter 'net.0.bias', where one of "
         "shape (8,)"),
        ("AdamW", 2, "step", torch.zeros(3), "shape (3,) as 'step' of parameter 'net.3.weight', where one of shape ()"),
        ("SGD", 3, "momentum_buffer", "x", "a str as 'momentum_buffer' of parameter 'net.3.bias'"),
        ("Adafactor", 0, "row_var", torch.zeros(8, 4), "as 'row_var' of parameter 'net.0.weight', where one of shape "
         "(8, 1)"),
        ("LBFGS", 0, "d", torch.zeros(5), "shape (5,) as 'd' of parameter 'net.0.weight', where one of shape (58,)"),
    ],
)  # fmt: skip
def test_a_state_of_another_shape_names_file_parameter_and_shapes(name, index, key, value, said, tmp_path):
    path = tmp_path / "a.ckpt"
    fit(name, 3)[1].save_checkpoint(path)
    tampered(path, lambda states: states[index].__setitem__(key, value))
    expected = re.escape(str(path)) + rf".*optimizer 0 \({name}\).*" + re.escape(said)
    with pytest.raises(pl.CheckpointError, match=expected):
        fit(name, 6, path)


def test_an_optimizer_of_ones_own_keeps_what_it_likes(tmp_path, monkeypatch):
    class Own(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter]["seen"] = torch.ones(3)
            return super().step(closure)

    monkeypatch.setitem(OPTIMIZERS, "Own", Own)
    whole = fit("Own", 6)[0]
    fit("Own", 3)[1].save_checkpoint(tmp_path / "a.ckpt")
    assert same(fit("Own", 6, tmp_path / "a.ckpt")[0], whole)
