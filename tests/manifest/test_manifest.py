"""Beside its logs a run says what it was started with: once, whole, without changing the run."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

import functrain
from functrain.callbacks import ModelCheckpoint
from functrain.loggers import CSVLogger
from functrain.seed import seed_everything
from tests.manifest.worlds import WORLDS, Items, Torch, X, fit, loader, manifest

BOTH = pytest.mark.parametrize("world", WORLDS)


@BOTH
def test_a_run_says_what_it_was_started_with(world, tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "11")
    monkeypatch.setenv("PL_SEED_WORKERS", "1")
    monkeypatch.setenv("MY_PASSWORD", "hush")
    fit(world, tmp_path, hparams={"lr": 0.5, "layer": Torch}, gradient_clip_val=2.0, max_epochs=2)
    told = manifest(tmp_path)
    assert told["format"] == 1
    assert len(told["run"]) == 32
    assert told["started"].endswith("Z")
    assert told["continues"] is None
    assert told["command"] == sys.argv
    assert (told["seed"], told["seed_workers"]) == (11, True)
    assert told["flags"]["gradient_clip_val"] == 2.0
    assert told["flags"]["max_epochs"] == 2
    assert told["flags"]["logger"] == "functrain.loggers.csv.CSVLogger"
    assert "precision" not in told["flags"], "it has its default"
    assert told["module"] == f"tests.manifest.worlds.{world.title()}"
    assert told["hparams"] == {"layer": "tests.manifest.worlds.Torch", "lr": 0.5}
    assert told["versions"]["functrain"] == functrain.__version__
    assert told["versions"][world] == sys.modules[world].__version__
    assert told["device"] == "cpu"
    assert told["processes"] == 1
    assert set(told["source"]) == {"revision", "clean", "why"}
    assert told["environment"]["PL_GLOBAL_SEED"] == "11"
    assert "hush" not in (tmp_path / "run" / "manifest.json").read_text()


@BOTH
def test_a_fit_that_continues_in_the_same_directory_adds_its_own_manifest(world, tmp_path):
    saves = ModelCheckpoint(dirpath=str(tmp_path / "saved"), save_last=True)
    fit(world, tmp_path, callbacks=[saves], checkpoint_callback=True)
    first = (tmp_path / "run" / "manifest.json").read_bytes()
    fit(world, tmp_path, callbacks=[saves], checkpoint_callback=True, max_epochs=2, continues=saves.last_model_path)
    assert (tmp_path / "run" / "manifest.json").read_bytes() == first
    again = manifest(tmp_path, "manifest-2.json")
    assert again["run"] == manifest(tmp_path)["run"], "it is the same run"
    assert again["continues"] == {"checkpoint": saves.last_model_path, "update": 3}


@BOTH
@pytest.mark.parametrize("flags", [{"logger": False}, {"fast_dev_run": True}], ids=str)
def test_a_run_without_a_directory_writes_none(world, flags, tmp_path):
    fit(world, tmp_path, **flags)
    assert not list(tmp_path.rglob("manifest*"))


@BOTH
def test_a_place_that_cannot_be_written_to_is_told_once_and_the_run_goes_on(world, tmp_path):
    class Nowhere(CSVLogger):
        @property
        def log_dir(self):
            return str(tmp_path / "file" / "run")

        def _ignored(self, *given, **named):
            """Records nothing."""

        log_metrics = log_hyperparams = save = _ignored

    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="goes on without a manifest.*file.run") as told:
        trainer = fit(world, tmp_path, logger=Nowhere(tmp_path))
    assert len([each for each in told if "manifest" in str(each.message)]) == 1
    assert trainer.global_step == 3


def test_long_values_and_what_is_not_finite_stay_readable(tmp_path):
    hparams = {"many": list(range(100_000)), "text": "x" * 5000, "nan": float("nan"), "by": {2: "b", "a": (1, 2)}}
    fit("torch", tmp_path, hparams=hparams)
    told = manifest(tmp_path)["hparams"]
    assert told["nan"] == "nan"
    assert told["by"] == {"2": "b", "a": [1, 2]}
    assert told["many"].startswith("list: 100000 items, digest ")
    assert told["text"].startswith("str: 5002 letters, digest ")
    assert (tmp_path / "run" / "manifest.json").stat().st_size < 10_000
    fit("torch", tmp_path, hparams={**hparams, "many": [1, *range(1, 100_000)]})
    assert manifest(tmp_path, "manifest-2.json")["hparams"]["many"] != told["many"]


def test_whatever_stands_in_a_command_it_is_json(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "\udcff", "\x1b[31m", "ä"])
    fit("torch", tmp_path)
    content = (tmp_path / "run" / "manifest.json").read_bytes()
    assert b"\x1b" not in content
    assert json.loads(content)["command"] == ["train.py", "\udcff", "\x1b[31m", "ä"]


# the data


@BOTH
@pytest.mark.parametrize("changed", [0, 9], ids=["first", "last"])
def test_other_data_have_another_fingerprint_and_another_order_has_not(world, changed, tmp_path):
    other = X.copy()
    other[changed, 3] = np.nextafter(other[changed, 3], np.float32(2))
    fit(world, tmp_path / "a")
    fit(world, tmp_path / "b", loader(world, other))
    fit(world, tmp_path / "c", loader(world, shuffle=True))
    a, b, c = (manifest(tmp_path / name)["data"]["train"][0] for name in "abc")
    assert (a["batches"], a["samples"]) == (3, 10)
    assert a == c
    assert (a["first"] == b["first"], a["last"] == b["last"]) == (changed != 0, changed != 9)


def test_worlds_agree_on_the_fingerprint_of_the_same_batches(tmp_path):
    batches = [(X[:4],), (X[4:8],)]
    fit("torch", tmp_path / "a", [tuple(map(torch.from_numpy, batch)) for batch in batches])
    fit("jax", tmp_path / "b", batches)
    a, b = (manifest(tmp_path / name)["data"]["train"] for name in "ab")
    assert a == b
    assert a[0]["first"] != a[0]["last"]


@BOTH
def test_the_fingerprint_draws_no_random_number_of_the_run(world, tmp_path):
    weights = []
    for logger in (False, CSVLogger(tmp_path, name="", version="run")):
        seed_everything(5)
        batches = DataLoader(Items(), batch_size=4, shuffle=True)
        trainer = fit(world, tmp_path, batches, logger=logger, max_epochs=2)
        weights.append(np.asarray(trainer.module.w.detach() if world == "torch" else trainer.module.params["w"]))
    assert (weights[0] == weights[1]).all()
    assert manifest(tmp_path)["data"]["train"][0]["first"]


@BOTH
def test_what_can_be_drawn_only_once_is_left_alone(world, tmp_path):
    batch = (X[:4],) if world == "jax" else (torch.from_numpy(X[:4]),)
    trainer = fit(world, tmp_path, iter([batch] * 3))
    assert trainer.global_step == 3
    told = manifest(tmp_path)["data"]["train"][0]
    assert (told["batches"], told["first"], told["last"]) == (None, None, None)
    assert "list_iterator" in told["why"]


def test_what_workers_read_is_not_read_in_the_process_that_starts_them(tmp_path):
    items = Items()
    fit("torch", tmp_path, DataLoader(items, batch_size=4, num_workers=1, multiprocessing_context="spawn"))
    assert items.reads == []
    assert manifest(tmp_path)["data"]["train"][0]["samples"] == 10


def test_a_data_set_that_cannot_be_read_by_number_ends_no_run(tmp_path):
    class Picky(Items):
        def __getitem__(self, index):
            if index > 7:
                raise ValueError("there is nothing")
            return super().__getitem__(index)

    trainer = fit("torch", tmp_path, DataLoader(Picky(), batch_size=4), limit_train_batches=2)
    assert trainer.global_step == 2
    assert "ValueError: there is nothing" in manifest(tmp_path)["data"]["train"][0]["why"]


def test_a_data_set_has_the_same_fingerprint_whatever_draws_from_it(tmp_path):
    kinds = {
        "plain": {},
        "weighted": {"sampler": WeightedRandomSampler([1.0] * 10, 10)},
        "own generator": {"shuffle": True, "generator": torch.Generator().manual_seed(1)},
    }
    told = []
    for name, options in kinds.items():
        fit("torch", tmp_path / name, loader("torch", **options))
        told.append(manifest(tmp_path / name)["data"]["train"][0])
    assert told[0] == told[1] == told[2]
    assert told[0]["first"]


def test_a_last_batch_that_is_left_out_is_not_the_last(tmp_path):
    fit("torch", tmp_path / "a", loader("torch", drop_last=True))
    fit("torch", tmp_path / "b", loader("torch", X[:8]))
    a, b = (manifest(tmp_path / name)["data"]["train"][0] for name in "ab")
    assert (a["first"], a["last"]) == (b["first"], b["last"])


def test_validation_data_have_fingerprints_too(tmp_path):
    class Validates(Torch):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", batch[0].mean())

    import functrain_torch as pl

    logger = CSVLogger(tmp_path, name="", version="run")
    flags = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None, "max_epochs": 1}
    pl.Trainer(logger=logger, **flags).fit(Validates(), loader("torch"), [loader("torch"), loader("torch", X[:4])])
    assert [each["samples"] for each in manifest(tmp_path)["data"]["validation"]] == [10, 4]
