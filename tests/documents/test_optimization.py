"""Optimizers and schedulers in every form, optimization by hand, steps at intervals, sequences cut along time."""

import pytest
import torch
from torch import nn
from torch.nn.utils import rnn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from functrain_torch import LightningModule, Trainer
from tests.documents.blocks import stands_for
from tests.documents.standins import BATCHES, Net, OneStep, fitted


class Pair(Net):
    """Two layers, the second for the second optimizer."""

    def __init__(self, epochs=2):
        super().__init__(epochs)
        self.other = nn.Linear(4, 2)

    def training_step(self, batch, batch_idx, optimizer_idx):
        self.count[f"optimizer {optimizer_idx}"] += 1
        x, y = batch
        layer = (self.layer, self.other)[optimizer_idx]
        return nn.functional.cross_entropy(layer(x), y)

    def optimizer_of_each(self):
        return Adam(self.layer.parameters(), lr=0.02), SGD(self.other.parameters(), lr=0.1)


@stands_for(loops=8)
def test_schedulers():
    class Plain(Net):
        def configure_optimizers(self):
            return Adam(self.parameters(), lr=0.02)

    class Scheduled(Net):
        def configure_optimizers(self):
            adam = Adam(self.parameters(), lr=0.02)
            return [adam], [{"scheduler": ReduceLROnPlateau(adam, patience=0), "monitor": "val_loss"}]

    class PlateauAlone(Net):
        def configure_optimizers(self):
            adam = Adam(self.parameters(), lr=0.02)
            return [adam], [ReduceLROnPlateau(adam)]

    class TwoScheduled(Pair):
        def configure_optimizers(self):
            adam, sgd = self.optimizer_of_each()
            return [adam, sgd], [
                {"scheduler": ReduceLROnPlateau(adam), "monitor": "val_loss"},
                LambdaLR(sgd, lambda epoch: 0.5**epoch),
            ]

    for kind, schedulers in ((Plain, 0), (Scheduled, 1), (PlateauAlone, 1), (TwoScheduled, 2)):
        trainer = Trainer()
        fitted(trainer, kind())
        assert len(trainer.lr_schedulers) == schedulers
    assert trainer.optimizers[1].param_groups[0]["lr"] == pytest.approx(0.1 * 0.25)


@stands_for(loops=(9, 10))
def test_several_optimizers():
    class One(Net):
        def configure_optimizers(self):
            return Adam(self.parameters(), lr=0.02)

    class Two(Pair):
        def configure_optimizers(self):
            return self.optimizer_of_each()

    class OneOfThemScheduled(Pair):
        def configure_optimizers(self):
            adam, sgd = self.optimizer_of_each()
            return [adam, sgd], [{"scheduler": ReduceLROnPlateau(adam), "monitor": "val_loss"}]

    for kind, number in ((One, 1), (Two, 2), (OneOfThemScheduled, 2)):
        trainer = Trainer()
        model = fitted(trainer, kind())
        assert len(trainer.optimizers) == number
        assert number == 1 or model.count["optimizer 0"] == model.count["optimizer 1"] == 2 * BATCHES


@stands_for(loops=12)
def test_steps_at_intervals():
    class EveryStep(Net):
        def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
            optimizer.step()
            optimizer.zero_grad()

    by_itself, by_hand = Net(), EveryStep()
    by_hand.load_state_dict(by_itself.state_dict())
    fitted(Trainer(), by_itself)
    fitted(Trainer(), by_hand)
    assert torch.equal(by_itself.layer.weight, by_hand.layer.weight)

    changed = []

    class Alternating(Pair):
        def configure_optimizers(self):
            return self.optimizer_of_each()

        def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
            if optimizer_i == 0 and batch_nb % 2 == 0:
                optimizer.step()
                optimizer.zero_grad()
                changed.append((0, batch_nb))
            if optimizer_i == 1 and batch_nb % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
                changed.append((1, batch_nb))

    fitted(Trainer(), Alternating(epochs=1))
    assert changed == [(0, 0), (1, 0), (0, 2), (0, 4), (1, 4), (0, 6), (0, 8), (1, 8), (0, 10)]


@stands_for(loops=13)
def test_warm_up():
    rates = []

    class Warming(Net):
        def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
            if self.trainer.global_step < 500:
                lr_scale = min(1.0, float(self.trainer.global_step + 1) / 500.0)
                for pg in optimizer.param_groups:
                    pg["lr"] = lr_scale * self.hparams.learning_rate
            optimizer.step()
            optimizer.zero_grad()
            rates.append(optimizer.param_groups[0]["lr"])

    fitted(Trainer(), Warming())
    assert rates == pytest.approx([0.1 * (step + 1) / 500 for step in range(2 * BATCHES)])


# by hand


def same_as_by_itself(model):
    """Fit it, and Net with the same weights; do they end alike?"""
    by_itself = Net()
    by_itself.layer.load_state_dict(model.layer.state_dict())
    fitted(Trainer(), by_itself)
    fitted(Trainer(), model)
    return torch.equal(by_itself.layer.weight, model.layer.weight)


@stands_for(trainer=18, module=44)
def test_optimization_by_hand():
    class OfTheTrainersFlag(Net):
        def training_step(self, batch, batch_idx):
            opt = self.optimizers()
            loss = self.loss(batch)
            self.manual_backward(loss, opt)
            opt.step()
            opt.zero_grad()

    class OfTheModule(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            opt = self.optimizers(use_pl_optimizer=True)
            loss = self.loss(batch)
            opt.zero_grad()
            self.manual_backward(loss)
            opt.step()

    assert same_as_by_itself(OfTheModule())
    model, by_itself = OfTheTrainersFlag(), Net()
    by_itself.load_state_dict(model.state_dict())
    fitted(Trainer(), by_itself)
    fitted(Trainer(automatic_optimization=False), model)
    assert torch.equal(by_itself.layer.weight, model.layer.weight)


@stands_for(trainer=19, module=45)
def test_two_optimizers_by_hand():
    class Game(Pair):
        def configure_optimizers(self):
            return self.optimizer_of_each()

    class OfTheTrainersFlag(Game):
        def training_step(self, batch, batch_idx, optimizer_idx):
            (opt_a, opt_b) = self.optimizers()
            x, y = batch

            loss_a = nn.functional.cross_entropy(self.layer(x), y)
            self.manual_backward(loss_a, opt_a)
            opt_a.step()
            opt_a.zero_grad()

            loss_b = nn.functional.cross_entropy(self.other(x), y)
            self.manual_backward(loss_b, opt_b)
            opt_b.step()
            opt_b.zero_grad()

    class OfTheModule(Game):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            opt_a, opt_b = self.optimizers(use_pl_optimizer=True)
            x, y = batch

            loss_a = nn.functional.cross_entropy(self.layer(x), y)
            opt_a.zero_grad()
            self.manual_backward(loss_a)
            opt_a.step()

            loss_b = nn.functional.cross_entropy(self.other(x), y)
            opt_b.zero_grad()
            self.manual_backward(loss_b)
            opt_b.step()

    automatic, flagged, own = Game(), OfTheTrainersFlag(), OfTheModule()
    for model in (flagged, own):
        model.load_state_dict(automatic.state_dict())
    fitted(Trainer(), automatic)
    fitted(Trainer(automatic_optimization=False), flagged)
    fitted(Trainer(), own)
    for model in (flagged, own):
        assert torch.equal(model.layer.weight, automatic.layer.weight)
        assert torch.equal(model.other.weight, automatic.other.weight)


# sequences


class Recurrent(LightningModule):
    """A LSTM over sequences, batch first, cut by `truncated_bptt_steps`."""

    def __init__(self, input_size=3, hidden_size=5, num_layers=1):
        super().__init__()
        self.lstm = nn.LSTM(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, batch_first=True)
        self.pieces = []

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        out, hiddens = self.lstm(x, hiddens)
        self.pieces.append((x.shape[1], hiddens[0].requires_grad))
        loss = (out - y).square().mean()
        return {"loss": loss, "hiddens": tuple(h.detach() for h in hiddens)}

    def configure_optimizers(self):
        return SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return [(torch.ones(2, 10, 3), torch.zeros(2, 10, 5))]


@stands_for(trainer=(69, 70, 71), loops=3)
def test_truncated_back_propagation_by_the_flag():
    assert fitted(Trainer(truncated_bptt_steps=None), OneStep()).count["train"] == 3
    for steps, pieces in ((5, [5, 5]), (2, [2] * 5)):
        model = Recurrent()
        trainer = Trainer(truncated_bptt_steps=steps, max_epochs=1)
        trainer.fit(model)
        assert [length for length, _ in model.pieces] == pieces
        assert trainer.global_step == len(pieces)


@stands_for(module=(47, 48))
def test_truncated_back_propagation_by_the_module():
    class CutInTwos(Recurrent):
        def __init__(self, input_size, hidden_size, num_layers):
            super().__init__(input_size, hidden_size, num_layers)
            self.truncated_bptt_steps = 2

    model = CutInTwos(3, 5, 2)
    Trainer(max_epochs=1).fit(model)
    assert [length for length, _ in model.pieces] == [2] * 5


@stands_for(trainer=72, module=49)
def test_tbptt_split_batch():
    class Uneven(Recurrent):
        def tbptt_split_batch(self, batch, split_size):
            x, y = batch
            return [(x[:, :7], y[:, :7]), (x[:, 7:], y[:, 7:])]

    model = Uneven()
    Trainer(truncated_bptt_steps=5, max_epochs=1).fit(model)
    assert [length for length, _ in model.pieces] == [7, 3]


@stands_for(loops=2)
def test_packed_sequences():
    def collate_fn(batch):
        x = [item[0] for item in batch]
        y = [item[1] for item in batch]
        return x, y

    class Packing(Recurrent):
        def training_step(self, batch, batch_nb):
            x = rnn.pack_sequence(batch[0], enforce_sorted=False)
            y = rnn.pack_sequence(batch[1], enforce_sorted=False)
            out, _ = self.lstm(x)
            self.pieces.append(x.batch_sizes.tolist())
            return (out.data - y.data).square().mean()

    sequences = [(torch.ones(length, 3), torch.zeros(length, 5)) for length in (2, 4, 1, 3)]
    model = Packing()
    data = torch.utils.data.DataLoader(sequences, batch_size=2, collate_fn=collate_fn)
    Trainer(max_epochs=1).fit(model, data)
    assert model.pieces == [[2, 2, 1, 1], [2, 1, 1]]
