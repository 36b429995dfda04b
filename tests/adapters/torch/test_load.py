"""save_hyperparameters, load_from_checkpoint in every form, load_from_metrics, freeze and unfreeze."""

import io
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch as pl
from tests.adapters.torch.small import Net, batches, same, trainer


class Sized(Net):
    """Takes its size and rate as arguments, and a thing that is no plain value."""

    def __init__(self, hidden: int = 3, lr: float = 0.1, criterion: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="criterion")
        self.net[0], self.net[3] = torch.nn.Linear(4, hidden), torch.nn.Linear(hidden, 2)
        self.criterion = criterion

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Sized, str]:
    """A fitted module and the checkpoint of its run."""
    model, path = Sized(5, lr=0.25), str(tmp_path / "a.ckpt")
    run = trainer(max_epochs=1)
    run.fit(model, batches(2))
    run.save_checkpoint(path)
    return model, path


def test_from_a_path(saved: Any):
    model, path = saved
    loaded = Sized.load_from_checkpoint(path)
    assert type(loaded) is Sized
    assert same(model, loaded)
    assert (loaded.hparams.hidden, loaded.hparams["lr"]) == (5, 0.25)
    assert loaded.configure_optimizers().param_groups[0]["lr"] == 0.25
    assert same(model, Sized.load_from_checkpoint(Path(path)))


def test_from_a_file_object(saved: Any):
    model, path = saved
    assert same(model, Sized.load_from_checkpoint(io.BytesIO(Path(path).read_bytes())))
    with open(path, "rb") as file:
        assert same(model, Sized.load_from_checkpoint(checkpoint_path=file))


def test_from_a_url(saved: Any):
    model, path = saved
    assert same(model, Sized.load_from_checkpoint(f"file://{path}"))


@pytest.mark.parametrize("location", ["cpu", torch.device("cpu"), {"cuda:1": "cpu"}, lambda storage, where: storage])
def test_map_location(saved: Any, location: Any):
    model, path = saved
    loaded = Sized.load_from_checkpoint(path, map_location=location)
    assert loaded.device == torch.device("cpu")
    assert same(model, loaded)


def test_weights_only_holds_the_hyperparameters_too(saved: Any, tmp_path: Path):
    model, _ = saved
    model.trainer.save_checkpoint(tmp_path / "w.ckpt", weights_only=True)
    assert same(model, Sized.load_from_checkpoint(tmp_path / "w.ckpt"))


def test_arguments_in_place_of_stored_ones(saved: Any):
    model, path = saved
    loaded = Sized.load_from_checkpoint(path, lr=0.5, criterion=len)
    assert (loaded.hparams.lr, loaded.criterion) == (0.5, len)
    assert same(model, loaded)


def test_another_size_does_not_fit(saved: Any):
    with pytest.raises(
        pl.CheckpointError, match=r"a\.ckpt: is of another module than Sized: of another shape: net\.0\.weight"
    ):
        Sized.load_from_checkpoint(saved[1], hidden=7)


@pytest.mark.parametrize("suffix", ["yaml", "csv"])
def test_hyperparameters_from_a_file(saved: Any, tmp_path: Path, suffix: str):
    """The file's stand in place of the checkpoint's."""
    model, path = saved
    file = tmp_path / f"hparams.{suffix}"
    file.write_text("hidden: 5\nlr: 0.75\n" if suffix == "yaml" else "key,value\nhidden,5\nlr,0.75\n")
    loaded = Sized.load_from_checkpoint(path, hparams_file=file)
    assert (loaded.hparams.hidden, loaded.hparams.lr) == (5, 0.75)
    assert same(model, loaded)


def test_load_from_metrics(saved: Any, tmp_path: Path):
    model, path = saved
    tags = tmp_path / "meta_tags.csv"
    tags.write_text("key,value\nhidden,5\nlr,0.75\n")
    loaded = Sized.load_from_metrics(weights_path=path, tags_csv=str(tags), on_gpu=False, map_location=None)
    assert loaded.hparams.lr == 0.75
    assert same(model, loaded)


class Wider(Sized):
    """With one more part."""

    def __init__(self, hidden: int = 3, lr: float = 0.1) -> None:
        super().__init__(hidden, lr)
        self.more = torch.nn.Linear(2, 2)


def test_strict(saved: Any):
    model, path = saved
    with pytest.raises(pl.CheckpointError, match=r"is of another module than Wider: missing more\.weight, more\.bias"):
        Wider.load_from_checkpoint(path)
    loaded = Wider.load_from_checkpoint(path, strict=False)
    assert torch.equal(loaded.net[0].weight, model.net[0].weight)


def test_an_argument_that_was_not_saved(tmp_path: Path):
    class Needy(Net):
        def __init__(self, size: int) -> None:
            super().__init__()

    run = trainer(max_epochs=1)
    run.fit(Needy(3), batches(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(pl.ConfigurationError, match="__init__ needs size, which the checkpoint does not hold"):
        Needy.load_from_checkpoint(tmp_path / "a.ckpt")
    Needy.load_from_checkpoint(tmp_path / "a.ckpt", size=3)


def test_arguments_of_every_init(tmp_path: Path):
    """**kwargs are kept by name; those that a class does not take are left out when another loads them."""

    class Keywords(Sized):
        def __init__(self, extra: str = "x", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.save_hyperparameters()

    run = trainer(max_epochs=1)
    run.fit(Keywords("y", hidden=4), batches(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Keywords.load_from_checkpoint(tmp_path / "a.ckpt")
    assert (loaded.hparams.extra, loaded.hparams.hidden) == ("y", 4)
    assert Sized.load_from_checkpoint(tmp_path / "a.ckpt").hparams.hidden == 4


def test_a_namespace_as_hyperparameters(tmp_path: Path):
    class Old(Net):
        def __init__(self, hparams: Namespace) -> None:
            super().__init__()
            self.save_hyperparameters(hparams)

    run = trainer(max_epochs=1)
    model = Old(Namespace(learning_rate=0.5, layers=2))
    assert (model.hparams.learning_rate, model.hparams["layers"]) == (0.5, 2)
    run.fit(model, batches(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Old.load_from_checkpoint(tmp_path / "a.ckpt", hparams=Namespace(learning_rate=0.5, layers=2))
    assert loaded.hparams.learning_rate == 0.5
    assert Old.load_from_checkpoint(tmp_path / "a.ckpt").hparams.layers == 2


def test_printed_as_the_documents_print_it():
    class ManuallyArgsModel(pl.LightningModule):
        def __init__(self, arg1: Any, arg2: Any, arg3: Any) -> None:
            super().__init__()
            self.save_hyperparameters("arg1", "arg3")

    assert repr(ManuallyArgsModel(1, "abc", 3.14).hparams) == '"arg1": 1\n"arg3": 3.14'


def test_what_is_no_plain_value_is_left_out_with_a_warning(tmp_path: Path):
    class Holding(Net):
        def __init__(self, lr: float = 0.1, network: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()

    run = trainer(max_epochs=1)
    run.fit(Holding(network=torch.nn.Linear(1, 1)), batches(1))
    with pytest.warns(UserWarning, match=r"network.* not plain values"):
        run.save_checkpoint(tmp_path / "a.ckpt")
    assert Holding.load_from_checkpoint(tmp_path / "a.ckpt", network=1).hparams.network == 1


def test_the_module_adds_to_a_checkpoint(tmp_path: Path):
    class Adding(Net):
        found: Any = None

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = {"a": [1, 2.5, "x"], "t": torch.arange(3)}

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.found = checkpoint["mine"]

    run = trainer(max_epochs=1)
    run.fit(Adding(), batches(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Adding.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.found["a"] == [1, 2.5, "x"]
    assert torch.equal(loaded.found["t"], torch.arange(3))


def test_freeze_and_unfreeze():
    model = Net()
    model.freeze()
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(part.training for part in model.modules())
    assert not model(torch.ones(1, 4)).requires_grad
    model.unfreeze()
    assert all(p.requires_grad for p in model.parameters())
    assert all(part.training for part in model.modules())


def test_a_frozen_part_is_left_as_it_is():
    """Feature extraction: the frozen part is a child module; its parameters do not move, the others do."""

    class Tuned(Net):
        def __init__(self) -> None:
            super().__init__()
            self.features = Net()
            self.features.freeze()

        def forward(self, x: Any) -> Any:
            return self.net(x) + self.features(x)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.net.parameters(), lr=0.1, weight_decay=0.1)

        def on_train_start(self) -> None:
            self.features.eval()

    model = Tuned()
    before, moved = Net(), model.net[0].weight.clone()
    before.load_state_dict(model.features.state_dict())
    trainer(max_epochs=1).fit(model, batches(2))
    assert same(before, model.features)
    assert not torch.equal(moved, model.net[0].weight)
    assert not model.features.training


def test_properties():
    model = Net()
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model.model_size == pytest.approx(4 * (4 * 8 + 8 + 8 * 2 + 2) / 1e6)
    assert (model.global_rank, model.local_rank, model.current_epoch, model.global_step) == (0, 0, 0, 0)
    assert (model.precision, model.use_amp, model.logger, model.loggers) == (32, False, None, [])
    trainer(max_epochs=2, precision="bf16").fit(model, batches(3))
    assert (model.current_epoch, model.global_step, model.precision, model.use_amp) == (2, 6, "bf16", True)
    assert model.trainer.max_epochs == 2
    assert model.trainer.val_check_interval == 1.0
