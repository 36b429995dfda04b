"""Older paths of modules: each is a file of its own that holds what the table says, and nothing else; and without the
room of older names there is a Trainer of the present ones."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import functrain_torch as pl
from functrain_torch.compat.__main__ import MARK, ROOT, file_of, text_of
from functrain_torch.compat.paths import PATHS
from tests.structure.graph import imports_of, project_modules

PROJECT = Path(__file__).parents[2]
FILES = {ROOT / file_of(path) for path in PATHS}
SEAMS = {"functrain_torch", "functrain_torch.callbacks", "functrain_torch.cli", "functrain_torch.loggers"}
"""The modules that let older names in."""


@pytest.mark.parametrize("path", PATHS)
def test_a_path_holds_what_the_table_says(path: str):
    assert (ROOT / file_of(path)).read_text() == text_of(path, PATHS[path]), "run python -m functrain_torch.compat"
    module: Any = import_module(f"functrain_torch.{path}")
    for name, place in PATHS[path].items():
        owner, _, there = place.partition(":")
        assert getattr(module, name) is getattr(import_module(owner), there)


def test_there_is_no_other_file_of_an_older_path():
    written = {file for file in ROOT.rglob("*.py") if f'{MARK}"""' in file.read_text().partition("\n")[0]}
    assert written == FILES


def test_older_packages_are_attributes_too():
    assert pl.utilities.seed.seed_everything is pl.seed_everything
    assert pl.callbacks.early_stopping.EarlyStopping is pl.callbacks.EarlyStopping
    assert pl.loggers.csv_logs.CSVLogger is pl.loggers.CSVLogger
    for owner, name in ((pl, "utils"), (pl.callbacks, "early"), (pl.loggers, "tensor")):
        with pytest.raises(AttributeError, match=rf"module '{owner.__name__}' has no attribute '{name}'"):
            getattr(owner, name)


def test_errors_of_a_set_up_are_caught_by_their_older_name():
    from functrain_torch.utilities.exceptions import MisconfigurationException

    with pytest.raises(MisconfigurationException, match="max_epochs"):
        pl.Trainer(max_epochs="x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def is_older(module: str) -> bool:
    return module.startswith("functrain_torch.compat") or module.removeprefix("functrain_torch.") in PATHS


def test_nobody_else_knows_an_older_name():
    modules = project_modules()
    for name, path in modules.items():
        if not is_older(name) and name not in SEAMS:
            found = [each.target for each in imports_of(name, path, modules) if is_older(each.target)]
            assert not found, f"{name} imports {found}"


SCRIPT = """
import torch
import functrain_torch as pl
from functrain_torch.callbacks import EarlyStopping, ModelCheckpoint
from functrain_torch.loggers import CSVLogger

class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        return loss
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).square().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

data = [torch.ones(2, 4)] * 3
trainer = pl.Trainer(
    max_epochs=2, logger=CSVLogger("logs"), callbacks=[EarlyStopping("val_loss"), ModelCheckpoint(monitor="val_loss")],
    progress_bar_refresh_rate=0, weights_summary=None, log_every_n_steps=1,
)
trainer.fit(Net(), data, data)
assert trainer.global_step == 6
step = pl.functional(Net(), accumulate_grad_batches=2)
step.epoch(step.init(), data)
for older in ("max_nb_epochs", "distributed_backend"):
    try:
        pl.Trainer(**{older: 1})
    except pl.ConfigurationError as error:
        assert "unknown flag" in str(error)
    else:
        raise AssertionError(older)
print("trained", trainer.global_step)
"""


def test_without_the_room_there_is_a_trainer_of_the_present_names(tmp_path: Path):
    """What lets older names in are the lines of the three seams that import the room, or use what they import."""
    package = tmp_path / "functrain_torch"
    shutil.copytree(ROOT, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(package / "compat")
    for path in PATHS:
        (package / file_of(path)).unlink()
    for seam in SEAMS:
        folder = tmp_path.joinpath(*seam.split("."))
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        text = file.read_text().partition("\n\ndef __getattr__")[0]
        for older in ('"LearningRateLogger"', '"LightningLoggerBase"'):
            text = text.replace(f"{older},", "").replace(older, "")
        text = text.replace("functrain_torch.compat.trainer", "functrain_torch.assembly")
        lines = [line for line in text.splitlines() if "functrain_torch.compat" not in line]
        file.write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "trained 6" in done.stdout
