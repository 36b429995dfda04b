"""What steps and hooks return to be logged, as they did before there was `self.log`, is told to go nowhere."""

from typing import Any

import pytest
import torch
from torch import nn

import functrain_torch as pl


class Net(pl.LightningModule):
    def __init__(self, **returned: Any):
        super().__init__()
        self.layer, self.returned = nn.Linear(2, 1), returned

    def training_step(self, batch, batch_nb):
        loss = self.layer(batch).square().mean()
        logs = {"train_loss": loss.detach()}
        return {"loss": loss, **dict.fromkeys(self.returned.get("step", ()), logs)}

    def training_epoch_end(self, outputs):
        return self.returned.get("epoch")

    def validation_step(self, batch, batch_nb):
        return {"val_loss": self.layer(batch).square().mean()}

    def validation_epoch_end(self, outputs):
        return self.returned.get("validation")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(net: Net) -> None:
    quiet: Any = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0}
    trainer = pl.Trainer(max_epochs=2, weights_summary=None, num_sanity_val_steps=0, **quiet)
    trainer.fit(net, [torch.ones(1, 2)] * 2, [torch.ones(1, 2)])
    assert trainer.callback_metrics == {}


def test_nothing_returned_is_nothing_said():
    fitted(Net())


def test_what_a_step_returns_to_be_logged_is_told():
    with pytest.warns(UserWarning, match="training step returned 'log' and 'progress_bar', of which nothing is logged"):
        fitted(Net(step=("progress_bar", "log")))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"epoch": {"log": {"a": 1.0}}}, "Net.training_epoch_end returned 'log'"),
        ({"validation": {"val_loss": 1.0, "log": {}}}, "Net.validation_epoch_end returned 'val_loss' and 'log'"),
        ({"validation": 1.0}, "Net.validation_epoch_end returned a result"),
    ],
)
def test_what_the_end_of_an_epoch_returns_is_told_once(returned: dict[str, Any], said: str):
    with pytest.warns(UserWarning, match="of which nothing is logged") as told:
        fitted(Net(**returned))
    assert [str(each.message).partition(",")[0] for each in told] == [said]
