"""load_from_checkpoint over checkpoints of the other library, and of hyperparameters of every kind."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch
from functrain.trainer.errors import CheckpointError, ConfigurationError
from tests.lightning.bodies import BASES, Body, Told, kind, loader, model, trainer

quiet = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*num_workers:UserWarning")


def saved(who: str, module: Any, path: Path, **flags: Any) -> Any:
    run = trainer(who, max_epochs=1, limit_train_batches=2, num_sanity_val_steps=0, **flags)
    run.fit(
        module, loader(), loader() if hasattr(kind("ours"), "validation_step") and isinstance(module, Body) else None
    )
    run.save_checkpoint(path)
    return module


def same(one: Any, other: Any) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@quiet
@pytest.mark.parametrize("weights_only", [None, True, False])
@pytest.mark.parametrize(("first", "then"), [("theirs", "ours"), ("ours", "theirs")])
def test_of_the_other_library(first: str, then: str, weights_only: bool | None, tmp_path: Path):
    module = saved(first, model(first, lr=0.25, width=5), tmp_path / "a.ckpt")
    loaded = kind(then).load_from_checkpoint(tmp_path / "a.ckpt", weights_only=weights_only)
    assert same(module, loaded)
    assert dict(loaded.hparams) == {"lr": 0.25, "width": 5}
    assert kind(then).load_from_checkpoint(tmp_path / "a.ckpt", lr=1.0).hparams.lr == 1.0


def of_keywords(who: str) -> Any:
    class Model(kind(who)):
        def __init__(self, lr: float = 0.1, **kwargs: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    return Model


@quiet
@pytest.mark.parametrize(("first", "then"), [("theirs", "ours"), ("ours", "theirs"), ("ours", "ours")])
def test_keywords(first: str, then: str, tmp_path: Path):
    saved(first, of_keywords(first)(lr=0.25, extra=3), tmp_path / "a.ckpt")
    loaded = of_keywords(then).load_from_checkpoint(tmp_path / "a.ckpt")
    assert (loaded.hparams["lr"], loaded.hparams["extra"]) == (0.25, 3)
    assert "kwargs" not in loaded.hparams


def of_one_object(who: str) -> Any:
    class Model(kind(who)):
        def __init__(self, hparams: Any) -> None:
            super().__init__(width=hparams.width)
            self.save_hyperparameters(hparams)

    return Model


@quiet
@pytest.mark.parametrize(("first", "then"), [("theirs", "ours"), ("ours", "theirs"), ("ours", "ours")])
def test_all_in_one_object(first: str, then: str, tmp_path: Path):
    module = saved(first, of_one_object(first)(Namespace(width=5, lr=0.5)), tmp_path / "a.ckpt")
    loaded = of_one_object(then).load_from_checkpoint(tmp_path / "a.ckpt")
    assert same(module, loaded)
    assert loaded.hparams.lr == 0.5


class Colour(Enum):
    RED = "red"


@dataclass
class Layer:
    width: int = 3
    colour: Colour = Colour.RED


@dataclass
class Config:
    layer: Layer = field(default_factory=Layer)
    data: Path = Path("x")


class OfObjects(functrain_torch.LightningModule):
    """Is given objects of every kind that has plain values."""

    def __init__(
        self, args: Any, cfg: Config, plain: Any = None, colour: Colour = Colour.RED, data: Path | None = None
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(args.model.width, cfg.layer.width)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_objects_are_what_they_were(tmp_path: Path):
    given: dict[str, Any] = {
        "args": Namespace(model=Namespace(width=3), rates=[0.1, {"a": 1}]),
        "cfg": Config(Layer(2), Path("there")),
        "plain": {"a": {"b": 1}, "c": [Namespace(d=1)]},
        "colour": Colour.RED,
        "data": Path("here"),
    }
    module = saved("ours", OfObjects(**given), tmp_path / "a.ckpt")
    loaded = OfObjects.load_from_checkpoint(tmp_path / "a.ckpt")
    assert same(module, loaded)
    assert dict(loaded.hparams) == given
    assert {name: type(value) for name, value in loaded.hparams.items()} == {n: type(v) for n, v in given.items()}


def test_a_local_class_whose_annotations_nobody_finds(tmp_path: Path):
    @dataclass
    class Inner:
        width: int = 4

    class Local(functrain_torch.LightningModule):
        def __init__(self, cfg: Inner) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Linear(3, cfg.width)

        training_step, configure_optimizers = OfObjects.training_step, OfObjects.configure_optimizers

    module = saved("ours", Local(Inner(2)), tmp_path / "a.ckpt")
    loaded = Local.load_from_checkpoint(tmp_path / "a.ckpt")
    assert same(module, loaded)
    assert loaded.hparams.cfg.width == 2


# objects in a file


@quiet
def test_objects_of_plain_values_are_read(tmp_path: Path):
    import numpy as np
    from pytorch_lightning.utilities.parsing import AttributeDict

    module = saved("theirs", model("theirs", width=5), tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["hyper_parameters"] = AttributeDict(lr=np.float64(0.5), width=np.int32(5))
    torch.save(content, tmp_path / "b.ckpt")
    loaded = kind("ours").load_from_checkpoint(tmp_path / "b.ckpt")
    assert same(module, loaded)
    assert dict(loaded.hparams) == {"lr": 0.5, "width": 5}
    assert type(loaded.hparams.lr) is float


@quiet
def test_other_objects_are_left_out_and_named(tmp_path: Path):
    saved("theirs", model("theirs"), tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["hyper_parameters"] |= {"act": torch.nn.ReLU, "net": torch.nn.Linear(1, 1), "colour": Colour.RED}
    content["mine"] = torch.nn.Linear(1, 1)
    torch.save(content, tmp_path / "b.ckpt")
    with pytest.warns(UserWarning, match="objects that are not read") as told:
        loaded = kind("ours").load_from_checkpoint(tmp_path / "b.ckpt")
    assert len(told) == 1
    for name in ("hyper_parameters['act'] (torch.nn.modules.activation.ReLU)", "['net']", "['colour']", "mine (torch"):
        assert name in str(told[0].message)
    assert dict(loaded.hparams) == {"lr": 0.1, "width": 4}
    with pytest.warns(UserWarning, match="objects that are not read"):
        trainer("ours").fit(loaded, Told(), ckpt_path=tmp_path / "b.ckpt")


def touch(path: str) -> None:
    Path(path).touch()


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return touch, (str(self.marker),)


@quiet
@pytest.mark.parametrize("place", ["hyper_parameters", "callbacks", "state_dict", "optimizer_states", "loops", "else"])
def test_nothing_runs(place: str, tmp_path: Path, recwarn: Any):
    marker = tmp_path / "ran"
    saved("theirs", model("theirs"), tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    evil = Payload(marker)
    content[place] = {**content[place], "x": evil} if isinstance(content.get(place), dict) else [evil]
    torch.save(content, tmp_path / "evil.ckpt")
    loads = [
        lambda: kind("ours").load_from_checkpoint(tmp_path / "evil.ckpt"),
        lambda: trainer("ours").fit(model("ours"), Told(), ckpt_path=tmp_path / "evil.ckpt"),
    ]
    for load in loads:
        if place in ("state_dict", "optimizer_states", "loops"):
            with pytest.raises(CheckpointError, match=rf"{place}.*objects are not read|evil.*{place}"):
                load()
        else:
            load()
    assert not marker.exists()


def test_a_module_of_the_system_is_refused(tmp_path: Path):
    class System:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    torch.save({"pytorch-lightning_version": "2.0.0", "state_dict": {}, "x": System()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"evil\.ckpt: holds objects that could run code"):
        kind("ours").load_from_checkpoint(tmp_path / "evil.ckpt")


# data modules


def data(who: str) -> Any:
    import pytorch_lightning

    base: Any = {"theirs": pytorch_lightning.LightningDataModule, "ours": functrain_torch.LightningDataModule}[who]

    class Data(base):
        def __init__(self, size: int = 2, name: str = "") -> None:
            super().__init__()
            self.save_hyperparameters()
            self.count = 0

        def train_dataloader(self) -> Any:
            return loader()

        def val_dataloader(self) -> Any:
            return loader()

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.count = state_dict["count"]

    return Data


@quiet
@pytest.mark.filterwarnings("ignore:the checkpoint has states")
@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("then", ["theirs", "ours"])
def test_a_data_module(first: str, then: str, tmp_path: Path):
    module = data(first)(5, name="x")
    module.count = 7
    run = trainer(first, max_epochs=1, limit_val_batches=0, num_sanity_val_steps=0)
    run.fit(model(first), datamodule=module)
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = data(then).load_from_checkpoint(tmp_path / "a.ckpt", name="y")
    assert (loaded.hparams.size, loaded.hparams["name"], loaded.count) == (5, "y", 7)
    again = data(then)()
    trainer(then, max_epochs=1, limit_val_batches=0).fit(model(then), datamodule=again, ckpt_path=tmp_path / "a.ckpt")
    assert again.count == 7


def test_a_data_module_and_a_file_of_hyperparameters(tmp_path: Path):
    run = trainer("ours", max_epochs=1, limit_val_batches=0)
    run.fit(model("ours"), datamodule=data("ours")(5))
    run.save_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "h.yaml").write_text("size: 9\n")
    assert data("ours").load_from_checkpoint(tmp_path / "a.ckpt", hparams_file=tmp_path / "h.yaml").hparams.size == 9
    with pytest.raises(ConfigurationError, match=r"Data\.load_from_checkpoint\(sise=1\).*Did you mean 'size'"):
        data("ours").load_from_checkpoint(tmp_path / "a.ckpt", sise=1)


# other forms


def test_strict_loading_of_the_module(tmp_path: Path):
    class Wider(kind("ours")):
        strict_loading = False

        def __init__(self, lr: float = 0.1, width: int = 4) -> None:
            super().__init__(lr, width)
            self.more = torch.nn.Linear(1, 1)

    module = saved("ours", model("ours"), tmp_path / "a.ckpt")
    assert torch.equal(Wider.load_from_checkpoint(tmp_path / "a.ckpt").first.weight, module.first.weight)
    with pytest.raises(CheckpointError, match="missing more"):
        Wider.load_from_checkpoint(tmp_path / "a.ckpt", strict=True)


def test_a_module_that_is_made_late(tmp_path: Path):
    class Late(BASES["ours"]):
        def __init__(self) -> None:
            super().__init__()
            self.net = None

        def configure_model(self) -> None:
            self.net = self.net or torch.nn.Linear(3, 1)

        training_step, configure_optimizers = OfObjects.training_step, OfObjects.configure_optimizers

    module = Late()
    module.configure_model()
    saved("ours", module, tmp_path / "a.ckpt")
    assert same(module, Late.load_from_checkpoint(tmp_path / "a.ckpt"))


@pytest.fixture
def in_memory() -> Iterator[str]:
    import fsspec

    fsspec.filesystem("memory").store.clear()
    yield "memory://runs/a.ckpt"
    fsspec.filesystem("memory").store.clear()


@quiet
def test_a_url_of_the_other_library(in_memory: str):
    import fsspec

    module = saved("theirs", model("theirs", width=5), Path("a.ckpt"))
    with fsspec.open(in_memory, "wb") as file:
        file.write(Path("a.ckpt").read_bytes())  # type: ignore[attr-defined]
    assert same(module, kind("ours").load_from_checkpoint(in_memory))
    run = trainer("ours", max_epochs=2)
    run.fit(model("ours", width=5), Told(), ckpt_path=in_memory)
    assert run.current_epoch == 2


def test_what_their_command_line_adds_is_dropped(tmp_path: Path):
    class Keywords(kind("ours")):
        def __init__(self, lr: float = 0.1, **more: Any) -> None:
            super().__init__(lr)
            self.more = more

    content = {"_instantiator": "pytorch_lightning.cli.instantiate_module", "_class_path": "x.Y", "lr": 0.5}
    weights = kind("ours")().state_dict()
    torch.save({"pytorch-lightning_version": "2.6.0", "state_dict": weights, "hyper_parameters": content}, "a.ckpt")
    loaded = Keywords.load_from_checkpoint("a.ckpt")
    assert (loaded.more, loaded.hparams.lr) == ({}, 0.5)


@pytest.mark.parametrize("key", ["hparams", "module_arguments"])
def test_what_hyperparameters_were_called_before(key: str, tmp_path: Path):
    weights = kind("ours")(width=5).state_dict()
    torch.save({"pytorch-lightning_version": "0.7.6", "state_dict": weights, key: {"width": 5}}, "a.ckpt")
    assert kind("ours").load_from_checkpoint("a.ckpt").hparams.width == 5
