"""What surrounds a run: callbacks of the module's own, child modules, worker processes, copies, Ctrl-C, printing."""

import copy
import multiprocessing
from typing import Any

import pytest
import torch
from torch.optim import LBFGS

import functrain_torch as pl
from tests import inside
from tests.adapters.torch.small import Net, Validated, batches, forks, same, stream, trainer, validation


def fitted(model: pl.LightningModule, n: int = 4, epochs: int = 1, **flags: Any) -> pl.Trainer:
    run = trainer(max_epochs=epochs, **flags)
    run.fit(model, batches(n), validation(model, batches(1)))
    return run


class Counting(pl.Callback):
    """Counts epochs."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.epochs += 1


@pytest.mark.parametrize("several", [False, True])
def test_callbacks_of_the_modules_own(several: bool):
    """One or a list; they stand in place of the Trainer's of the same class, and go with the run, not the module."""
    given, own = Counting(), Counting()

    class Model(Net):
        def configure_callbacks(self) -> Any:
            return [own] if several else own

    run = fitted(Model(), epochs=2, callbacks=given)
    assert (given.epochs, own.epochs) == (0, 2)
    assert run.callbacks == [own]


class Child(Net):
    """A module of its own, used as a part: it logs, and knows the run."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("child_loss", 1.0 + self.current_epoch)
        return super().training_step(batch, batch_idx)


class Parent(Net):
    """Trains its child."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Child()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert self.child.trainer is self.trainer
        return self.child.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return self.child.configure_optimizers()


@pytest.mark.filterwarnings("ignore:.*no optimizer trains")
def test_a_child_module_logs_into_the_run():
    model = Parent()
    alone = copy.deepcopy(model.child)
    run = fitted(model, epochs=2)
    fitted(alone, epochs=2)
    assert run.callback_metrics == {"child_loss": 2.0}
    assert same(model.child, alone)
    with pytest.warns(UserWarning, match="no Trainer is running this Child"):
        model.child.log("after", 1.0)
    assert run.callback_metrics == {"child_loss": 2.0}


@pytest.mark.filterwarnings("ignore:.*no optimizer trains")
def test_a_child_module_is_quiet_while_the_loss_is_evaluated_again():
    class Model(Parent):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.child.log("sum", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
            return self.child.loss(batch)

        def configure_optimizers(self) -> Any:
            return LBFGS(self.child.parameters(), lr=0.1, max_iter=3)

    assert fitted(Model()).callback_metrics == {"sum": 4.0}


@forks
@pytest.mark.parametrize("flags", [{}, {"limit_train_batches": 2}, {"max_steps": 2}, {"max_epochs": 2}])
@pytest.mark.parametrize("sized", [True, False])
def test_worker_processes_end_with_the_epoch(flags: dict[str, Any], sized: bool):
    """At once, not when the garbage is collected."""
    loader = batches(4, num_workers=1) if sized else torch.utils.data.DataLoader(stream(4).dataset, 4, num_workers=1)
    trainer(**{"max_epochs": 1, **flags}).fit(Validated(), loader, batches(1, num_workers=1))
    assert multiprocessing.active_children() == []


@forks
def test_worker_processes_end_with_an_error():
    class Failing(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        trainer(max_epochs=1).fit(Failing(), batches(4, num_workers=1))
    assert multiprocessing.active_children() == []


def test_a_copy_of_a_fitted_module_is_the_model_alone():
    model = Validated()
    run = fitted(model)
    other = copy.deepcopy(model)
    assert same(model, other)
    assert other.trainer is None
    assert model.trainer is run


def test_a_module_may_be_fitted_again_by_another_trainer():
    once, twice = Net(), Net()
    twice.load_state_dict(once.state_dict())
    fitted(once, epochs=2)
    fitted(twice)
    run = fitted(twice)
    assert same(once, twice)
    assert twice.trainer is run


def test_an_error_leaves_the_module_training():
    class Failing(Validated):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            raise ValueError("no")

    model = Failing()
    with pytest.raises(ValueError, match="no"):
        fitted(model)
    assert model.training
    assert torch.is_grad_enabled()
    assert all(p.requires_grad for p in model.parameters())


def test_ctrl_c_in_a_step():
    """Raised there, the run ends with its hooks, and says so."""
    ended = []

    class Interrupted(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                raise KeyboardInterrupt
            return self.loss(batch)

        def on_train_end(self) -> None:
            ended.append(self.global_step)

    run = fitted(Interrupted())
    assert run.interrupted
    assert ended == [1]


def test_print(capsys: pytest.CaptureFixture[str]):
    class Telling(Net):
        def on_train_start(self) -> None:
            self.print("began", 1, sep=" at ")

    fitted(Telling())
    Net().print("alone")
    assert capsys.readouterr().out == "began at 1\nalone\n"


def test_summary_of_the_parts():
    run = fitted(Net())
    assert inside.summary(run, 1) == [("net", "Sequential", 58, 58, 4 * 58)]
    names = [(name, kind, count) for name, kind, count, _, _ in inside.summary(run, -1)]
    assert names == [
        ("net", "Sequential", 58), ("net.0", "Linear", 40), ("net.1", "Tanh", 0), ("net.2", "Dropout", 0),
        ("net.3", "Linear", 18),
    ]  # fmt: skip
