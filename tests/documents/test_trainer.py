"""The Trainer in scripts: fit, test, predict, save, its command line and what it tells."""

import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch

import functrain_torch as pl
from functrain_torch import Trainer
from tests.documents.blocks import stands_for
from tests.documents.standins import BATCHES, EVALUATED, Net, OneStep, fitted, loader, saved

older = pytest.warns(DeprecationWarning, match="is the older name of")


@stands_for(trainer=(1, 2), module=1)
def test_basic_use():
    model = Net()
    trainer = Trainer()
    trainer.fit(model, loader(5), loader(3))
    assert model.count == {"train": 10, "val": 6}


@stands_for(trainer=3, module=(8, 10, 12))
def test_what_the_loop_does_is_a_loop_by_hand():
    model, by_hand = Net(), Net()
    by_hand.load_state_dict(model.state_dict())
    fitted(Trainer(), model)

    by_hand.train()
    torch.set_grad_enabled(True)
    optimizer = by_hand.configure_optimizers()
    for _ in range(2):
        losses = []
        for batch in loader():
            loss = by_hand.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    assert torch.equal(model.layer.weight, by_hand.layer.weight)


SCRIPT = """
from argparse import ArgumentParser
from pathlib import Path
from functrain_torch import Trainer
from tests.documents.standins import Net

def main(args):
    model = Net()
    trainer = {trainer}
    trainer.fit(model)
    print(model.count["train"], "batches")

if __name__ == "__main__":
    parser = ArgumentParser()
    {arguments}
    main(parser.parse_args())
"""


def run_script(path, text, *arguments):
    path.write_text(text)
    project = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), str(project / "adapters")])}
    return subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.slow
@stands_for(trainer=(4, 5))
def test_a_script_with_a_flag_of_its_own(tmp_path):
    text = SCRIPT.format(trainer="Trainer(gpus=args.gpus)", arguments='parser.add_argument("--gpus", default=None)')
    assert "24 batches" in run_script(tmp_path / "main.py", text).stdout
    refused = run_script(tmp_path / "main.py", text, "--gpus", "2")
    assert "ConfigurationError: Trainer(gpus='2'): this version runs on one device" in refused.stderr


@pytest.mark.slow
@stands_for(trainer=(6, 7))
def test_a_script_with_every_flag(tmp_path):
    text = SCRIPT.format(
        trainer="Trainer.from_argparse_args(args)", arguments="parser = Trainer.add_argparse_args(parser)"
    )
    given = ("--max_steps", "10", "--limit_train_batches", "10")
    assert "10 batches" in run_script(tmp_path / "main.py", text, *given).stdout
    refused = run_script(tmp_path / "main.py", text, "--gpus", "2", *given)
    assert "this version runs on one device" in refused.stderr
    unknown = run_script(tmp_path / "main.py", text, "--any_trainer_arg", "x")
    assert "unrecognized arguments: --any_trainer_arg" in unknown.stderr


def test_the_command_line_knows_every_flag_with_its_type():
    parser = Trainer.add_argparse_args(ArgumentParser())
    args = parser.parse_args(["--max_steps", "10", "--limit_train_batches", "10"])
    trainer = Trainer.from_argparse_args(args)
    assert (trainer.max_steps, trainer.limit_train_batches) == (10, 10)


@stands_for(trainer=8)
def test_testing():
    trainer = Trainer()
    fitted(trainer)
    results = trainer.test(test_dataloader=loader(3))
    assert results[0].keys() == {"test_loss"}


@stands_for(overview=1)
def test_fit_and_test_with_the_oldest_names():
    model = Net()
    trainer = pl.Trainer()
    trainer.fit(model, train_dataloader=loader(5), val_dataloaders=loader(3))
    trainer.test(model, test_dataloaders=loader(2))
    assert model.count == {"train": 10, "val": 6, "test": 2}


@stands_for(trainer=9)
def test_prediction_by_the_module_itself():
    pretrained_model = Net.load_from_checkpoint(saved(Net()))
    pretrained_model.freeze()
    out = pretrained_model(torch.ones(3, 4))
    assert not out.requires_grad

    class Classifier(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.classifier = torch.nn.Linear(2, 5)

        def forward(self, x):
            features = pretrained_model(x)
            return self.classifier(features)

    assert Classifier()(torch.ones(3, 4)).shape == (3, 5)


@stands_for(module=17)
def test_validate():
    model = Net()
    trainer = Trainer()
    results = trainer.validate(model)
    assert model.count == {"val": EVALUATED}
    assert results[0].keys() == {"val_loss"}


class Remembering(Net):
    """Net that keeps in a buffer after how many training steps its weights were taken, and gets worse on purpose."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.steps.clone())

    def test_step(self, batch, batch_idx):
        self.log("taken_after", self.steps)

    def predict_step(self, batch, batch_idx):
        return self.steps.clone()


def watching():
    return pl.callbacks.ModelCheckpoint(monitor="val_loss")


@stands_for(module=21, loops=19)
def test_test_after_fit():
    model = Net()
    trainer = Trainer()
    trainer.fit(model)
    trainer.test(model)
    trainer.test()
    assert model.count["test"] == 2 * EVALUATED


@stands_for(module=22)
def test_test_takes_the_best_weights_of_the_run_before():
    trainer = Trainer(callbacks=watching())
    trainer.fit(Remembering())
    results = trainer.test(dataloaders=loader(2))
    assert results[0]["taken_after"] == BATCHES  # the first epoch's, of two

    model = Net.load_from_checkpoint(saved(Net()))
    trainer = Trainer()
    trainer.test(model, dataloaders=loader(2))
    assert model.count["test"] == 2


@stands_for(module=25)
def test_predict_takes_the_best_weights_of_the_run_before():
    trainer = Trainer(callbacks=watching())
    trainer.fit(Remembering())
    predictions = trainer.predict(dataloaders=loader(2))
    assert [int(p) for p in predictions] == [BATCHES] * 2

    model = Net.load_from_checkpoint(saved(Net()))
    trainer = Trainer()
    predictions = trainer.predict(model, dataloaders=loader(2))
    assert [p.shape for p in predictions] == [(2, 2)] * 2


@stands_for(loops=20)
def test_load_from_metrics(tmp_path):
    path = saved(Net(learning_rate=0.25))
    (tmp_path / "meta_tags.csv").write_text("key,value\nlearning_rate,0.5\nepochs,3\n")
    arguments = {"weights_path": path, "tags_csv": tmp_path / "meta_tags.csv", "map_location": None}
    if not torch.cuda.is_available():
        with pytest.raises(pl.ConfigurationError, match=r"on_gpu=True\): needs a CUDA device.*use on_gpu=False"):
            Net.load_from_metrics(on_gpu=True, **arguments)
    model = Net.load_from_metrics(on_gpu=torch.cuda.is_available(), **arguments)
    assert model.hparams.learning_rate == 0.5
    trainer = Trainer(limit_test_batches=3)
    trainer.test(model)
    assert model.count["test"] == 3


# what it tells


class Logging(OneStep):
    def training_step(self, batch, batch_idx):
        self.log("a_val", 2)
        return super().training_step(batch, batch_idx)


@stands_for(trainer=77, notes=19)
def test_callback_metrics():
    trainer = Trainer()
    trainer.fit(Logging())
    callback_metrics = trainer.callback_metrics
    assert callback_metrics["a_val"] == 2


@stands_for(trainer=80, notes=57)
def test_logged_metrics():
    class Logged(OneStep):
        def training_step(self, batch, batch_idx):
            self.log("a_val", 2, log=True)
            return super().training_step(batch, batch_idx)

    trainer = Trainer(log_every_n_steps=1)
    trainer.fit(Logged())
    logged_metrics = trainer.logged_metrics
    assert logged_metrics["a_val"] == 2


@stands_for(trainer=83, notes=58)
def test_progress_bar_metrics():
    class Shown(OneStep):
        def training_step(self, batch, batch_idx):
            self.log("a_val", 2, prog_bar=True)
            return super().training_step(batch, batch_idx)

    trainer = Trainer()
    trainer.fit(Shown())
    progress_bar_metrics = trainer.progress_bar_metrics
    assert progress_bar_metrics["a_val"] == 2


@stands_for(trainer=78, notes=20)
def test_current_epoch():
    class Noting(Net):
        def training_step(self, batch, batch_idx):
            current_epoch = self.trainer.current_epoch
            self.count[f"epoch {current_epoch}"] += 1
            return self.loss(batch)

    model = fitted(Trainer(), Noting())
    assert model.count["epoch 0"] == model.count["epoch 1"] == BATCHES


@stands_for(trainer=79)
def test_logger():
    class Noting(OneStep):
        def training_step(self, batch, batch_idx):
            logger = self.trainer.logger
            self.tensorboard = logger.experiment
            self.tensorboard.add_scalar("by_hand", 1.0, batch_idx)
            return super().training_step(batch, batch_idx)

    assert fitted(Trainer(), Noting()).tensorboard is not None


@stands_for(trainer=81, notes=56)
def test_log_dir(tmp_path):
    class Saving(OneStep):
        def training_step(self, batch, batch_idx):
            torch.save(batch[0], f"{self.trainer.log_dir}/img_{batch_idx}.pt")
            return super().training_step(batch, batch_idx)

    trainer = Trainer()
    fitted(trainer, Saving())
    assert (tmp_path / trainer.log_dir / "img_2.pt").is_file()
    assert (tmp_path / trainer.log_dir).parent.name == "lightning_logs"


@stands_for(trainer=82, notes=55)
def test_is_global_zero(capsys):
    class Printing(OneStep):
        def training_step(self, batch, batch_idx):
            if self.trainer.is_global_zero:
                print("in node 0, accelerator 0")
            return super().training_step(batch, batch_idx)

    fitted(Trainer(), Printing())
    assert capsys.readouterr().out.count("in node 0, accelerator 0") == 3
