"""BaseFinetuning and BackboneFinetuning: what is unfrozen is trained, as in a loop by hand, also in a run that
continues."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain_torch.callbacks import BackboneFinetuning, BaseFinetuning, Callback, LearningRateMonitor
from functrain_torch.callbacks.finetuning import multiplicative
from tests.resume.common import MemoryLogger, Saver, differences, disturb, final

torch.manual_seed(7)
X, Y = torch.randn(24, 4), torch.randn(24, 1)


def loader() -> DataLoader:
    return DataLoader(TensorDataset(X, Y), batch_size=8)


class Net(pl.LightningModule):
    def __init__(self, scheduler: Any = None, momentum: float = 0.9) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 5))
        self.head = nn.Linear(5, 1)
        self.scheduler = scheduler
        self.momentum = momentum

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self.head(self.backbone(x)), y)

    def configure_optimizers(self):
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.1, momentum=self.momentum)
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


class Unfreezes(BaseFinetuning):
    """The last layer of the backbone joins in epoch 1, the rest in epoch 2."""

    def __init__(self, train_bn: bool = True) -> None:
        super().__init__()
        self.train_bn = train_bn

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.backbone, self.train_bn)

    def finetune_function(self, pl_module, epoch, optimizer, opt_idx):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone[3], optimizer)
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.backbone[:2], optimizer, lr=0.02, train_bn=self.train_bn)


def weights(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def loop_by_hand(epochs: int, scheduler: Any = None) -> nn.Module:
    """What `Unfreezes` asks for, written out."""
    net = Net()
    for part in (net.backbone[0], net.backbone[3]):
        part.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    steps = None if scheduler is None else scheduler(optimizer)
    for epoch in range(epochs):
        for at, part, rate in ((1, net.backbone[3], optimizer.param_groups[0]["lr"] / 10), (2, net.backbone[0], 0.02)):
            if epoch == at:
                part.requires_grad_(True)
                optimizer.add_param_group({"params": list(part.parameters()), "lr": rate})
        for x, y in loader():
            optimizer.zero_grad()
            nn.functional.mse_loss(net.head(net.backbone(x)), y).backward()
            optimizer.step()
        if steps is not None:
            steps.step()
    return net


def exponential(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)


@pytest.mark.parametrize("scheduler", [None, exponential])
def test_it_trains_as_the_loop_by_hand(make, scheduler):
    module = Net(scheduler)
    make(Unfreezes(), max_epochs=4).fit(module, loader())
    assert not differences(weights(module), weights(loop_by_hand(4, scheduler)))


def test_an_optimizer_that_was_given_frozen_parameters_is_told_of(make):
    class Everything(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Everything()
    with pytest.warns(UserWarning, match="2 of the parameters that are unfrozen are in the SGD already"):
        make(Unfreezes(), max_epochs=2).fit(module, loader())
    assert len(module.optimizers().optimizer.param_groups) == 1


def test_a_backbone_that_the_optimizer_had_from_the_start_has_its_rate(make):
    class Everything(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Everything()
    with pytest.warns(UserWarning, match="are in the SGD already"):
        make(BackboneFinetuning(1, lambda epoch: 0.5), max_epochs=4).fit(module, loader())
    assert [group["lr"] for group in module.optimizers().param_groups] == [0.1]


def test_what_is_frozen_is_as_it_was_and_what_is_unfrozen_is_not(make):
    module, before = Net(), weights(Net())
    moved: list[set[str]] = []

    class Notes(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            moved.append({name for name, value in weights(pl_module).items() if not torch.equal(value, before[name])})

    make(Unfreezes(train_bn=False), Notes(), max_epochs=3).fit(module, loader())
    head, last = {"head.weight", "head.bias"}, {"backbone.3.weight", "backbone.3.bias"}
    assert moved == [head, head | last, head | last | {"backbone.0.weight"}]


def per_group(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)


def one_cycle(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)


@pytest.mark.parametrize("scheduler", [per_group, one_cycle])
def test_a_scheduler_that_cannot_know_a_later_group_leaves_it_alone(make, scheduler):
    module = Net(scheduler)
    make(Unfreezes(train_bn=False), max_epochs=4).fit(module, loader())
    first, last, rest = (group["lr"] for group in module.optimizers().optimizer.param_groups)
    alone = scheduler(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    for _ in range(4):
        alone.optimizer.step()
        alone.step()
    assert first == alone.get_last_lr()[0]
    assert rest == 0.02
    assert 0 < last <= 0.01


def test_gradients_of_a_window_are_summed_for_a_later_group_too(make):
    """One window over the epoch is one step with the mean gradient, for all groups."""

    class FromTheStart(Unfreezes):
        def finetune_function(self, pl_module, epoch, optimizer):
            if epoch == 0:
                self.unfreeze_and_add_param_group(pl_module.backbone[3], optimizer, lr=0.1)

    module, whole = Net(momentum=0.0), Net(momentum=0.0)
    for net in (module, whole):
        net.backbone[1] = nn.Identity()
    make(FromTheStart(), max_epochs=1, accumulate_grad_batches=3).fit(module, loader())
    nn.functional.mse_loss(whole.head(whole.backbone(X)), Y).backward()
    for name in ("head", "backbone.3"):
        for mine, wanted in zip(
            module.get_submodule(name).parameters(), whole.get_submodule(name).parameters(), strict=True
        ):
            torch.testing.assert_close(mine, wanted - 0.1 * wanted.grad)


def test_a_group_that_a_users_own_hook_adds_is_trained_and_cleared(make):
    """No callback of ours has a part in it. Gradients from before it had an optimizer are none of a window."""

    class Adds(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 2:
                optimizer = pl_module.optimizers(use_pl_optimizer=False)
                optimizer.add_param_group({"params": list(pl_module.backbone.parameters()), "lr": 0.05})

    class HeadFirst(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.head.parameters(), lr=0.1)

    module, net = HeadFirst(), HeadFirst()
    with pytest.warns(UserWarning, match=r"no optimizer trains backbone"):
        make(Adds(), max_epochs=2).fit(module, loader())
    optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
    for step, (x, y) in enumerate([*loader(), *loader()]):
        if step == 2:
            optimizer.add_param_group({"params": list(net.backbone.parameters()), "lr": 0.05})
        net.zero_grad()
        nn.functional.mse_loss(net.head(net.backbone(x)), y).backward()
        optimizer.step()
    assert not differences(weights(module), weights(net))


# ---- continuing

PLACES = ("on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end")
OPTIONS = {"max_epochs": 4, "accumulate_grad_batches": 2}


def fine(train_bn: bool) -> list[Callback]:
    return [Unfreezes(train_bn)]


def of_backbone(train_bn: bool) -> list[Callback]:
    return [BackboneFinetuning(1, lambda epoch: 1.5, train_bn=train_bn)]


@pytest.mark.parametrize("train_bn", [False, True])
@pytest.mark.parametrize("callbacks", [fine, of_backbone])
@pytest.mark.parametrize("first", [False, True], ids=["saved after it", "saved before it"])
def test_a_run_that_continues_from_anywhere_ends_with_the_same_bits(make, tmp_path, callbacks, train_bn, first):
    def run(*more: Callback, ckpt_path: str | None = None) -> dict[str, Any]:
        logger = MemoryLogger()
        given = [*more, *callbacks(train_bn)] if first else [*callbacks(train_bn), *more]
        trainer = make(*given, logger=logger, **OPTIONS)
        module = Net(exponential)
        disturb()
        torch.manual_seed(2)
        trainer.fit(module, loader(), ckpt_path=ckpt_path)
        return {**final(trainer, []), "tracking": [m.track_running_stats for m in module.modules() if is_bn(m)]}

    def is_bn(module: nn.Module) -> bool:
        return isinstance(module, nn.BatchNorm1d)

    saver = Saver(tmp_path, PLACES)
    whole = run(saver)
    assert len(saver.saved) == 4 * (1 + 3 + 1)
    for (hook, count), (path, _) in saver.saved.items():
        again = run(Saver(tmp_path / "none", ()), ckpt_path=path)
        assert not differences(whole, again), f"{hook} {count}"


def test_continuing_twice(make, tmp_path):
    paths = [None, *(str(tmp_path / f"{epoch}.ckpt") for epoch in range(4))]
    for epoch in range(4):
        module, trainer = Net(), make(*of_backbone(True), max_epochs=epoch + 1)
        trainer.fit(module, loader(), ckpt_path=paths[epoch])
        trainer.save_checkpoint(paths[epoch + 1])
    whole = Net()
    make(*of_backbone(True), max_epochs=4).fit(whole, loader())
    assert not differences(weights(module), weights(whole))


def test_a_checkpoint_whose_added_group_does_not_fit_says_which_parameter(make, tmp_path):
    trainer = make(Unfreezes(train_bn=False), max_epochs=2)
    trainer.fit(Net(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=False)
    saved["parameter_names"][0][1][0] = "backbone.9.weight"
    torch.save(saved, tmp_path / "b.ckpt")
    with pytest.raises(CheckpointError, match=r"given a parameter group on the way, with 'backbone\.9\.weight', which"):
        make(Unfreezes(train_bn=False), max_epochs=3).fit(Net(), loader(), ckpt_path=tmp_path / "b.ckpt")


# ---- BackboneFinetuning


def test_the_rates_of_a_backbone(make, capsys):
    monitor = LearningRateMonitor("epoch")
    callback = BackboneFinetuning(1, lambda epoch: 3.0, backbone_initial_ratio_lr=0.1, verbose=True, rounding=4)
    make(callback, monitor, logger=MemoryLogger(), max_epochs=5).fit(Net(), loader())
    assert monitor.lrs["lr-SGD"] == [0.1]
    assert monitor.lrs["lr-SGD/pg2"] == pytest.approx([0.01, 0.03, 0.09, 0.1])
    assert capsys.readouterr().out.splitlines() == [
        f"Current lr: 0.1, Backbone lr: {rate}" for rate in (0.01, 0.03, 0.09, 0.1)
    ]
    assert multiplicative(3) == 2.0


def test_its_rate_may_be_given_and_need_not_align(make):
    module = Net()
    callback = BackboneFinetuning(0, backbone_initial_lr=0.08, should_align=False)
    make(callback, max_epochs=3).fit(module, loader())
    assert callback.previous_backbone_lr == pytest.approx(0.32)
    assert module.optimizers().optimizer.param_groups[1]["lr"] == pytest.approx(0.32)


def test_each_fit_begins_with_a_frozen_backbone(make):
    trainer = make(BackboneFinetuning(1), max_epochs=2)
    for _ in range(2):
        module = Net()
        trainer.fit(module, loader())
        assert [len(group["params"]) for group in module.optimizers().optimizer.param_groups] == [4, 3]


def test_it_says_what_it_cannot_do(make):
    with pytest.raises(ConfigurationError, match=r"unfreeze_backbone_at_epoch=-1\): must be an int >= 0"):
        BackboneFinetuning(-1)
    module = Net()
    module.backbone = nn.Sequential()
    del module.backbone
    with pytest.raises(ConfigurationError, match=r"Net\.backbone is a NoneType; it must be the torch\.nn\.Module"):
        make(BackboneFinetuning(), max_epochs=1).fit(module, loader())
    with pytest.raises(ConfigurationError, match="an int is neither a module nor several"):
        BaseFinetuning.freeze(3)
    with pytest.raises(NotImplementedError, match="BaseFinetuning defines no freeze_before_training"):
        make(BaseFinetuning(), max_epochs=1).fit(Net(), loader())

    class Two(Net):
        def configure_optimizers(self):
            return [torch.optim.SGD(self.head.parameters(), 0.1), torch.optim.SGD(self.backbone.parameters(), 0.1)]

        def training_step(self, batch, batch_idx, optimizer_idx):
            return super().training_step(batch, batch_idx)

    with pytest.raises(ConfigurationError, match="Two has several optimizers"):
        make(BackboneFinetuning(9), max_epochs=1).fit(Two(), loader())


# ---- tools


class Block(nn.Module):
    """Has a parameter of its own beside its children."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.layers = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Sequential(nn.BatchNorm1d(2), nn.ReLU())})


def test_flattened_modules_are_those_with_parameters_and_those_without_children():
    block = Block()
    a, (norm, relu) = block.layers["a"], block.layers["b"]
    assert BaseFinetuning.flatten_modules(block) == [block, a, norm, relu]
    assert BaseFinetuning.flatten_modules([block.layers, [a, norm]]) == [a, norm, relu]
    assert BaseFinetuning.flatten_modules(a) == [a]


def test_freezing_and_unfreezing():
    block = Block()
    norm = block.layers["b"][0]
    BaseFinetuning.freeze(block)
    assert [p.requires_grad for p in block.parameters()] == [False, False, False, True, True]
    assert list(BaseFinetuning.filter_params(block)) == list(norm.parameters())
    assert list(BaseFinetuning.filter_params(block, train_bn=False)) == []
    assert len(list(BaseFinetuning.filter_params(block, requires_grad=False))) == 3
    BaseFinetuning.freeze([block], train_bn=False)
    assert not any(p.requires_grad for p in block.parameters())
    assert not norm.track_running_stats
    BaseFinetuning.make_trainable(block)
    assert all(p.requires_grad for p in block.parameters())
    assert norm.track_running_stats
    BaseFinetuning.freeze_module(block)
    assert [p.requires_grad for p in block.parameters()] == [False, True, True, True, True]


def test_parameters_that_are_equal_are_not_the_same():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    assert BaseFinetuning.filter_on_optimizer(torch.optim.SGD([a], 0.1), [b]) == [b]
