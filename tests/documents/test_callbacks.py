"""Callbacks: every hook of the notes, in the order that they print; early stopping in each generation's way."""

import inspect

import pytest

from functrain_torch import Trainer, callbacks
from functrain_torch.callbacks import EarlyStopping, LambdaCallback
from tests.documents.blocks import stands_for
from tests.documents.standins import Net, fitted

older = pytest.warns(DeprecationWarning, match="is the older name of")

HOOKS = [
    "on_before_accelerator_backend_setup",
    "setup",
    "teardown",
    "on_init_start",
    "on_init_end",
    "on_fit_start",
    "on_fit_end",
    "on_sanity_check_start",
    "on_sanity_check_end",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_validation_epoch_start",
    "on_validation_epoch_end",
    "on_test_epoch_start",
    "on_test_epoch_end",
    "on_epoch_start",
    "on_epoch_end",
    "on_batch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_test_batch_start",
    "on_test_batch_end",
    "on_batch_end",
    "on_train_start",
    "on_train_end",
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_validation_start",
    "on_validation_end",
    "on_test_start",
    "on_test_end",
    "on_keyboard_interrupt",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "on_after_backward",
    "on_before_zero_grad",
]
"""In the order of the notes."""

ARGUMENTS = {
    "on_init_start": (), "on_init_end": (), "setup": ("stage",), "teardown": ("stage",),
    "on_train_batch_start": ("batch", "batch_idx", "dataloader_idx"),
    "on_train_batch_end": ("outputs", "batch", "batch_idx", "dataloader_idx"),
    "on_validation_batch_start": ("batch", "batch_idx", "dataloader_idx"),
    "on_validation_batch_end": ("outputs", "batch", "batch_idx", "dataloader_idx"),
    "on_test_batch_start": ("batch", "batch_idx", "dataloader_idx"),
    "on_test_batch_end": ("outputs", "batch", "batch_idx", "dataloader_idx"),
    "on_train_epoch_end": ("outputs",), "on_validation_epoch_end": ("outputs",), "on_test_epoch_end": ("outputs",),
    "on_save_checkpoint": ("checkpoint",), "on_load_checkpoint": ("callback_state",),
    "on_before_zero_grad": ("optimizer",),
}  # fmt: skip
"""What a hook gets beside the Trainer and the module."""

NOT_ONE_OF_A_FIT_AND_A_TEST = {"on_keyboard_interrupt", "on_load_checkpoint"}


def noting(called, name):
    """A hook with the signature of the notes, which writes its name down."""
    first = ["self"] if name == "on_load_checkpoint" else ["self", "trainer"]
    if name not in ("on_init_start", "on_init_end", "on_load_checkpoint"):
        first.append("pl_module")
    arguments = ", ".join([*first, *ARGUMENTS.get(name, ())])
    scope = {"called": called}
    state = "{'kept': 1}" if name == "on_save_checkpoint" else "None"
    exec(f"def {name}({arguments}):\n    called.append({name!r})\n    return {state}", scope)
    return scope[name]


@stands_for(notes=1)
def test_every_hook_with_the_signature_of_the_notes():
    called = []
    CustomCallback = type("CustomCallback", (callbacks.Callback,), {name: noting(called, name) for name in HOOKS})
    trainer = Trainer(callbacks=[CustomCallback()])
    model = fitted(trainer)
    trainer.test(model)
    assert set(called) == set(HOOKS) - NOT_ONE_OF_A_FIT_AND_A_TEST

    path = trainer.checkpoint_callback.best_model_path
    Trainer(callbacks=[CustomCallback()], max_epochs=3).fit(Net(epochs=3), ckpt_path=path)
    assert "on_load_checkpoint" in called


PRINTED = """
init_start init_end
setup fit_start
validation_start validation_epoch_start validation_epoch_end epoch_end validation_end
train_start
{epochs}
train_end fit_end teardown
setup fit_start test_start test_epoch_start test_epoch_end epoch_end test_end fit_end teardown
teardown
"""
EPOCH = """
epoch_start train_epoch_start train_epoch_end epoch_end
validation_start validation_epoch_start validation_epoch_end epoch_end validation_end
"""
PRINTING = ["setup", "teardown", "init_start", "init_end", "fit_start", "fit_end", "train_start", "train_end"] + [
    f"{stage}{moment}" for stage in ("train_epoch", "validation_epoch", "test_epoch", "epoch", "validation", "test")
    for moment in ("_start", "_end")
]  # fmt: skip


def name_of(word):
    return word if word in ("setup", "teardown") else f"on_{word}"


@stands_for(notes=2)
def test_the_order_that_is_printed():
    called = []

    def writing(word):
        return lambda *args: called.append(word)

    trainer = Trainer(callbacks=[LambdaCallback(**{name_of(word): writing(word) for word in set(PRINTING)})])
    model = fitted(trainer, Net(epochs=3))
    trainer.test(model)
    assert within_a_stage(called) == within_a_stage(PRINTED.format(epochs=3 * EPOCH).split())


def within_a_stage(words):
    """Return the words of each stage in their order: how stages are nested is `docs/hook_order.md`'s to say."""
    stages = ("train_epoch", "validation", "test", "init")
    return {stage: [word for word in words if word.startswith(stage)] for stage in stages} | {
        "ends": [word for word in words if word in ("train_start", "train_end", "test_start", "test_end")]
    }


@stands_for(notes=3)
def test_the_signature_of_early_stopping():
    given = {
        "monitor": "early_stop_on", "min_delta": 0.0, "patience": 3, "verbose": False, "mode": "min", "strict": True,
        "check_finite": True,
        "stopping_threshold": None, "divergence_threshold": None, "check_on_train_epoch_end": False,
    }  # fmt: skip
    stopping = EarlyStopping(**given)
    assert {name: getattr(stopping, name) for name in ("monitor", "patience", "mode", "strict")} == {
        "monitor": "early_stop_on", "patience": 3, "mode": "min", "strict": True,
    }  # fmt: skip
    parameters = inspect.signature(EarlyStopping).parameters
    assert list(parameters)[: len(given)] == list(given)


@stands_for(notes=4)
def test_every_hook_of_a_lambda_callback():
    trainer = Trainer(callbacks=[LambdaCallback(**dict.fromkeys(HOOKS))])
    assert fitted(trainer).count["train"]


@stands_for(notes=5)
def test_a_lambda_callback(capsys):
    trainer = Trainer(callbacks=[LambdaCallback(setup=lambda *args: print("setup"))])
    fitted(trainer)
    assert "setup" in capsys.readouterr().out.split("\n")


class Worse(Net):
    """Net whose validation loss never gets better."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 1.0)


@stands_for(loops=5)
def test_early_stopping():
    with older:
        trainer = Trainer(early_stop_callback=True)
    fitted(trainer, Worse(epochs=100))
    assert trainer.early_stopping_callback.monitor == "val_loss"
    assert trainer.current_epoch == 4

    early_stop_callback = EarlyStopping(monitor="val_loss", min_delta=0.00, patience=3, verbose=False, mode="min")
    with older:
        trainer = Trainer(early_stop_callback=early_stop_callback)
    fitted(trainer, Worse(epochs=100))
    assert trainer.early_stopping_callback is early_stop_callback
    assert trainer.current_epoch == 4


@stands_for(loops=6)
def test_no_early_stopping():
    with older:
        trainer = Trainer(early_stop_callback=None)
    fitted(trainer, Worse(epochs=6))
    assert trainer.early_stopping_callback is None
    assert trainer.current_epoch == 6
