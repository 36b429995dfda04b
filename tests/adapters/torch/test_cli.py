"""LightningCLI: what a command line makes and runs, and what is kept of it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.data import DataLoader

import functrain_torch as pl
from functrain import Callback
from functrain.loggers import CSVLogger
from functrain_torch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback, instantiate_class
from tests.structure.graph import ROOT


class Model(pl.LightningModule):
    def __init__(self, lr: float = 0.1, width: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(3, width)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", loss := self.layer(batch).square().mean())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).square().mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.layer(batch).square().mean())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Unoptimized(pl.LightningModule):
    """Without an optimizer of its own."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.layer = torch.nn.Linear(3, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).square().mean()


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 4, samples: int = 16) -> None:
        super().__init__()
        self.batch_size, self.samples = batch_size, samples

    def train_dataloader(self) -> Any:
        return DataLoader(torch.randn(self.samples, 3), self.batch_size)  # pyright: ignore[reportArgumentType]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


QUIET = [
    "--trainer.logger=false", "--trainer.checkpoint_callback=false", "--trainer.progress_bar_refresh_rate=0",
    "--trainer.weights_summary=null", "--trainer.max_epochs=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def seeds_stay_here(monkeypatch: pytest.MonkeyPatch):
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTHONHASHSEED"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


def cli(*args: str, model: Any = Model, data: Any = Data, kind: Any = LightningCLI, **kwargs: Any) -> Any:
    return kind(model, data, args=[*args, *(QUIET if args and not args[0].startswith("-") else [])], **kwargs)


# ---- what is made and run


def test_fit_with_arguments_of_all_three():
    made = cli("fit", "--trainer.max_steps=3", "--model.lr=0.5", "--data.batch_size", "8", "--seed_everything=7")
    assert made.subcommand == "fit"
    assert made.trainer.max_steps == made.trainer.global_step + 1 == 3
    assert made.model.hparams == {"lr": 0.5, "width": 2}
    assert made.datamodule.batch_size == 8
    assert made.config.fit.seed_everything == 7


def test_it_is_what_the_same_lines_in_python_are():
    made = cli("fit", "--model.lr=0.5", "--seed_everything=7")
    pl.seed_everything(7, workers=True)
    data, model = Data(), Model(lr=0.5)
    quiet: Any = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0}
    pl.Trainer(max_epochs=1, weights_summary=None, **quiet).fit(model, datamodule=data)
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_the_other_subcommands(name: str, capsys):
    made = cli(name, *(["--verbose=false"] if name != "predict" else []))
    assert made.trainer.stage == name
    assert made.trainer.global_step == 0
    if name != "predict":
        assert list(made.trainer.callback_metrics) == [{"validate": "val_loss", "test": "test_loss"}[name]]
        assert capsys.readouterr().out == ""


def test_tune():
    tune = ["--trainer.auto_lr_find=lr", '--lr_find_kwargs={"num_training": 30, "max_lr": 0.5}']
    made = cli("tune", *tune, "--seed_everything=1")
    assert made.model.hparams.lr != 0.1
    assert made.trainer.global_step == 0


def test_without_subcommands_it_only_makes():
    made = cli("--model.width=5", "--trainer.max_epochs=4", run=False, save_config_callback=None)
    assert made.subcommand is None
    assert made.model.layer.out_features == 5
    assert made.trainer.max_epochs == 4
    assert made.trainer.run is None


def test_values_as_a_dict_stand_for_a_command_line():
    made = LightningCLI(Model, args={"model": {"lr": 0.25}, "trainer": {"logger": False}}, run=False)
    assert made.model.hparams.lr == 0.25
    assert made.datamodule is None


def test_a_checkpoint_to_go_on_from():
    first = cli("fit", "--trainer.max_epochs=1", "--trainer.default_root_dir=first")
    first.trainer.save_checkpoint("here.ckpt")
    again = cli("fit", "--ckpt_path=here.ckpt", "--trainer.max_epochs=1", "--trainer.max_steps=4")
    assert again.trainer.global_step == 4
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    tested = cli("test", "--ckpt_path=here.ckpt", "--trainer.default_root_dir=third")
    assert torch.equal(tested.model.layer.weight, first.model.layer.weight)


# ---- classes by name


def test_any_subclass_of_a_model():
    made = LightningCLI(
        Model, subclass_mode_model=True, run=False, save_config_callback=None,
        args=[f"--model={__name__}.Other", "--model.depth=3", "--model.lr=0.3"],
    )  # fmt: skip
    assert type(made.model) is Other
    assert (made.model.depth, made.model.hparams.lr) == (3, 0.3)


class Other(Model):
    def __init__(self, depth: int, lr: float = 0.1) -> None:
        super().__init__(lr)
        self.depth = depth


def test_without_classes_any_can_be_named():
    args = [f"--model={__name__}.Model", "--model.width=3", f"--data={__name__}.Data", "--data.samples=9"]
    made = LightningCLI(run=False, save_config_callback=None, args=args)
    assert made.model.layer.out_features == 3
    assert made.datamodule.samples == 9


def test_flags_of_classes():
    made = cli(
        "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs", "--trainer.callbacks=EarlyStopping",
        "--trainer.callbacks.monitor=val_loss", "--trainer.accumulate_grad_batches={0: 2, 3: 4}",
        "--trainer.max_time=00:01:00:00", "--trainer.enable_checkpointing=false", "--trainer.limit_val_batches=0.5",
        run=False,
    )  # fmt: skip
    trainer = made.trainer
    assert isinstance(trainer.logger, CSVLogger)
    assert trainer.early_stopping_callback.monitor == "val_loss"
    assert trainer.accumulate_grad_batches == {0: 2, 3: 4}
    assert trainer.max_time == "00:01:00:00"
    assert trainer.checkpoint_callback is None
    assert trainer.limit_val_batches == 0.5


def test_defaults_of_the_program_and_further_flags():
    class Mine(Callback):
        pass

    class Makes(LightningCLI):
        def instantiate_trainer(self, **kwargs: Any) -> Any:
            return super().instantiate_trainer(max_epochs=9, **kwargs)

    mine = Mine()
    made = Makes(
        Model, trainer_defaults={"max_steps": 5, "logger": False, "callbacks": mine}, run=False,
        args=["--trainer.min_steps=2"], save_config_callback=None,
    )  # fmt: skip
    trainer = made.trainer
    assert (trainer.max_steps, trainer.min_steps, trainer.max_epochs, trainer.logger) == (5, 2, 9, None)
    assert mine in trainer.callbacks


def test_objects_for_defaults_give_way_to_what_is_said():
    logger, args = CSVLogger("mine"), ["--trainer.weights_summary=null"]
    defaults = {"logger": logger, "max_epochs": 3}
    made = LightningCLI(Model, trainer_defaults=defaults, run=False, args=args, save_config_callback=None)
    assert made.trainer.logger is logger
    assert made.trainer.max_epochs == 3
    args = [*args, "--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=theirs"]
    made = LightningCLI(Model, trainer_defaults=defaults, run=False, args=args, save_config_callback=None)
    assert isinstance(made.trainer.logger, pl.loggers.TensorBoardLogger)


# ---- what is kept


def test_the_configuration_is_kept_beside_the_logs_and_repeats_the_run():
    args = ["--trainer.max_epochs=1", "--model.lr=0.5", "--seed_everything=11", *QUIET[1:4]]
    first = LightningCLI(Model, Data, args=["fit", *args, "--trainer.log_every_n_steps=1"])
    path = os.path.join(first.trainer.log_dir, "config.yaml")
    with open(path) as file:
        kept = yaml.safe_load(file)
    assert kept["model"] == {"lr": 0.5, "width": 2}
    assert kept["data"] == {"batch_size": 4, "samples": 16}
    assert kept["seed_everything"] == 11
    assert kept["trainer"]["max_epochs"] == 1
    again = LightningCLI(Model, Data, args=["fit", "--config", path])
    assert again.trainer.log_dir != first.trainer.log_dir
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    # What stands behind the file wins.
    other = LightningCLI(Model, Data, args=["fit", "--config", path, "--model.lr=0.25"])
    assert other.model.hparams.lr == 0.25


def test_a_seed_that_was_drawn_is_kept(caplog):
    made = cli("fit", "--trainer.default_root_dir=one")
    with open("one/config.yaml") as file:
        seed = yaml.safe_load(file)["seed_everything"]
    assert type(seed) is int
    again = cli("fit", f"--seed_everything={seed}", "--trainer.default_root_dir=two")
    assert torch.equal(made.model.layer.weight, again.model.layer.weight)


def test_without_a_seed_nothing_is_seeded():
    torch.manual_seed(5)
    first = cli("--seed_everything=null", run=False, save_config_callback=None).model.layer.weight
    torch.manual_seed(5)
    again = cli(run=False, save_config_callback=None, seed_everything_default=False).model.layer.weight
    assert torch.equal(first, again)


def test_a_file_of_an_earlier_run_is_not_replaced():
    cli("fit", "--model.lr=0.5")
    with pytest.raises(pl.ConfigurationError, match=r"config.yaml is there already.*save_config_overwrite=True"):
        cli("fit")
    cli("fit", "--model.lr=0.25", save_config_overwrite=True)
    assert yaml.safe_load(Path("config.yaml").read_text())["model"]["lr"] == 0.25
    cli("fit", save_config_filename="other.yaml")
    cli("fit", save_config_callback=None)
    cli("fit", "--trainer.fast_dev_run=true")
    cli("fit", save_config_kwargs={"config_filename": "third.yaml"})
    assert {"config.yaml", "other.yaml", "third.yaml"} <= set(os.listdir())


def test_a_callback_of_ones_own_keeps_it_elsewhere():
    kept = []

    class Keeps(SaveConfigCallback):
        def save_config(self, trainer: Any, pl_module: Any, stage: str) -> None:
            kept.append((stage, yaml.safe_load(self.parser.dump(self.config))["model"]["lr"]))

    made = cli("fit", "--model.lr=0.5", save_config_callback=Keeps, save_config_kwargs={"save_to_log_dir": False})
    made.trainer.validate(made.model, made.datamodule)
    assert kept == [("fit", 0.5)]
    assert "config.yaml" not in os.listdir()


# ---- optimizers


def test_an_optimizer_and_a_scheduler_of_the_command_line():
    made = cli("fit", "--optimizer=Adam", "--optimizer.lr=0.03", "--lr_scheduler=StepLR", "--lr_scheduler.step_size=1",
               model=Unoptimized)  # fmt: skip
    configured = made.model.configure_optimizers()
    (optimizer,), (scheduler,) = configured
    trained = made.model.optimizers(use_pl_optimizer=False)
    assert (type(trained), trained.param_groups[0]["initial_lr"]) == (torch.optim.Adam, 0.03)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 0.03
    assert scheduler.step_size == 1
    assert made.trainer.global_step == 4
    # Made anew each time, and a copy of the module has its own.
    assert made.model.configure_optimizers()[0][0] is not optimizer
    other = copy.deepcopy(made.model)
    moved = other.configure_optimizers()[0][0].param_groups[0]["params"]
    assert {id(p) for p in moved} == {id(p) for p in other.parameters()}


def test_a_scheduler_that_watches_a_metric():
    class Fixed(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_optimizer_args(torch.optim.SGD)
            parser.add_lr_scheduler_args(pl.cli.ReduceLROnPlateau)

    made = cli("--optimizer.lr=0.2", "--lr_scheduler.monitor=val_loss", "--lr_scheduler.patience=3",
               model=Unoptimized, kind=Fixed, run=False, save_config_callback=None)  # fmt: skip
    configured = made.model.configure_optimizers()
    assert configured["optimizer"].param_groups[0]["lr"] == 0.2
    assert configured["lr_scheduler"]["monitor"] == "val_loss"
    assert configured["lr_scheduler"]["scheduler"].patience == 3


def test_it_takes_the_place_of_the_modules_own_with_a_warning():
    with pytest.warns(UserWarning, match=r"takes the place of Model.configure_optimizers"):
        made = cli("--optimizer=Adam", "--optimizer.lr=0.5", run=False, save_config_callback=None)
    assert type(made.model.configure_optimizers()) is torch.optim.Adam


class Several(pl.LightningModule):
    def __init__(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 1) for _ in range(2))
        self.inits = (first, second)

    def configure_optimizers(self) -> Any:
        pairs = zip(self.layers, self.inits, strict=True)
        return [instantiate_class(layer.parameters(), init) for layer, init in pairs]


def test_several_optimizers_are_linked():
    class Links(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_optimizer_args(nested_key="one", link_to="model.first")
            parser.add_optimizer_args(torch.optim.Adam, nested_key="two", link_to="model.second")

    made = cli("--one=SGD", "--one.lr=0.5", "--two.lr=0.25", model=Several, kind=Links, run=False,
               save_config_callback=None, auto_configure_optimizers=False)  # fmt: skip
    one, two = made.model.configure_optimizers()
    assert (type(one), type(two)) == (torch.optim.SGD, torch.optim.Adam)
    assert (one.param_groups[0]["lr"], two.param_groups[0]["lr"]) == (0.5, 0.25)


def test_what_optimizers_cannot_be():
    class Both(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_optimizer_args(torch.optim.SGD, "one")
            parser.add_optimizer_args(torch.optim.SGD, "two")

    class NoOptimizer(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_optimizer_args(Model)  # pyright: ignore[reportArgumentType]

    with pytest.raises(pl.ConfigurationError, match="one, two, lr_scheduler cannot all be the module's"):
        cli(model=Unoptimized, kind=Both, run=False)
    with pytest.raises(pl.ConfigurationError, match="is no subclass of Optimizer"):
        cli(model=Unoptimized, kind=NoOptimizer, run=False)
    with pytest.raises(pl.ConfigurationError, match="--lr_scheduler was given without --optimizer"):
        cli("--lr_scheduler=StepLR", "--lr_scheduler.step_size=1", model=Unoptimized, run=False)


# ---- one's own


def test_arguments_links_and_hooks_of_ones_own():
    calls: list[Any] = []

    class Mine(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument("--note", default="none")
            parser.link_arguments("data.batch_size", "model.width")
            parser.link_arguments("data.samples", "model.lr", apply_on="instantiate", compute_fn=lambda n: n / 100)
            parser.add_lightning_class_args(pl.callbacks.EarlyStopping, "stopping")
            parser.set_defaults({"stopping.monitor": "val_loss", "stopping.patience": 5})

        def before_instantiate_classes(self) -> None:
            calls.append(("before", self.config.fit.note, hasattr(self, "model")))

        def after_instantiate_classes(self) -> None:
            calls.append(("after", type(self.trainer)))

        def before_fit(self) -> None:
            calls.append(("before_fit", self.trainer.global_step))

        def after_fit(self) -> None:
            calls.append(("after_fit", self.trainer.global_step))

    made = cli("fit", "--note=hello", "--data.batch_size=8", "--stopping.patience=2", kind=Mine)
    assert calls == [("before", "hello", False), ("after", pl.Trainer), ("before_fit", 0), ("after_fit", 2)]
    assert made.model.layer.out_features == 8
    assert made.model.hparams.lr == 0.16
    assert made.trainer.early_stopping_callback.patience == 2
    kept = yaml.safe_load(Path("config.yaml").read_text())
    assert kept["stopping"]["patience"] == 2
    # What is linked is not kept: the file is read again with the links.
    assert cli("fit", "--config=config.yaml", kind=Mine, save_config_overwrite=True).model.layer.out_features == 8


def test_a_subcommand_of_ones_own():
    class Mine(pl.Trainer):
        def count(self, model: Any, datamodule: Any = None, times: int = 1) -> None:
            """Count the batches."""
            self.counted = times * len(datamodule.train_dataloader())

    class Counts(LightningCLI):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {**LightningCLI.subcommands(), "count": {"model", "datamodule"}}

    assert cli("count", "--times=3", kind=Counts, trainer_class=Mine).trainer.counted == 12


def test_a_method_of_the_command_line_takes_the_place_of_the_trainers():
    class Mine(LightningCLI):
        def fit(self, model: Any, datamodule: Any, **kwargs: Any) -> None:
            self.fitted = (model, datamodule, kwargs)

    made = cli("fit", kind=Mine)
    assert made.fitted == (made.model, made.datamodule, {})


def test_functions_that_make_objects():
    def make_model(width: int = 3) -> Model:
        return Model(width=width)

    def make_trainer(epochs: int = 2, callbacks: list[Callback] | None = None) -> pl.Trainer:
        return pl.Trainer(max_epochs=epochs, callbacks=callbacks, logger=False)

    made = LightningCLI(
        make_model, trainer_class=make_trainer, run=False, args=["--model.width=7", "--trainer.epochs=5"],
        save_config_callback=None,
    )  # fmt: skip
    assert made.model.layer.out_features == 7
    assert made.trainer.max_epochs == 5


def test_a_trainer_that_takes_no_callbacks_gets_none():
    def make_trainer(epochs: int = 2) -> pl.Trainer:
        return pl.Trainer(max_epochs=epochs, logger=False)

    with pytest.warns(UserWarning, match="make_trainer takes no callbacks"):
        LightningCLI(Model, trainer_class=make_trainer, run=False, args=[])


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE_MODEL__LR", "0.75")
    made = cli(run=False, save_config_callback=None, env_prefix="MINE", env_parse=True)
    assert made.model.hparams.lr == 0.75
    assert cli(run=False, save_config_callback=None, env_prefix="MINE").model.hparams.lr == 0.1


def test_a_script_on_a_real_command_line(tmp_path: Path):
    (tmp_path / "train.py").write_text(
        """
import torch, functrain_torch as pl

class Model(pl.LightningModule):
    def __init__(self, lr: float):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(3, 1)
    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.randn(8, 3), 4)

if __name__ == "__main__":
    cli = pl.cli.LightningCLI(Model)
    print("done", cli.model.hparams.lr, cli.trainer.global_step)
"""
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])

    def run(*args: str) -> str:
        command = [sys.executable, "train.py", *args]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = yaml.safe_load(run("fit", "--model.lr=0.5", *QUIET, "--print_config"))
    assert printed["model"] == {"lr": 0.5}
    assert run("fit", "--model.lr=0.5", *QUIET).splitlines()[-1] == "done 0.5 2"
    assert run("fit", "--config=config.yaml", "--trainer.default_root_dir=again").splitlines()[-1] == "done 0.5 2"


def test_defaults_from_files_of_the_parsers():
    Path("defaults.yaml").write_text("model:\n  lr: 0.75\n")
    made = cli("fit", parser_kwargs={"fit": {"default_config_files": ["defaults.yaml"]}})
    assert made.model.hparams.lr == 0.75
    again = cli(run=False, save_config_callback=None, parser_kwargs={"default_config_files": ["defaults.yaml"]})
    assert again.model.hparams.lr == 0.75


# ---- mistakes


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fit", "--trainer.max_epoch=3"], "max_epoch"),
        (["fit", "--model.lr=high"], "model.lr"),
        (["train"], "train"),
        ([], "subcommand"),
        (["fit", "--trainer.max_nb_epochs=3"], "max_nb_epochs"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(args: list[str], said: str, capsys):
    with pytest.raises(SystemExit):
        LightningCLI(Model, Data, args=args)
    assert said in capsys.readouterr().err


def test_contradicting_flags_are_the_trainers_errors():
    with pytest.raises(pl.ConfigurationError, match=r"min_epochs=3, max_epochs=1"):
        cli("fit", "--trainer.min_epochs=3")


def test_the_help_has_what_the_trainer_says_of_its_flags(capsys):
    with pytest.raises(SystemExit):
        LightningCLI(Model, Data, args=["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "stop after so many updates" in text
    assert "Train a module." in text


def test_something_else_than_a_class_of_ours_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"add_lightning_class_args\(Linear\)"):
        LightningArgumentParser().add_lightning_class_args(torch.nn.Linear, "layer")


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_jsonargparse_is_loaded_for_a_command_line_only():
    code = """
import json, sys
import functrain_torch as pl
before = "jsonargparse" in sys.modules
pl.cli.LightningCLI
print(json.dumps([before, "jsonargparse" in sys.modules]))
"""
    done = fresh(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, True]


def test_without_jsonargparse_it_says_what_to_install():
    code = """
import sys
sys.modules["jsonargparse"] = None
import functrain_torch as pl
try:
    pl.cli
except pl.ConfigurationError as error:
    assert "pip install 'jsonargparse[signatures]'" in str(error), error
else:
    raise SystemExit("nothing was said")
"""
    done = fresh(code)
    assert done.returncode == 0, done.stdout + done.stderr
