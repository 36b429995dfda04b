"""configure_optimizers in every documented form, several optimizers, and optimizer_step of one's own."""

import copy
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau, StepLR

import functrain_torch as pl
from tests import inside
from tests.adapters.torch.small import Net, Validated, batches, same, trainer, validation


def configured(give: Any, model: type[Net] = Validated, epochs: int = 2, **flags: Any) -> Any:
    """The Trainer after a fit whose configure_optimizers gives `give(model)`."""

    class Model(model):
        def configure_optimizers(self) -> Any:
            return give(self)

    run = trainer(max_epochs=epochs, **flags)
    module = Model()
    run.fit(module, batches(3), validation(module, batches(1)))
    return run


def halves(module: Net) -> tuple[Any, Any]:
    """The parameters of the two layers."""
    return module.net[0].parameters(), module.net[3].parameters()


FORMS = {
    "one": lambda m: SGD(m.parameters(), 0.1),
    "a list of one": lambda m: [SGD(m.parameters(), 0.1)],
    "a dict": lambda m: {"optimizer": SGD(m.parameters(), 0.1)},
    "two lists": lambda m: ([SGD(m.parameters(), 0.1)], []),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_optimizer(form: str):
    run = configured(FORMS[form])
    assert inside.rates(run) == [0.1]
    assert run.global_step == 6


def with_scheduler(scheduler: Any, nested: bool) -> Any:
    def give(module: Net) -> Any:
        optimizer = SGD(module.parameters(), 0.1)
        one = scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one} if nested else one}

    return give


@pytest.mark.parametrize("nested", [False, True])
def test_scheduler_in_a_dict(nested: bool):
    assert inside.rates(configured(with_scheduler(lambda o: StepLR(o, 1, 0.5), nested))) == [0.025]


def test_schedulers_in_a_list_of_lists():
    """`[optimizers], [schedulers]`; a scheduler belongs to the optimizer that it was made of."""

    def give(module: Net) -> Any:
        first, second = (SGD(half, 0.1) for half in halves(module))
        return [first, second], [StepLR(second, 1, 0.5)]

    assert inside.rates(configured(give)) == [0.1, 0.025]


def test_two_optimizers_two_schedulers():
    def give(module: Net) -> Any:
        first, second = Adam(halves(module)[0], 0.1), SGD(halves(module)[1], 0.1)
        return [first, second], [ReduceLROnPlateau(first, patience=100), LambdaLR(second, lambda epoch: 0.5**epoch)]

    assert inside.rates(configured(give)) == [0.1, 0.025]


def test_interval_and_frequency_of_a_scheduler():
    def give(module: Net) -> Any:
        optimizer = SGD(module.parameters(), 1.0)
        scheduler = {"scheduler": ExponentialLR(optimizer, 0.5), "interval": "step", "frequency": 2}
        return [optimizer], [scheduler]

    assert inside.rates(configured(give)) == [0.5**3]  # 6 updates
    assert inside.rates(configured(give, accumulate_grad_batches=2)) == [0.5**2]  # 4 updates


def test_epoch_frequency_of_a_scheduler():
    def give(module: Net) -> Any:
        optimizer = SGD(module.parameters(), 1.0)
        return [optimizer], [{"scheduler": ExponentialLR(optimizer, 0.5), "frequency": 3}]

    assert inside.rates(configured(give, epochs=7)) == [0.25]


def test_plateau_with_a_monitor_of_its_own():
    def give(module: Net) -> Any:
        optimizer = SGD(module.parameters(), 1.0)
        plateau = ReduceLROnPlateau(optimizer, mode="max", patience=0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "steady"}}

    class Steady(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("steady", 1.0, on_step=False, on_epoch=True)
            return self.loss(batch)

    assert inside.rates(configured(give, Steady, epochs=3)) == [0.25]


@pytest.mark.parametrize("strict", [True, False])
def test_plateau_whose_metric_nobody_logs(strict: bool):
    def give(module: Net) -> Any:
        optimizer = SGD(module.parameters(), 1.0)
        plateau = {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "val_los", "strict": strict}
        return {"optimizer": optimizer, "lr_scheduler": plateau}

    if not strict:
        assert inside.rates(configured(give)) == [1.0]
        return
    with pytest.raises(pl.ConfigurationError, match=r"'val_los'.*Did you mean 'val_loss'"):
        configured(give)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda m: "adam", "str is not a torch.optim.Optimizer"),
        (lambda m: {"optimiser": 1}, "unknown key 'optimiser'"),
        (lambda m: {"lr_scheduler": 1}, "a dict without 'optimizer'"),
        (
            lambda m: {"optimizer": SGD(m.parameters(), 0.1), "lr_scheduler": {"schedule": 1}},
            "Did you mean 'scheduler'",
        ),
        (
            lambda m: (
                [SGD(m.parameters(), 0.1)],
                [{"scheduler": StepLR(SGD(m.parameters(), 0.1), 1), "interval": "x"}],
            ),
            "interval 'x' must be 'epoch' or 'step'",
        ),
        (
            lambda m: [{"optimizer": SGD(h, 0.1), "frequency": i} for i, h in enumerate(halves(m))],
            "for every optimizer",
        ),
        (
            lambda m: ([o := SGD(m.parameters(), 0.1)], [{"scheduler": StepLR(o, 1), "opt_idx": 3}]),
            "opt_idx 3 of a scheduler: there are 1 optimizers",
        ),
        (lambda m: [], "returned no optimizer"),
    ],
)
def test_other_forms_are_errors(give: Any, message: str):
    with pytest.raises(pl.ConfigurationError, match=message):
        configured(give)


class Gan(pl.LightningModule):
    """A generator and a critic with an optimizer each, and a record of who played with what."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
        self.played: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        trains = [p.requires_grad for p in (self.generator.weight, self.critic.weight)]
        self.played.append((batch_idx, optimizer_idx, trains))
        return self.game(batch[0], optimizer_idx)

    def game(self, x: Any, player: int) -> Any:
        fake = self.critic(self.generator(x))
        return -fake.mean() if player == 0 else (fake - self.critic(x)).mean() + self.critic.weight.square().sum()

    def optimizers_of(self) -> list[Any]:
        return [Adam(self.generator.parameters(), 0.01), SGD(self.critic.parameters(), 0.1)]

    def configure_optimizers(self) -> Any:
        return self.optimizers_of()


def gan_by_hand(model: Gan, loader: Any, plays: Any = lambda batch, player: True, window: int = 1) -> None:
    optimizers = model.optimizers_of()
    for i, (x, _) in enumerate(loader):
        for player, optimizer in enumerate(optimizers):
            if not plays(i, player):
                continue
            part = (model.generator, model.critic)[player]
            gradients = torch.autograd.grad(model.game(x, player), list(part.parameters()))
            for gradient, p in zip(gradients, part.parameters(), strict=True):
                p.grad = gradient if p.grad is None else p.grad + gradient
            if (i + 1) % window == 0 or i + 1 == len(loader):
                count = (i % window) + 1
                if count > 1:
                    for p in part.parameters():
                        p.grad.mul_(1 / count)
                optimizer.step()
                optimizer.zero_grad()


@pytest.mark.parametrize("window", [1, 2])
def test_optimizers_are_called_one_after_another(window: int):
    """As two optimizers by hand; only the parameters of the one that plays require gradients."""
    model, loader = Gan(), batches(5)
    other = copy.deepcopy(model)
    run = trainer(max_epochs=1, accumulate_grad_batches=window)
    run.fit(model, loader)
    assert model.played == [(i, k, [k == 0, k == 1]) for i in range(5) for k in (0, 1)]
    assert all(p.requires_grad for p in model.parameters())
    gan_by_hand(other, loader, window=window)
    assert same(model, other)
    assert run.global_step == -(-5 // window)
    assert inside.updates(run) == [run.global_step] * 2


def test_frequencies_take_turns():
    """The first plays one batch, the second the next two."""

    class Turns(Gan):
        def configure_optimizers(self) -> Any:
            return [{"optimizer": o, "frequency": n} for o, n in zip(self.optimizers_of(), (1, 2), strict=True)]

    model, loader = Turns(), batches(7)
    other = copy.deepcopy(model)
    run = trainer(max_epochs=1)
    run.fit(model, loader)
    assert [(i, k) for i, k, _ in model.played] == [(i, int(i % 3 > 0)) for i in range(7)]
    gan_by_hand(other, loader, lambda i, k: k == int(i % 3 > 0))
    assert same(model, other)
    assert run.global_step == 7
    assert inside.updates(run) == [3, 4]
