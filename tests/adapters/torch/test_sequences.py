"""Truncated back-propagation through time, hidden states, and batches of sequences of several lengths."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import rnn
from torch.utils.data import DataLoader

import functrain_torch as pl
from tests.adapters.torch.small import same, trainer

STEPS = 5


class Recurrent(pl.LightningModule):
    """The hidden state comes and goes."""

    def __init__(self, size: int | None = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=2, hidden_size=3, num_layers=1, batch_first=True)
        self.head = nn.Linear(3, 1)
        self.truncated_bptt_steps = size
        self.seen: list[Any] = []

    def losses(self, x: Any, y: Any, hiddens: Any) -> Any:
        out, hiddens = self.lstm(x, hiddens)
        return (self.head(out) - y).square().mean(), hiddens

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        x, y = batch
        self.seen.append((batch_idx, x.shape[1], hiddens is None))
        assert hiddens is None or not hiddens[0].requires_grad
        loss, hiddens = self.losses(x, y, hiddens)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return {"loss": loss, "hiddens": hiddens}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def sequences(n: int = 4, steps: int = STEPS) -> Any:
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(steps, 2, generator=generator), torch.randn(steps, 1, generator=generator)) for _ in range(n)]
    return DataLoader(data, batch_size=2)


def by_hand(model: Recurrent, loader: Any, size: int, epochs: int = 2, window: int = 1) -> list[Any]:
    optimizer, losses = model.configure_optimizers(), []
    for _ in range(epochs):
        for x, y in loader:
            hiddens, starts = None, list(range(0, x.shape[1], size))
            for k, at in enumerate(starts):
                if k % window == 0:
                    optimizer.zero_grad()
                loss, hiddens = model.losses(x[:, at : at + size], y[:, at : at + size], hiddens)
                losses.append(loss.detach())
                loss.backward()
                hiddens = tuple(h.detach() for h in hiddens)
                if (k + 1) % window == 0 or k + 1 == len(starts):
                    count = k % window + 1
                    if count > 1:
                        for p in model.parameters():
                            p.grad.mul_(1 / count)
                    optimizer.step()
    return losses


@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("by", ["attribute", "flag"])
def test_as_by_hand(size: int, by: str):
    """An update a piece; the hidden state is handed on cut off from the graph, and empty at a batch's start."""
    model = Recurrent(size if by == "attribute" else None)
    other = copy.deepcopy(model)
    run = trainer(max_epochs=2, truncated_bptt_steps=None if by == "attribute" else size)
    run.fit(model, sequences())
    losses = by_hand(other, sequences(), size)
    assert same(model, other)
    pieces = -(-STEPS // size)
    assert run.global_step == len(losses) == 2 * 2 * pieces
    assert model.seen[:pieces] == [(0, min(size, STEPS - at), at == 0) for at in range(0, STEPS, size)]
    assert run.callback_metrics["loss"] == pytest.approx(torch.stack(losses[-2 * pieces :]).mean().item(), rel=1e-5)


def test_pieces_accumulate():
    model = Recurrent(2)
    other = copy.deepcopy(model)
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(model, sequences())
    by_hand(other, sequences(), 2, window=2)
    assert same(model, other)


def test_a_split_of_ones_own():
    class Uneven(Recurrent):
        def tbptt_split_batch(self, batch: Any, split_size: int) -> Any:
            assert split_size == 2
            x, y = batch
            return [(x[:, :1], y[:, :1]), (x[:, 1:], y[:, 1:])]

    model = Uneven()
    trainer(max_epochs=1).fit(model, sequences())
    assert model.seen == [(0, 1, True), (0, 4, False), (1, 1, True), (1, 4, False)]


def test_no_common_length_is_an_error():
    loader = DataLoader([(torch.ones(4, 2), torch.ones(3, 1))])
    with pytest.raises(ValueError, match=r"truncated_bptt_steps=2: the batch's tensors have \[3, 4\] time steps"):
        trainer(max_epochs=1).fit(Recurrent(), loader)


def test_hiddens_without_truncation_is_empty():
    model = Recurrent(None)
    trainer(max_epochs=1).fit(model, sequences())
    assert model.seen == [(0, STEPS, True), (1, STEPS, True)]


class Packed(pl.LightningModule):
    """Lists of sequences of several lengths, packed in the step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2, 3), nn.Linear(3, 1)

    def loss(self, x: list[Any], y: list[Any]) -> Any:
        packed, target = (rnn.pack_sequence(part, enforce_sorted=False) for part in (x, y))
        out, _ = self.rnn(packed)
        return (self.head(out.data) - target.data).square().mean()

    def training_step(self, batch: Any, batch_nb: int) -> Any:
        loss = self.loss(*batch)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def ragged() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    lengths = (3, 1, 4, 2, 2, 5)
    return [(torch.randn(n, 2, generator=generator), torch.randn(n, 1, generator=generator)) for n in lengths]


def as_lists(batch: Any) -> Any:
    return [item[0] for item in batch], [item[1] for item in batch]


def test_sequences_of_several_lengths():
    model = Packed()
    other = copy.deepcopy(model)
    loader = DataLoader(ragged(), batch_size=4, collate_fn=as_lists)
    run = trainer(max_epochs=2)
    run.fit(model, loader)
    optimizer, losses = other.configure_optimizers(), []
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            loss = other.loss(x, y)
            loss.backward()
            losses.append((loss.item(), len(x)))
            optimizer.step()
    assert same(model, other)
    mean = sum(loss * n for loss, n in losses[2:]) / 6
    assert run.callback_metrics["loss"] == pytest.approx(mean, rel=1e-5)


def test_packed_batches():
    """A batch that is packed already goes through the transfer, in any precision, and weighs its sequences."""

    def collate(batch: Any) -> Any:
        return tuple(rnn.pack_sequence(part, enforce_sorted=False) for part in as_lists(batch))

    class Ready(Packed):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            packed, target = batch
            out, _ = self.rnn(packed)
            self.log("one", 1.0 + batch_idx, on_step=False, on_epoch=True)
            return (self.head(out.data) - target.data).square().mean()

    for precision in (32, 64):
        model = Ready()
        run = trainer(max_epochs=1, precision=precision)
        run.fit(model, DataLoader(ragged(), batch_size=4, collate_fn=collate))
        assert run.callback_metrics["one"] == pytest.approx((4 * 1 + 2 * 2) / 6)
        assert model.dtype == (torch.float32 if precision == 32 else torch.float64)


@pytest.mark.parametrize("most", [1, 4])
def test_a_batch_is_finished_past_max_steps_and_one_line_says_so(most: int, capsys: Any):
    """Three pieces a batch are three updates, and a batch is the least that a run can continue from."""
    run = trainer(max_epochs=9, max_steps=most)
    run.fit(Recurrent(2), sequences())
    assert run.global_step == -(-most // 3) * 3
    said = f"max_steps={most} was met within a batch, which was finished: {run.global_step} updates, 2 more."
    assert capsys.readouterr().out.count(said) == 1


def test_max_steps_met_at_the_end_of_a_batch_says_nothing(capsys: Any):
    run = trainer(max_epochs=9, max_steps=3)
    run.fit(Recurrent(2), sequences())
    assert run.global_step == 3
    assert "max_steps" not in capsys.readouterr().out
