"""The hook `backward` in the forms of all generations, forwarding what it got."""

from typing import Any, ClassVar

import pytest
import torch

import functrain_torch as pl
from tests.adapters.torch.small import QUIET, Net, batches, same


class ToTheLoss(Net):
    def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        loss.backward(*args, **kwargs)


class ToOurs(Net):
    def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        super().backward(loss, *args, **kwargs)


class All(Net):
    def backward(self, *args: Any, **kwargs: Any) -> None:
        super().backward(*args, **kwargs)


class Keeping(Net):
    def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        super().backward(loss, torch.ones(()), retain_graph=True)


class Older(Net):
    def backward(self, loss: Any, optimizer: Any, optimizer_idx: int) -> None:
        assert isinstance(optimizer, torch.optim.SGD)
        super().backward(loss, optimizer, optimizer_idx)


class OlderWithMore(Net):
    def backward(self, loss: Any, optimizer: Any, optimizer_idx: int, *args: Any, **kwargs: Any) -> None:
        assert isinstance(optimizer, torch.optim.SGD)
        loss.backward(*args, **kwargs)


class ByName(Net):
    def backward(self, loss: Any, optimizer_idx: int, optimizer: Any) -> None:
        super().backward(loss, optimizer=optimizer, optimizer_idx=optimizer_idx)


def fitted(kind: Any) -> pl.LightningModule:
    torch.manual_seed(0)
    model = kind()
    pl.Trainer(**QUIET, max_epochs=2).fit(model, batches(3))
    return model


@pytest.mark.parametrize("kind", [ToTheLoss, ToOurs, All, Keeping, Older, OlderWithMore, ByName])
def test_backward_gets_no_optimizer_for_a_gradient(kind: Any):
    assert same(fitted(kind), fitted(Net))


@pytest.mark.parametrize("more", [(), ("optimizer",), ("optimizer", 0), (None,), ("gradient",), (None, True)])
def test_manual_backward_takes_the_arguments_of_both_generations(more: tuple[Any, ...]):
    class ByHand(Net):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            given = {"optimizer": optimizer, "gradient": torch.ones(())}
            self.manual_backward(self.loss(batch), *(given.get(name, name) for name in more))
            optimizer.step()

    assert same(fitted(ByHand), fitted(Net))


class Counting(Net):
    """Runs backward by itself, and counts."""

    automatic_optimization = False
    calls, older = 0, False
    options: ClassVar[dict[str, Any]] = {}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.given = (optimizer,) if self.older else ()
        self.manual_backward(self.loss(batch), *self.given, **self.options)
        optimizer.step()


class CountingLoss(Counting):
    def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        assert (args, kwargs) == ((), self.options)
        self.calls += 1
        loss.backward(*args, **kwargs)


class CountingOptimizer(Counting):
    def backward(self, loss: Any, optimizer: Any, optimizer_idx: Any, *args: Any, **kwargs: Any) -> None:
        assert (optimizer, optimizer_idx) == ((*self.given, None)[0], None)
        assert (args, kwargs) == ((), self.options)
        self.calls += 1
        super().backward(loss, optimizer, optimizer_idx, *args, **kwargs)


class CountingShort(Counting):
    def backward(self, loss: Any) -> None:
        self.calls += 1
        loss.backward()


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("precision", [32, 16, "bf16"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CountingLoss, {}),
        (CountingLoss, {"retain_graph": True}),
        (CountingOptimizer, {}),
        (CountingOptimizer, {"retain_graph": True}),
        (CountingShort, {}),
    ],
)
def test_manual_backward_calls_the_modules_own_backward(kind: Any, options: Any, precision: Any, older: bool):
    def trained(kind: Any) -> Any:
        torch.manual_seed(0)
        model = kind()
        model.options, model.older = options, older
        pl.Trainer(**QUIET, max_epochs=2, precision=precision).fit(model, batches(3))
        return model

    model = trained(kind)
    assert model.calls == 6
    assert same(model, trained(Counting))
