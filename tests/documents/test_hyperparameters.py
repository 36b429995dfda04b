"""Hyperparameters and loading from checkpoints."""

import inspect

import pytest
import torch
from torch.optim import Adam

from functrain_torch import ConfigurationError, LightningModule, Trainer
from tests.documents.blocks import stands_for
from tests.documents.standins import Net, fitted, saved


@stands_for(module=37, notes=8)
def test_hparams():
    class Rated(Net):
        def __init__(self, learning_rate):
            super().__init__()
            self.save_hyperparameters()

        def configure_optimizers(self):
            return Adam(self.parameters(), lr=self.hparams.learning_rate)

    trainer = Trainer()
    fitted(trainer, Rated(0.25))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.25


class Arguments(LightningModule):
    def forward(self, *args, **kwargs): ...


@stands_for(notes=11)
def test_named_hyperparameters():
    class Named(Arguments):
        def __init__(self, arg1, arg2, arg3):
            super().__init__()
            self.save_hyperparameters("arg1", "arg3")

    model = Named(1, "abc", 3.14)
    assert dict(model.hparams) == {"arg1": 1, "arg3": 3.14}
    assert repr(model.hparams) == '"arg1": 1\n"arg3": 3.14'


@stands_for(notes=12)
def test_all_hyperparameters():
    class Whole(Arguments):
        def __init__(self, arg1, arg2, arg3):
            super().__init__()
            self.save_hyperparameters()

    model = Whole(1, "abc", 3.14)
    assert repr(model.hparams) == '"arg1": 1\n"arg2": abc\n"arg3": 3.14'


@stands_for(notes=13)
def test_ignored_hyperparameters():
    class Named(Arguments):
        def __init__(self, arg1, arg2, arg3):
            super().__init__()
            self.save_hyperparameters(ignore="arg2")

    model = Named(1, "abc", 3.14)
    assert repr(model.hparams) == '"arg1": 1\n"arg3": 3.14'


@stands_for(notes=9)
def test_the_signature_of_load_from_checkpoint():
    signature = inspect.signature(LightningModule.load_from_checkpoint)
    named = [(name, parameter.default) for name, parameter in signature.parameters.items()]
    assert named == [
        ("checkpoint_path", inspect.Parameter.empty), ("map_location", None), ("hparams_file", None), ("strict", None),
        ("weights_only", None), ("kwargs", inspect.Parameter.empty),
    ]  # fmt: skip


@stands_for(notes=10)
def test_load_from_checkpoint(tmp_path):
    (tmp_path / "path/to").mkdir(parents=True)
    path = saved(Net(epochs=3), "path/to/checkpoint.ckpt")
    assert Net.load_from_checkpoint("path/to/checkpoint.ckpt").hparams.epochs == 3

    map_location = {"cuda:1": "cuda:0"}
    if torch.cuda.is_available():
        moved = Net.load_from_checkpoint("path/to/checkpoint.ckpt", map_location=map_location)
        assert moved.device == torch.device("cuda:0")
    else:
        with pytest.raises(ConfigurationError, match=r"map_location=\{'cuda:1': 'cuda:0'\}\): needs a CUDA device"):
            Net.load_from_checkpoint("path/to/checkpoint.ckpt", map_location=map_location)

    (tmp_path / "hparams_file.yaml").write_text("epochs: 5\nlearning_rate: 0.5\n")
    loaded = Net.load_from_checkpoint("path/to/checkpoint.ckpt", hparams_file=f"{tmp_path}/hparams_file.yaml")
    assert (loaded.hparams.epochs, loaded.hparams.learning_rate) == (5, 0.5)

    pretrained_model = Net.load_from_checkpoint(path, epochs=128, learning_rate=0.3)
    assert (pretrained_model.hparams.epochs, pretrained_model.hparams.learning_rate) == (128, 0.3)
    pretrained_model.eval()
    pretrained_model.freeze()
    y_hat = pretrained_model(torch.ones(2, 4))
    assert not y_hat.requires_grad
