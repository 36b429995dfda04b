"""What hooks get of the training steps: a dict with 'loss', of those that played."""

from typing import Any

import pytest
import torch

from tests.adapters.torch.small import Net, batches, trainer
from tests.adapters.torch.test_sequences import Recurrent, sequences


class Told(Net):
    """Keeps what its hooks were given."""

    def __init__(self) -> None:
        super().__init__()
        self.at_batches: list[Any] = []
        self.at_end: Any = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.at_batches.append(outputs)

    def training_epoch_end(self, outputs: Any) -> None:
        self.at_end = outputs


def test_outputs_loss_works_where_the_step_returned_the_loss_alone():
    model = Told()
    trainer(max_epochs=1).fit(model, batches(3))
    assert [outputs.keys() for outputs in model.at_batches] == [{"loss"}] * 3
    assert not any(outputs["loss"].requires_grad for outputs in model.at_batches)
    assert torch.stack([outputs["loss"] for outputs in model.at_end]).shape == (3,)


def test_outputs_loss_works_where_the_step_returned_a_dict_or_nothing():
    class Mixed(Told):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            return [{"loss": loss, "n": 4}, None, loss][batch_idx]

    model = Mixed()
    trainer(max_epochs=1).fit(model, batches(3))
    assert [sorted(outputs) for outputs in model.at_batches] == [["loss", "n"], ["loss"], ["loss"]]
    assert model.at_batches[1]["loss"] is None


def test_outputs_loss_works_where_optimization_is_by_hand():
    class ByHand(Told):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch)

    model = ByHand()
    trainer(max_epochs=1).fit(model, batches(1))
    assert model.at_batches[0].keys() == {"loss"}


class Several(Told):
    """Two optimizers, which say who they are."""

    frequencies: tuple[int, ...] = ()

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        return {"loss": self.loss(batch), "player": optimizer_idx}

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.SGD(self.net[i].parameters(), 0.1) for i in (0, 3)]
        if not self.frequencies:
            return optimizers
        return [{"optimizer": o, "frequency": n} for o, n in zip(optimizers, self.frequencies, strict=True)]


@pytest.mark.parametrize(("turns", "played"), [((), [[0, 1]] * 3), ((1, 2), [[0], [1], [1]])])
def test_on_train_batch_end_gets_the_outputs_of_the_optimizers_that_played(turns: Any, played: Any):
    model = Several()
    model.frequencies = turns
    trainer(max_epochs=1).fit(model, batches(3))
    assert [[outputs["player"] for outputs in batch] for batch in model.at_batches] == played
    assert [[outputs["player"] for outputs in batch] for batch in model.at_end] == played


def test_an_optimizer_whose_step_returned_none_did_not_play_and_no_output_is_invented_for_it():
    class Skipping(Several):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            skips = [(), (1,), (0, 1)][batch_idx]
            return None if optimizer_idx in skips else super().training_step(batch, batch_idx, optimizer_idx)

    model = Skipping()
    trainer(max_epochs=1).fit(model, batches(3))
    for seen in (model.at_batches, model.at_end):
        assert [[outputs["player"] for outputs in batch] for batch in seen] == [[0, 1], [0], []]


def test_a_batch_in_pieces_has_one_output_its_last_piece():
    class Pieces(Recurrent):
        def training_epoch_end(self, outputs: Any) -> None:
            self.outputs = outputs

    model = Pieces(2)
    trainer(max_epochs=1).fit(model, sequences(4))
    assert [sorted(outputs) for outputs in model.outputs] == [["hiddens", "loss"]] * 2
