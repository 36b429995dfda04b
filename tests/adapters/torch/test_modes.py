"""Parts that evaluate while the module trains: whose choice holds, what is said, what a checkpoint keeps."""

import torch
from torch import nn

import functrain_torch as pl
from tests.adapters.torch.small import QUIET, Net, batches


class Frozen(Net):
    """Its statistics were frozen by the user."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.norm.eval()
        self.epochs = []

    def forward(self, x):
        return super().forward(self.norm(x))

    def on_train_epoch_start(self):
        self.epochs.append((self.training, self.norm.training))

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))


def fit(model, capsys=None, ckpt_path=None, **flags):
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 2, **flags})
    trainer.fit(model, batches(3), batches(2), ckpt_path=ckpt_path)
    return trainer


def test_a_batch_norm_that_the_user_put_into_eval_mode_does_not_train(capsys):
    model = Frozen()
    before = model.norm.running_mean.clone()
    fit(model)
    assert torch.equal(model.norm.running_mean, before)
    assert model.epochs == [(True, False)] * 2
    said = [line for line in capsys.readouterr().out.splitlines() if "evaluation mode" in line]
    assert said == ["1 part of Frozen in evaluation mode before the fit stays so: norm."]


def test_a_module_left_in_eval_mode_as_a_whole_trains_and_it_is_said(capsys):
    model = Frozen().eval()
    before = model.norm.running_mean.clone()
    fit(model)
    assert model.epochs == [(True, True)] * 2
    assert not torch.equal(model.norm.running_mean, before)
    assert "Frozen was in evaluation mode as a whole" in capsys.readouterr().out


def test_an_own_train_method_that_freezes_a_part_is_called():
    class Own(Frozen):
        def __init__(self):
            super().__init__()
            self.norm.train()

        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

    model = Own()
    fit(model)
    assert model.epochs == [(True, False)] * 2


def test_a_part_unfrozen_in_the_run_stays_so_in_the_run_that_continues(tmp_path):
    class Later(Frozen):
        def on_train_epoch_start(self):
            if self.current_epoch == 0:
                self.norm.train()
            super().on_train_epoch_start()

    model = Later()
    fit(model, max_epochs=1).save_checkpoint(tmp_path / "one.ckpt")
    again = Later()
    fit(again, ckpt_path=tmp_path / "one.ckpt")
    assert again.epochs == [(True, True)]
