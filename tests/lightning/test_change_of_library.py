"""A run that pytorch_lightning began and ours goes on with, and the other way round: the bits of the run that went
through."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from functrain.trainer.errors import CheckpointError
from tests.lightning import bodies
from tests.lightning.bodies import BODIES, FLAGS, Told, loader, model, saving, trainer

BOTH = [("theirs", "ours"), ("ours", "theirs")]

# pytorch_lightning warns of few workers, of loaders that cannot continue, of callbacks that are not there.
quiet = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec:FutureWarning")


def whole(who: str, name: str, callbacks: Any, **flags: Any) -> Any:
    """A run that nobody interrupts."""
    module = model(who, name)
    trainer(who, callbacks, **{**FLAGS.get(name, {}), **flags}).fit(module, Told(), loader())
    return module


def rest(who: str, name: str, path: Path, callbacks: Any = (), **flags: Any) -> Any:
    """The run that goes on from a checkpoint."""
    module = model(who, name)
    run = trainer(who, callbacks, **{**FLAGS.get(name, {}), **flags})
    run.fit(module, Told(), loader(), ckpt_path=str(path))
    module.ran = run
    return module


def check_rest(module: Any, again: Any, first: tuple[int, int]) -> None:
    places = [place for place in module.seen if place >= first]
    assert list(again.seen) == places
    for place in places:
        assert torch.equal(again.seen[place], module.seen[place]), place


def after(number: int) -> tuple[int, int]:
    return divmod(number, bodies.BATCHES)


@quiet
@pytest.mark.parametrize("name", sorted(BODIES))
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_within_an_epoch(first: str, then: str, name: str, tmp_path: Path):
    module = whole(first, name, [saving(first, "on_train_batch_end", tmp_path)])
    for number in (1, 2, 5, 9):
        if name == "Plateau" and then == "theirs":
            continue  # it does not step where it went on within the epoch
        again = rest(then, name, tmp_path / f"on_train_batch_end-{number:02}.ckpt")
        check_rest(module, again, after(number))
        if name != "ByHand":  # there pytorch_lightning counts the steps of all optimizers
            assert again.ran.global_step == module.trainer.global_step


@quiet
@pytest.mark.parametrize("name", sorted(BODIES))
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_at_the_end_of_an_epoch(first: str, then: str, name: str, tmp_path: Path):
    saver = bodies.CALLBACKS[first].ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, monitor="val_loss")
    module = whole(first, name, [saver])
    for epoch in (0, 1):
        if name == "Plateau" and first == "theirs":
            continue  # what it does not keep: see below
        again = rest(then, name, tmp_path / f"epoch={epoch}.ckpt")
        check_rest(module, again, (epoch + 1, 0))
        assert again.ran.current_epoch == module.trainer.current_epoch


@quiet
@pytest.mark.parametrize("name", ["Body", "ByStep"])
@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_with_windows(first: str, then: str, number: int, name: str, tmp_path: Path):
    flags = {"accumulate_grad_batches": 2}
    module = whole(first, name, [saving(first, "on_train_batch_end", tmp_path)], **flags)
    again = rest(then, name, tmp_path / f"on_train_batch_end-{number:02}.ckpt", **flags)
    check_rest(module, again, after(number))


@quiet
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_where_a_limit_has_ended_the_run(first: str, then: str, tmp_path: Path):
    module = whole(first, "Body", [])
    part = model(first, "Body")
    run = trainer(first, max_steps=8, max_epochs=-1)
    run.fit(part, Told(), loader())
    run.save_checkpoint(tmp_path / "a.ckpt")
    again = rest(then, "Body", tmp_path / "a.ckpt", max_steps=3 * bodies.BATCHES, max_epochs=-1)
    check_rest(module, again, (1, 2))


@quiet
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_where_the_run_is_over(first: str, then: str, tmp_path: Path):
    module = whole(first, "Body", [])
    run = trainer(first, max_epochs=2)
    run.fit(model(first, "Body"), Told(), loader())
    run.save_checkpoint(tmp_path / "a.ckpt")
    again = rest(then, "Body", tmp_path / "a.ckpt")
    check_rest(module, again, (2, 0))


@quiet
def test_a_validation_that_was_still_to_come_is_run(tmp_path: Path):
    whole("theirs", "Body", [saving("theirs", "on_train_batch_end", tmp_path)], val_check_interval=2)
    calls: list[int] = []
    module = model("ours", "Body")
    module.on_validation_start = lambda: calls.append(module.global_step)
    path = tmp_path / "on_train_batch_end-02.ckpt"
    trainer("ours", val_check_interval=2).fit(module, Told(), loader(), ckpt_path=path)
    assert calls[0] == 2


@quiet
def test_a_validation_that_was_run_is_not_run_again(tmp_path: Path):
    whole("theirs", "Body", [saving("theirs", "on_validation_end", tmp_path)], val_check_interval=2)
    calls: list[int] = []
    module = model("ours", "Body")
    module.on_validation_start = lambda: calls.append(module.global_step)
    path = tmp_path / "on_validation_end-01.ckpt"
    trainer("ours", val_check_interval=2).fit(module, Told(), loader(), ckpt_path=path)
    assert calls[0] == 4


@quiet
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_counts_of_early_stopping(first: str, then: str, tmp_path: Path):
    def stops(who: str) -> Any:
        return bodies.CALLBACKS[who].EarlyStopping("val_loss", patience=3, min_delta=100.0)

    saver = bodies.CALLBACKS[first].ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    module = whole(first, "Body", [stops(first), saver], max_epochs=10)
    stop = stops(then)
    again = rest(then, "Body", tmp_path / "epoch=1.ckpt", [stop], max_epochs=10)
    # Ours looks at the metric after it has saved, so the checkpoint's counts are those before: the look is lost there.
    last = 3 if first == "theirs" else 4
    assert max(module.seen) == (3, bodies.BATCHES - 1)
    assert max(again.seen) == (last, bodies.BATCHES - 1)
    assert (stop.wait_count, stop.stopped_epoch) == (3, last)


@quiet
@pytest.mark.parametrize(("first", "then"), BOTH)
def test_the_best_checkpoint_stays_known(first: str, then: str, tmp_path: Path):
    def saver(who: str, folder: str) -> Any:
        return bodies.CALLBACKS[who].ModelCheckpoint(tmp_path / folder, monitor="val_loss", mode="max", save_last=True)

    before = saver(first, "one")
    whole(first, "Body", [before], max_epochs=2)
    after_it = saver(then, "one" if then == "theirs" else "two")
    rest(then, "Body", tmp_path / "one" / "last.ckpt", [after_it])
    # The loss falls, so the first epoch's is the highest.
    assert after_it.best_model_path == before.best_model_path
    assert float(after_it.best_model_score) == pytest.approx(float(before.best_model_score))


@quiet
def test_the_loss_scale(tmp_path: Path):
    whole("theirs", "Body", [saving("theirs", "on_train_epoch_end", tmp_path)])
    path = tmp_path / "on_train_epoch_end-01.ckpt"
    content = torch.load(path, weights_only=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    scaler.scale(torch.ones(()))
    for key in ("MixedPrecision", "NativeMixedPrecisionPlugin", "native_amp_scaling_state"):
        torch.save({**content, key: {**scaler.state_dict(), "_growth_tracker": 7}}, tmp_path / "scaled.ckpt")
        run = trainer("ours", max_epochs=1, precision=16)
        run.fit(model("ours"), Told(), loader(), ckpt_path=tmp_path / "scaled.ckpt")
        run.save_checkpoint(tmp_path / "again.ckpt")
        again = torch.load(tmp_path / "again.ckpt", weights_only=True)
        assert again["MixedPrecision"] == {**scaler.state_dict(), "_growth_tracker": 7}


# what is said


def said(path: Path, name: str = "Body", **flags: Any) -> str:
    with pytest.warns(UserWarning, match="a checkpoint of pytorch_lightning 2") as caught:
        rest("ours", name, path, **flags)
    assert len(caught) == 1
    return str(caught[0].message)


@pytest.fixture(scope="module")
def written(tmp_path_factory: Any) -> Path:
    """Checkpoints after every batch, and at the end of every epoch."""
    folder = tmp_path_factory.mktemp("written")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hooks = ("on_train_batch_end", "on_train_epoch_end")
        whole("theirs", "Body", [saving("theirs", hook, folder) for hook in hooks])
        (folder / "plateau").mkdir()
        whole("theirs", "Plateau", [saving("theirs", hook, folder / "plateau") for hook in hooks])
    return folder


def test_what_is_lost_within_an_epoch(written: Path):
    message = said(written / "on_train_batch_end-02.ckpt")
    assert "goes on at epoch 0, batch 2, after 2 updates" in message
    assert "random states, and what was logged in this epoch" in message
    assert "callbacks (Saving" in message


def test_an_open_window_is_lost(written: Path):
    message = said(written / "on_train_batch_end-03.ckpt", accumulate_grad_batches=2)
    assert "the gradients of an open window of 1 of 2 batches" in message


def test_a_metric_that_a_scheduler_waits_for_is_lost(written: Path):
    message = said(written / "plateau" / "on_train_epoch_end-01.ckpt", "Plateau")
    assert "the step of ReduceLROnPlateau at the end of epoch 0, whose metric is not kept" in message


def test_the_validation_after_the_last_batch_is_lost(written: Path):
    message = said(written / "on_train_batch_end-06.ckpt")
    assert "goes on at epoch 1, batch 0, after 6 updates" in message
    assert "the validation at the end of epoch 0" in message


def test_other_options_are_said(written: Path):
    module = model("ours", lr=0.5)
    with pytest.warns(UserWarning, match="initial_lr of optimizer 0 is 0.5 now, and the checkpoint's 0.1 is used"):
        trainer("ours").fit(module, Told(), loader(), ckpt_path=written / "on_train_epoch_end-01.ckpt")


@pytest.mark.parametrize("name", ["ByStep", "ByHand"])
def test_of_other_optimizers(name: str, written: Path):
    with pytest.raises(CheckpointError, match=r"on_train_epoch_end-01\.ckpt: .*optimizer"):
        rest("ours", name, written / "on_train_epoch_end-01.ckpt")


def test_of_adamw_for_adam(written: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "Adam", torch.optim.AdamW)
    with pytest.raises(CheckpointError, match="has decoupled_weight_decay=False, which AdamW does not have"):
        rest("ours", "Body", written / "on_train_epoch_end-01.ckpt")


def test_of_weights_alone(written: Path, tmp_path: Path):
    content = torch.load(written / "on_train_epoch_end-01.ckpt", weights_only=True)
    for key in ("optimizer_states", "lr_schedulers"):
        del content[key]
    torch.save(content, tmp_path / "w.ckpt")
    with pytest.raises(CheckpointError, match=r"w\.ckpt: holds weights only"):
        rest("ours", "Body", tmp_path / "w.ckpt")


@pytest.mark.parametrize("part", ["loops", "epoch_progress", "epoch_loop.batch_progress"])
def test_a_part_that_is_none(part: str, written: Path, tmp_path: Path):
    content = torch.load(written / "on_train_batch_end-02.ckpt", weights_only=True)
    (content if part == "loops" else content["loops"]["fit_loop"])[part] = 3
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(CheckpointError, match=rf"odd\.ckpt: its '{part}' holds an int where a dict is needed"):
        rest("ours", "Body", tmp_path / "odd.ckpt")


def test_fast_dev_run_tries_a_checkpoint_out(written: Path, recwarn: Any):
    module = model("ours")
    trainer("ours", fast_dev_run=True).fit(module, Told(), loader(), ckpt_path=written / "on_train_batch_end-02.ckpt")
    assert list(module.seen) == [(0, 0)]


def test_an_evaluation_takes_the_weights(written: Path):
    path = written / "on_train_batch_end-02.ckpt"
    module = model("ours")
    trainer("ours").validate(module, loader(), ckpt_path=path)
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(stored[name], value) for name, value in module.state_dict().items())


# the first generation


def old(content: dict[str, Any], version: str) -> dict[str, Any]:
    """A checkpoint as version 1.x would have written it, by its documented keys."""
    return {
        **content, "pytorch-lightning_version": version, "hparams_name": "hparams", "native_amp_scaling_state": None,
    }  # fmt: skip


def test_of_1_4(written: Path, tmp_path: Path):
    """It counted the epoch and the step ahead, and had no loops; states of callbacks stood by their classes."""
    from pytorch_lightning.callbacks import EarlyStopping

    content = torch.load(written / "on_train_epoch_end-01.ckpt", weights_only=True)
    counts = {"wait_count": 2, "stopped_epoch": 0, "best_score": torch.tensor(0.25), "patience": 3}
    given = {"epoch": 1, "global_step": 6, "callbacks": {EarlyStopping: counts}, "loops": None}
    content = {key: value for key, value in {**old(content, "1.4.9"), **given}.items() if value is not None}
    torch.save(content, tmp_path / "old.ckpt")
    stop = bodies.CALLBACKS["ours"].EarlyStopping("val_loss", patience=30)
    seen: list[Any] = []
    module = model("ours")
    counted = lambda: (module.current_epoch, module.global_step, stop.wait_count, stop.best_score)  # noqa: E731
    module.on_train_start = lambda: seen.append(counted())
    with pytest.warns(UserWarning, match="where in an epoch it stood: the run goes on at the start of epoch 1"):
        trainer("ours", [stop]).fit(module, Told(), loader(), ckpt_path=tmp_path / "old.ckpt")
    assert seen == [(1, 6, 2, 0.25)]
    assert min(module.seen) == (1, 0)


@quiet
def test_of_1_9(written: Path, tmp_path: Path):
    """Its optimizers' loop stood elsewhere."""
    content = torch.load(written / "on_train_batch_end-02.ckpt", weights_only=True)
    fit = content["loops"]["fit_loop"]
    fit["epoch_loop.batch_loop.optimizer_loop.optim_progress"] = fit.pop(
        "epoch_loop.automatic_optimization.optim_progress"
    )
    torch.save(old(content, "1.9.5"), tmp_path / "old.ckpt")
    module = whole("ours", "Body", [])
    check_rest(module, rest("ours", "Body", tmp_path / "old.ckpt"), (0, 2))
