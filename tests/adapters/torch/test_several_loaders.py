"""Several loaders in training and in evaluation: the batches of pytorch_lightning's fit, step by step."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import pytorch_lightning as theirs
import torch
from pytorch_lightning.utilities import CombinedLoader as Theirs
from torch.utils.data import DataLoader, IterableDataset

import functrain_torch as pl
from functrain.trainer.walk import MODES

# Theirs asks torch's trees in a way that torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def seeing(base: Any, **methods: Any) -> Any:
    """A module of either library, which notes what its steps get."""

    def init(self: Any) -> None:
        base.__init__(self)
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Any] = []

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        self.seen.append((self.current_epoch, batch_idx, plain(batch)))
        return self.w * 1.0

    def validation_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append(("val", dataloader_idx, batch_idx, plain(batch)))

    def test_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen.append(("test", dataloader_idx, batch_idx, plain(batch)))

    def predict_step(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return plain(batch)

    def configure_optimizers(self: Any) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    own = (init, training_step, validation_step, test_step, predict_step, configure_optimizers)
    named = {method.__name__.replace("init", "__init__"): method for method in own}
    return type("Seeing", (base,), {**named, **methods})()


def plain(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.tolist()
    if isinstance(tree, dict):
        return {key: plain(item) for key, item in tree.items()}
    return [plain(item) for item in tree] if isinstance(tree, list | tuple) else tree


class Stream(IterableDataset[Any]):
    def __init__(self, first: int, end: int) -> None:
        self.numbers = range(first, end)

    def __iter__(self) -> Any:
        return iter(self.numbers)


def loaders() -> dict[str, Any]:
    return {"a": DataLoader(range(7), 2, shuffle=True), "b": DataLoader(range(10, 22), 2, shuffle=True)}


def fitted(of_theirs: bool, given: Any, flags: dict[str, Any], val: Any = None, **methods: Any) -> list[Any]:
    module = seeing((theirs if of_theirs else pl).LightningModule, **methods)
    pl.seed_everything(3)
    with warnings.catch_warnings():
        if of_theirs:
            warnings.simplefilter("ignore")
        made = (theirs if of_theirs else pl).Trainer(max_epochs=2, num_sanity_val_steps=0, **QUIET, **flags)
        made.fit(module, given, val)
    return module.seen


FORMS = {
    "dict": loaders,
    "list": lambda: list(loaders().values()),
    "one": lambda: [DataLoader(range(5), 2, shuffle=True)],
    "nested": lambda: {"x": loaders(), "y": [DataLoader(range(30, 33))]},
    "lists of batches": lambda: {"a": [torch.ones(2), torch.zeros(2)], "b": [torch.ones(3)] * 5},
    "unsized": lambda: {"a": DataLoader(Stream(0, 7), 2), "b": DataLoader(range(10, 20), 2)},
    "unsized, all": lambda: [DataLoader(Stream(0, 4), 2), DataLoader(Stream(10, 17), 2)],
}


PLACES = [(form, limit) for form in FORMS for limit in (1.0, 3, 1, 0.5) if limit != 0.5 or "unsized" not in form]


@pytest.mark.parametrize(("form", "limit"), PLACES)
def test_training_sees_the_batches_that_theirs_sees(form: str, limit: Any) -> None:
    # Theirs takes a list of tensors for loaders.
    given = FORMS[form]() if form != "lists of batches" else {k: DataLoader(v, None) for k, v in FORMS[form]().items()}
    assert fitted(False, FORMS[form](), {"limit_train_batches": limit}) == fitted(
        True, given, {"limit_train_batches": limit}
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["dict", "nested", "unsized", "unsized, all"])
@pytest.mark.parametrize("limit", [1.0, 3])
def test_the_modes_of_a_combined_loader(mode: str, form: str, limit: Any) -> None:
    flags = {"limit_train_batches": limit}
    ours = fitted(False, pl.CombinedLoader(FORMS[form](), mode), flags)
    assert ours == fitted(False, FORMS[form](), {**flags, "multiple_trainloader_mode": mode})
    if mode == "sequential":  # which theirs refuses in a fit
        pl.seed_everything(3)
        loader = Theirs(FORMS[form](), mode)
        loader.limits = 3 if limit == 3 else None
        assert [plain(batch) for batch, *_ in loader] == [batch for epoch, _, batch in ours if not epoch]
    else:
        assert ours == fitted(True, Theirs(FORMS[form](), mode), flags)


@pytest.mark.parametrize("of_module", [True, False])
def test_from_methods_of_module_and_data_module(of_module: bool) -> None:
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loaders()

        def val_dataloader(self) -> Any:
            return pl.CombinedLoader({"x": DataLoader(range(3)), "y": DataLoader(range(2))}, "sequential")

    module = seeing(pl.LightningModule, **({"train_dataloader": lambda self: loaders()} if of_module else {}))
    trainer = pl.Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET)
    trainer.fit(module, datamodule=None if of_module else Data())
    assert len(module.seen) == 6 + (0 if of_module else 5)
    assert set(trainer.train_dataloader) == {"a", "b"}
    assert trainer.num_training_batches == 6
    assert module.seen[0][2].keys() == {"a", "b"}


def test_a_data_module_of_several_data_sets() -> None:
    data = pl.LightningDataModule.from_datasets({"a": range(6), "b": range(10, 14)}, val_dataset={"x": range(2)})
    module, trainer = seeing(pl.LightningModule), pl.Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET)
    pl.seed_everything(1)
    trainer.fit(module, datamodule=data)
    seen = [batch for epoch, _, batch in module.seen[:6]]
    assert sorted(batch["a"][0] for batch in seen) == list(range(6)) != [batch["a"][0] for batch in seen]
    assert [where for where, *_ in module.seen[6:]] == ["val"] * 2


VAL = {
    "dict": lambda of: {"x": DataLoader(range(3)), "y": DataLoader(range(10, 12))},
    "nested": lambda of: [{"x": DataLoader(range(3))}, [DataLoader(range(10, 12)), DataLoader(range(20, 22))]],
    "sequential": lambda of: of([DataLoader(range(3)), DataLoader(range(10, 12))], "sequential"),
    "min_size": lambda of: of({"x": DataLoader(range(3)), "y": DataLoader(range(10, 12))}, "min_size"),
    "max_size_cycle": lambda of: of({"x": DataLoader(range(3)), "y": DataLoader(range(10, 12))}, "max_size_cycle"),
    "max_size": lambda of: of({"x": DataLoader(range(3)), "y": DataLoader(range(10, 12))}, "max_size"),
}


@pytest.mark.parametrize("form", VAL)
@pytest.mark.parametrize("limit", [1.0, 2])
def test_validation_sees_the_batches_that_theirs_sees(form: str, limit: Any) -> None:
    flags = {"limit_val_batches": limit}
    ours, other = (
        fitted(of, DataLoader(range(2)), flags, VAL[form](Theirs if of else pl.CombinedLoader)) for of in (False, True)
    )
    assert ours == other


@pytest.mark.parametrize("form", ["dict", "sequential"])
def test_test_and_predict_take_them_too(form: str) -> None:
    module, trainer = seeing(pl.LightningModule), pl.Trainer(**QUIET)
    assert len(trainer.test(module, VAL[form](pl.CombinedLoader), verbose=False)) == 2
    assert [where for _, where, *_ in module.seen] == [0, 0, 0, 1, 1]
    assert trainer.predict(module, VAL[form](pl.CombinedLoader)) == [[[0], [1], [2]], [[10], [11]]]


def test_an_endless_loader_beside_a_finite_one() -> None:
    class Endless:
        def __iter__(self) -> Any:
            while True:
                yield torch.zeros(1)

    given = {"a": DataLoader(range(3)), "b": Endless()}
    assert len(fitted(False, given, {"limit_train_batches": 5})) == 10
    assert len(fitted(False, given, {"multiple_trainloader_mode": "min_size"})) == 6


def test_overfitting_takes_every_loader_in_a_fixed_order() -> None:
    with pytest.warns(UserWarning, match=r"train_dataloader\['[ab]'\] shuffles or samples") as caught:
        seen = fitted(False, loaders(), {"overfit_batches": 2})
    assert len(caught) == 2
    first = [{"a": [0, 1], "b": [10, 11]}, {"a": [2, 3], "b": [12, 13]}]
    assert [batch for *_, batch in seen] == first * 4  # of training and of validation, in two epochs


def test_what_is_wrong_is_named_by_its_place() -> None:
    trainer, module = pl.Trainer(max_epochs=1, **QUIET), seeing(pl.LightningModule)
    for given, says in (
        ({"a": DataLoader(range(3)), "b": None}, r"train_dataloader\['b'\]: a NoneType .*cannot be iterated"),
        ({"a": DataLoader(range(3)), "b": [DataLoader(range(3)), []]}, r"train_dataloader\['b'\]\[1\]: the loader has"),
        ({"a": torch.ones(3)}, "a dict is no loader of batches; give a DataLoader, a list of batches, or a dict of"),
        ([DataLoader(range(3)), torch.ones(3)], "a list with batches beside loaders"),
    ):
        with pytest.raises(pl.ConfigurationError, match=says):
            trainer.fit(module, given)
    with pytest.raises(pl.ConfigurationError, match=r"multiple_trainloader_mode='longest'\): must be one of 'min_"):
        pl.Trainer(multiple_trainloader_mode="longest")
    limited = pl.CombinedLoader(loaders())
    limited.limits = 2
    with pytest.warns(UserWarning, match=r"CombinedLoader.limits=\[2, 2\] are for iterating by hand"):
        trainer.fit(module, limited)


def test_a_step_by_hand_takes_one() -> None:
    step = pl.functional(seeing(pl.LightningModule))
    _, report = step.epoch(step.init(), pl.CombinedLoader(loaders(), "min_size"))
    assert len(report.steps) == 4
    with pytest.raises(pl.ConfigurationError, match=r"its mode is 'sequential'.*evaluate each by itself"):
        step.evaluate(step.init(), pl.CombinedLoader(loaders(), "sequential"))
