"""Truncated back-propagation with whatever else may stand around a step, against loops written by hand."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import LBFGS, SGD

import functrain_torch as pl
from tests.adapters.torch.small import same, trainer

SIZE = 2
EPOCHS = 2

Pair = tuple[Tensor, Tensor]


def sequences() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 5, 3, generator=generator) for _ in range(3)]


class Recurrent(pl.LightningModule):
    """Cuts its batches along time."""

    def __init__(self) -> None:
        super().__init__()
        self.truncated_bptt_steps = SIZE
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.rnn, self.head = torch.nn.LSTM(3, 4, batch_first=True), torch.nn.Linear(4, 1)

    def game(self, x: Tensor, hidden: Pair | None) -> tuple[Tensor, Pair]:
        y, after = self.rnn(x, hidden)
        return (self.head(y) - x.sum(2, keepdim=True)).pow(2).mean(), after

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        loss, hidden = self.game(batch, hiddens)
        return {"loss": loss, "hiddens": hidden}

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), 0.1)


def cut(hidden: Pair) -> Pair:
    return hidden[0].detach(), hidden[1].detach()


def by_hand(
    window: int = 1, bound: float | None = None, dtype: torch.dtype = torch.float32, autocast: Any = None
) -> Recurrent:
    """What a fit is to leave."""
    model = Recurrent().to(dtype)
    optimizer: Any = model.configure_optimizers()
    for _ in range(EPOCHS):
        for batch in sequences():
            hidden, pieces = None, batch.to(dtype).split(SIZE, 1)
            for first in range(0, len(pieces), window):
                optimizer.zero_grad()
                group = pieces[first : first + window]
                for piece in group:
                    with nullcontext() if autocast is None else torch.autocast("cpu", autocast):
                        loss, hidden = model.game(piece, hidden)
                    loss.backward()
                    hidden = cut(hidden)
                for p in model.parameters():
                    assert p.grad is not None
                    p.grad *= 1 / len(group)
                if bound is not None:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), bound)
                optimizer.step()
    return model


def fitted(kind: type[Recurrent], **flags: Any) -> Recurrent:
    model = kind()
    trainer(max_epochs=EPOCHS, **flags).fit(model, sequences())
    return model


@pytest.mark.parametrize(("flags", "loop"), [
    ({}, {}), ({"accumulate_grad_batches": 2}, {"window": 2}), ({"gradient_clip_val": 0.1}, {"bound": 0.1}),
    ({"precision": 64}, {"dtype": torch.float64}), ({"precision": "bf16"}, {"autocast": torch.bfloat16}),
    ({"precision": "bf16-true"}, {"dtype": torch.bfloat16}),
])  # fmt: skip
def test_flags(flags: dict[str, Any], loop: dict[str, Any]):
    assert same(fitted(Recurrent, **flags), by_hand(**loop))


Named = namedtuple("Named", "h c")


@dataclass
class Fields:
    h: Tensor
    c: Tensor


WRAPPED: dict[str, tuple[Callable[[Pair], Any], Callable[[Any], Any]]] = {
    "list": (list, tuple),
    "dict": (lambda pair: dict(zip("hc", pair, strict=True)), lambda state: (state["h"], state["c"])),
    "named tuple": (lambda pair: Named(*pair), lambda state: (state.h, state.c)),
    "dataclass": (lambda pair: Fields(*pair), lambda state: (state.h, state.c)),
    "nested": (lambda pair: [{"x": (pair[0],)}, pair[1]], lambda state: (state[0]["x"][0], state[1])),
    "with other things": (lambda pair: (*pair, 3, "a", None), lambda state: state[:2]),
    "one tensor": (torch.stack, lambda state: (state[0], state[1])),
}


@pytest.mark.parametrize("form", list(WRAPPED))
def test_hiddens_of_any_structure(form: str):
    wrap, unwrap = WRAPPED[form]

    class Wrapping(Recurrent):
        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            output = super().training_step(batch, batch_idx, None if hiddens is None else unwrap(hiddens))
            return {**output, "hiddens": wrap(output["hiddens"])}

    assert same(fitted(Wrapping), by_hand())


@pytest.mark.parametrize("pieces", [list, tuple, iter])
def test_a_split_of_any_kind(pieces: Any):
    class Splitting(Recurrent):
        def tbptt_split_batch(self, batch: Any, split_size: int) -> Any:
            return pieces(batch.split(split_size, 1))

    assert same(fitted(Splitting), by_hand())


def test_a_split_that_yields():
    class Yielding(Recurrent):
        def tbptt_split_batch(self, batch: Any, split_size: int) -> Iterator[Any]:  # type: ignore[override]
            yield from batch.split(split_size, 1)

    assert same(fitted(Yielding), by_hand())


class NewStep(Recurrent):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any) -> None:
        optimizer.step(closure=optimizer_closure)


class OldStep(Recurrent):
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any, on_tpu: bool,
        using_native_amp: bool, using_lbfgs: bool,
    ) -> None:  # fmt: skip
        optimizer.step(closure=optimizer_closure)


class OldestStep(Recurrent):
    def optimizer_step(
        self, current_epoch: int, batch_nb: int, optimizer: Any, optimizer_i: int, second_order_closure: Any = None
    ) -> None:  # fmt: skip
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", [NewStep, OldStep, OldestStep])
def test_a_step_of_ones_own(kind: type[Recurrent]):
    assert same(fitted(kind), by_hand())


class OfLbfgs(Recurrent):
    def configure_optimizers(self) -> Any:
        return LBFGS(self.parameters(), 0.1, max_iter=3)


@pytest.mark.parametrize("window", [1, 2])
def test_lbfgs_evaluates_each_piece_from_the_state_that_it_began_with(window: int):
    model = OfLbfgs()
    optimizer = model.configure_optimizers()
    for _ in range(EPOCHS):
        for batch in sequences():
            hidden, pieces = None, batch.split(SIZE, 1)
            for first in range(0, len(pieces), window):
                group, began, ended = pieces[first : first + window], hidden, list[Pair]()

                def closure(group: Any = group, began: Any = began, ended: Any = ended) -> Tensor:
                    optimizer.zero_grad()
                    loss, now = torch.zeros(()), began
                    for piece in group:
                        part, now = model.game(piece, now)
                        part.backward()
                        loss, now = loss + part.detach(), cut(now)
                    for p in model.parameters():
                        assert p.grad is not None
                        p.grad *= 1 / len(group)
                    ended.append(now)
                    return loss / len(group)

                optimizer.step(closure)
                hidden = ended[0]
    assert same(fitted(OfLbfgs, accumulate_grad_batches=window), model)


class ByHand(Recurrent):
    """Steps by itself, once a piece."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.numbers: list[int] = []

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        self.numbers.append(batch_idx)
        optimizer = self.optimizers()
        loss, hidden = self.game(batch, hiddens)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return {"loss": loss, "hiddens": hidden}


@pytest.mark.parametrize(("flags", "loop"), [({}, {}), ({"precision": "bf16"}, {"autocast": torch.bfloat16})])
def test_optimization_by_hand(flags: dict[str, Any], loop: dict[str, Any]):
    model = ByHand()
    run = trainer(max_epochs=EPOCHS, **flags)
    run.fit(model, sequences())
    assert same(model, by_hand(**loop))
    assert model.numbers == [0, 0, 0, 1, 1, 1, 2, 2, 2] * EPOCHS
    assert run.global_step == 9 * EPOCHS


def test_two_optimizers_play_at_every_piece():
    """The second is handed what the first has returned."""

    class Two(Recurrent):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int, hiddens: Any) -> Any:  # type: ignore
            return super().training_step(batch, batch_idx, hiddens)

        def configure_optimizers(self) -> Any:
            return [SGD(self.rnn.parameters(), 0.1), SGD(self.head.parameters(), 0.05)]

    model = Two()
    for _ in range(EPOCHS):
        for batch in sequences():
            hidden = None
            for piece in batch.split(SIZE, 1):
                for optimizer in model.configure_optimizers():
                    model.zero_grad()
                    loss, hidden = model.game(piece, hidden)
                    loss.backward()
                    optimizer.step()
                    hidden = cut(hidden)
    torch.testing.assert_close(fitted(Two).state_dict(), model.state_dict())
