"""validate, test and predict: their results, loaders, weights, and what they leave of a fit."""

from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch as pl
from functrain.callbacks import Checkpoint
from tests.adapters.torch.small import Net, Validated, batches, same, samples, trainer


class Predicting(Validated):
    """Predicts from the points alone; has loaders of its own."""

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self(batch[0])

    def val_dataloader(self) -> Any:
        return batches(2)

    def test_dataloader(self) -> Any:
        return batches(3)

    def predict_dataloader(self) -> Any:
        return batches(2)


def fitted(model: pl.LightningModule, **flags: Any) -> pl.Trainer:
    run = trainer(max_epochs=1, **flags)
    run.fit(model, batches(4))
    return run


def full_loss(model: Net, n: int) -> float:
    with torch.no_grad():
        return model.loss(samples(n).tensors).item()


def test_test_of_an_unfitted_model():
    model = Validated()
    results = trainer().test(model, batches(3, extra=1), verbose=False)
    assert results == [{"test_loss": pytest.approx(full_loss(model, 13), rel=1e-6)}]


@pytest.mark.parametrize("name", ["dataloaders", "test_dataloaders", "test_dataloader"])
def test_names_of_the_loaders_argument(name: str):
    model = Validated()
    run = fitted(model)
    results = run.test(**{name: batches(2)}, verbose=False)
    assert results == [{"test_loss": pytest.approx(full_loss(model, 8), rel=1e-6)}]


def test_both_names_are_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"dataloaders=... and test_dataloaders=... were both given"):
        trainer().test(Validated(), dataloaders=batches(1), test_dataloaders=batches(1))


@pytest.mark.parametrize("names", [("train_dataloaders", "val_dataloaders"), ("train_dataloader", "val_dataloader")])
def test_names_of_the_arguments_of_fit(names: tuple[str, str]):
    run = trainer(max_epochs=1)
    run.fit(Validated(), **dict(zip(names, (batches(2), batches(1)), strict=True)))
    assert run.global_step == 2
    assert "val_loss" in run.callback_metrics


def test_validate_is_the_validation_loop():
    model = Predicting()
    results = trainer().validate(model, verbose=False)
    assert results == [{"val_loss": pytest.approx(full_loss(model, 8), rel=1e-6)}]
    assert results == trainer().validate(model, val_dataloaders=batches(2), verbose=False)


def test_no_loader_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"Validated: no loader was given, and it has no test_dataloader"):
        trainer().test(Validated())


def test_no_step_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"Net\.test_step is not defined"):
        trainer().test(Net(), batches(1))


def test_no_model_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"trainer\.predict\(\): no module was given and none was fitted"):
        trainer().predict()


def test_a_table_is_printed(capsys: pytest.CaptureFixture[str]):
    trainer().test(Validated(), batches(1))
    assert "test_loss" in capsys.readouterr().out
    trainer().test(Validated(), batches(1), verbose=False)
    assert not capsys.readouterr().out


def test_predict_gives_what_the_steps_give():
    model = Predicting()
    found = trainer().predict(model, batches(2, extra=1))
    with torch.no_grad():
        assert torch.equal(torch.cat(found), torch.cat([model(x) for x, _ in batches(2, extra=1)]))
    assert not found[0].requires_grad
    assert [len(part) for part in found] == [4, 4, 1]


def test_predict_over_several_loaders_gives_a_list_each():
    model = Predicting()
    found = trainer().predict(model, [batches(1), batches(2)])
    assert [[len(part) for part in one] for one in found] == [[4], [4, 4]]


def test_predict_without_keeping():
    assert trainer().predict(Predicting(), return_predictions=False) is None


def test_predict_is_the_forward_pass_by_default():
    """The forward pass of the batch."""
    loader = torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2)
    model = Net()
    assert torch.equal(torch.cat(trainer().predict(model, loader)), model(torch.ones(4, 4)).detach())


def test_the_stage_evaluates_and_comes_back():
    """No gradients, no dropout; afterwards the module trains again."""
    modes = []

    class Watching(Predicting):
        def test_step(self, batch: Any, batch_idx: int) -> Any:
            modes.append((self.training, torch.is_grad_enabled()))

    model = Watching(dropout=0.5)
    model.net[3].eval()
    run = fitted(model)
    run.test()
    run.predict()
    assert modes == [(False, False)] * 3
    assert torch.is_grad_enabled()
    assert model.training


def test_monte_carlo_dropout():
    """A predict step that puts its dropout into training mode."""

    class Random(Predicting):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            self.net[2].train()
            return torch.stack([self(batch[0]) for _ in range(8)])

    (found, _) = trainer().predict(Random(dropout=0.5))
    assert found.std(0).max() > 0


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_after_a_fit_the_best_weights_are_taken(tmp_path: Path, stage: str):
    """Of two checkpoints the one with the lower loss; with `ckpt_path=None` the weights as they are; by path, that."""

    class Best(Checkpoint):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 0:
                self.best_model_path = str(tmp_path / "best.ckpt")
                self.weights = {key: value.clone() for key, value in pl_module.state_dict().items()}
                trainer.save_checkpoint(self.best_model_path, weights_only=True)

    best, model = Best(), Predicting()
    run = trainer(max_epochs=2, callbacks=best, checkpoint_callback=True)
    run.fit(model, batches(4))
    last = {key: value.clone() for key, value in model.state_dict().items()}
    run.save_checkpoint(tmp_path / "last.ckpt")
    evaluate = getattr(run, stage)
    for path, expected in ((None, last), ("best", best.weights), (str(tmp_path / "last.ckpt"), last)):
        evaluate(ckpt_path=path)
        assert all(torch.equal(expected[key], value) for key, value in model.state_dict().items())
    evaluate()
    assert torch.equal(best.weights["net.0.weight"], model.net[0].weight)


def test_a_model_that_is_given_keeps_its_weights(tmp_path: Path):
    run, other = fitted(Predicting()), Predicting()
    run.save_checkpoint(tmp_path / "a.ckpt")
    before = {key: value.clone() for key, value in other.state_dict().items()}
    run.test(other, verbose=False)
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())
    run.test(other, ckpt_path=str(tmp_path / "a.ckpt"), verbose=False)
    assert not torch.equal(before["net.0.weight"], other.net[0].weight)


def test_metrics_of_the_fit_stay_readable():
    """In a test's hooks there are the test's metrics and those of the last training and validation epoch."""
    seen = []

    class Reading(pl.Callback):
        def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(set(trainer.callback_metrics))

    class Logging(Predicting):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("train_loss", loss)
            return loss

    run = fitted(Logging(), callbacks=Reading())
    run.test(verbose=False)
    assert seen == [{"train_loss", "val_loss", "test_loss"}]
    assert set(run.callback_metrics) == {"train_loss", "val_loss", "test_loss"}


def test_a_result_holds_its_own_run_only():
    class Changing(Validated):
        name = "first"

        def test_step(self, batch: Any, batch_idx: int) -> Any:
            self.log(self.name, 1.0)

    run, model = trainer(), Changing()
    run.test(model, batches(1), verbose=False)
    model.name = "second"
    assert run.test(model, batches(1), verbose=False) == [{"second": 1.0}]


def test_the_position_of_the_fit_is_told():
    """In a test after a fit the epoch and the step are those of the fit, so loggers write at the right place."""
    seen = []

    class Telling(Predicting):
        def test_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append((self.current_epoch, self.global_step))

    run = fitted(Telling())
    run.test()
    assert set(seen) == {(1, 4)}


def test_a_fit_may_be_saved_after_other_stages(tmp_path: Path):
    """The state of the fit is what it was: the run that continues from it is the run that had no test."""
    models = []
    for between in (False, True):
        torch.manual_seed(0)
        model = Predicting()
        run = fitted(model)
        if between:
            run.test(verbose=False)
            run.predict()
            run.validate(verbose=False)
        path = tmp_path / f"{between}.ckpt"
        run.save_checkpoint(path)
        assert (run.global_step, run.current_epoch) == (4, 1)
        again = Predicting()
        trainer(max_epochs=3).fit(again, batches(4), ckpt_path=str(path))
        models.append(again)
    assert same(*models)


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (0.5, 2), (1.0, 4), (10, 4)])
@pytest.mark.parametrize("stage", ["test", "predict", "validate"])
def test_limits(stage: str, limit: Any, count: int):
    seen = []

    class Counting(Predicting):
        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            seen.append((dataloader_idx, batch_idx))

        validation_step = predict_step = test_step

    flag = {"test": "limit_test_batches", "predict": "limit_predict_batches", "validate": "limit_val_batches"}[stage]
    getattr(trainer(**{flag: limit}), stage)(Counting(), [batches(4), batches(4)])
    assert seen == [(loader, batch) for loader in (0, 1) for batch in range(count)]
