"""Checkpoints of JAX modules: written whole, read safely, put back only where they fit; runs that continue from
them."""

import json
import os
import random
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functrain_jax as ft
from functrain.trainer.callback import Callback
from functrain.trainer.overriding import overrides
from functrain_jax.checkpoint import SUMS, read, write
from functrain_jax.encoding import decode, encode
from tests.adapters.jax.common import Batches, Classifier, Endless, Plain, X, Y, bits, everything, same, trainer
from tests.adapters.jax.test_players import CASES, Game


def validation(module):
    """Loaders of validation batches, where the module has a use for them."""
    return [Batches(size=16)] if overrides(module, "validation_step") else []


def test_plain_values_and_arrays_come_back(tmp_path):
    value = {
        "arrays": {"a.b/c": jnp.arange(6.0).reshape(2, 3), "half": jnp.ones(3, jnp.bfloat16)},
        "scalars": [np.float32(0.1), jnp.int32(3), np.uint32(4_000_000_000), float("inf"), float("nan"), 2**70],
        "plain": (None, True, "text", b"bytes", {1: "one", (2, 3): [4]}, {"$tuple": 5}),
        "empty": [{}, (), []],
    }
    write(tmp_path / "a.ckpt", value)
    back = read(tmp_path / "a.ckpt")
    np.testing.assert_array_equal(back["arrays"]["a.b/c"], value["arrays"]["a.b/c"])
    assert back["arrays"]["half"].dtype == jnp.bfloat16
    for got, want in zip(back["scalars"], value["scalars"], strict=True):
        np.testing.assert_array_equal(got, want)
    assert getattr(back["scalars"][0], "dtype", None) == np.float32
    assert back["plain"] == value["plain"]
    assert back["empty"] == value["empty"]
    assert not [name for name in os.listdir(tmp_path) if name != "a.ckpt"]


def test_torch_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    arrays = {}
    back = decode(json.loads(json.dumps(encode({"t": torch.arange(4)}, arrays))), arrays)
    assert isinstance(back["t"], torch.Tensor)
    assert back["t"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [object(), {"f": print}, [Plain], np.array(["text"]), np.ones(2, np.longdouble)])
def test_what_could_not_be_read_back_is_not_written(tmp_path, bad):
    with pytest.raises(ft.ConfigurationError, match=r"checkpoint\[a"):
        write(tmp_path / "bad.ckpt", {"a": bad})
    assert not os.listdir(tmp_path)


def test_a_write_that_fails_leaves_the_old_one(tmp_path):
    write(tmp_path / "a.ckpt", {"x": 1})
    with pytest.raises(ft.ConfigurationError):
        write(tmp_path / "a.ckpt", {"x": object()})
    assert read(tmp_path / "a.ckpt") == {"x": 1}
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_any_damage_is_an_error_that_names_the_checkpoint(tmp_path):
    whole = tmp_path / "whole.ckpt"
    write(whole, {"w": jnp.ones((40, 40)), "n": 1})
    names = [p.relative_to(whole) for p in whole.rglob("*") if p.is_file()]
    assert len(names) >= 4
    for name in names:
        for damage in ("cut", "gone", "flipped"):
            broken = tmp_path / "broken.ckpt"
            shutil.rmtree(broken, ignore_errors=True)
            shutil.copytree(whole, broken)
            data = (broken / name).read_bytes()
            if damage == "gone":
                (broken / name).unlink()
            elif damage == "cut":
                (broken / name).write_bytes(data[: len(data) // 2])
            else:
                (broken / name).write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
            with pytest.raises(ft.CheckpointError, match=r"broken\.ckpt"):
                read(broken)


def test_what_is_no_checkpoint_is_told(tmp_path):
    with pytest.raises(ft.CheckpointError, match=r"nothing.ckpt: no such checkpoint"):
        read(tmp_path / "nothing.ckpt")
    (tmp_path / "file.ckpt").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ft.CheckpointError, match=r"file.ckpt: a file, but"):
        read(tmp_path / "file.ckpt")
    (tmp_path / "dir.ckpt").mkdir()
    with pytest.raises(ft.CheckpointError, match=r"dir.ckpt: damaged or not a checkpoint"):
        read(tmp_path / "dir.ckpt")
    (tmp_path / "dir.ckpt" / SUMS).write_text("{}")
    with pytest.raises(ft.CheckpointError, match=r"dir.ckpt: not a checkpoint"):
        read(tmp_path / "dir.ckpt")


def test_module_from_a_checkpoint(tmp_path):
    module = Classifier(lr=3e-2, seed=4)
    run = trainer(max_epochs=1)
    run.fit(module, Batches())
    path = tmp_path / "m.ckpt"
    run.save_checkpoint(path, weights_only=True)
    again = Classifier.load_from_checkpoint(path)
    assert again.lr == 3e-2
    same(bits(again.net.norm.mean[...]), bits(module.net.norm.mean[...]))
    same(bits(again.net.blocks[1].kernel[...]), bits(module.net.blocks[1].kernel[...]))
    assert Classifier.load_from_checkpoint(path, lr=1.0).lr == 1.0
    assert read(path)["state_dict"].keys() == {
        *(f"net.{a}.{b}" for a in ("first", "blocks.0", "blocks.1") for b in ("kernel", "bias")),
        *(f"net.norm.{a}" for a in ("scale", "bias", "mean", "var")),
        *(f"net.drop.rngs.{a}" for a in ("count", "key")),
    }
    with pytest.raises(ft.CheckpointError, match=r"m.ckpt: holds weights only"):
        trainer(max_epochs=2).fit(Classifier(), Batches(), ckpt_path=str(path))


def test_a_checkpoint_of_another_module_changes_nothing(tmp_path):
    run = trainer(max_epochs=1)
    run.fit(Classifier(), Batches())
    run.save_checkpoint(tmp_path / "c.ckpt")
    other = Plain()
    before = bits(other.params)
    with pytest.raises(ft.CheckpointError, match=r"c.ckpt.*missing params.*unexpected net.blocks.0"):
        trainer(max_epochs=1).fit(other, Batches(), ckpt_path=str(tmp_path / "c.ckpt"))
    same(bits(other.params), before)
    with pytest.raises(ft.CheckpointError, match=r"c.ckpt: is of another module than Plain"):
        Plain.load_from_checkpoint(tmp_path / "c.ckpt")

    class Momentum(Classifier):
        def configure_optimizers(self):
            return optax.sgd(1e-2, momentum=0.9)

    with pytest.raises(ft.CheckpointError, match=r"its optimizer 0 is another than Momentum's: missing 0.trace"):
        trainer(max_epochs=1).fit(Momentum(), Batches(), ckpt_path=str(tmp_path / "c.ckpt"))


def test_testing_takes_the_best_weights_and_leaves_the_last(tmp_path):
    module = Classifier()
    keep = ft.callbacks.ModelCheckpoint(monitor="val_acc", mode="min")
    run = trainer(tmp_path, max_epochs=3, callbacks=keep, checkpoint_callback=True)
    run.fit(module, Batches(), [Batches()])
    best = Classifier.load_from_checkpoint(run.checkpoint_callback.best_model_path)
    last = everything(run)
    run.test(dataloaders=Batches(), verbose=False)
    same(bits(module.net.first.kernel[...]), bits(best.net.first.kernel[...]))
    same(everything(run), last)
    assert Path(run.checkpoint_callback.best_model_path).is_dir()


class Stop(Callback):
    """Saves and stops after so many batches, as a kill at that point would leave things."""

    def __init__(self, after, path):
        self.after, self.path, self.seen = after, path, 0

    def on_train_batch_end(self, trainer, pl_module):
        self.seen += 1
        if self.seen == self.after:
            trainer.save_checkpoint(self.path)
            raise Stopped


class Stopped(Exception):
    """The run is cut off."""


def finished(make, loader, flags, ckpt=None):
    ft.seed_everything(7)
    run = trainer(max_epochs=3, **flags)
    run.fit(module := make(), loader(), validation(module), ckpt_path=ckpt)
    means = {name: float(value) for name, value in run.callback_metrics.items() if "epoch" in name}
    return everything(run), means


class Generated(Batches):
    """A loader that shuffles by generators of its own."""

    def __init__(self):
        super().__init__()
        self.numpy = np.random.default_rng(5)
        self.python = random.Random(6)
        self.legacy = np.random.RandomState(7)

    def __iter__(self):
        order = self.numpy.permutation(12).tolist()
        self.python.shuffle(order)
        for i in self.legacy.permutation(order):
            yield self.batches[i]


def shuffled():
    """A loader of torch, whose order comes from torch's own global generator."""
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)


RUNS = {
    "plain": (Classifier, Batches, {}),
    "accumulated": (Classifier, Batches, {"accumulate_grad_batches": 5, "gradient_clip_val": 0.5}),
    "half": (Classifier, Batches, {"precision": 16, "accumulate_grad_batches": {0: 2, 1: 3}}),
    "ragged": (Classifier, lambda: Batches(size=10), {"accumulate_grad_batches": 4, "log_every_n_steps": 3}),
    "unsized": (Classifier, lambda: Endless(Batches(n=88).batches), {"accumulate_grad_batches": 3}),
    "shuffled": (Classifier, shuffled, {"accumulate_grad_batches": 5}),
    "generated": (Classifier, Generated, {"accumulate_grad_batches": 5}),
    "players": (lambda: Game(CASES["own windows"][0]), Batches, {}),
    "turns": (lambda: Game(CASES["in turns"][0]), Batches, {}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_ends_with_the_same_bits(name, tmp_path):
    make, loader, flags = RUNS[name]
    whole, means = finished(make, loader, flags)
    batches = 11 if name == "unsized" else len(loader())
    for after in (1, batches, batches + 4):
        path = str(tmp_path / f"{after}.ckpt")
        ft.seed_everything(7)
        with pytest.raises(Stopped):
            trainer(max_epochs=3, callbacks=Stop(after, path), **flags).fit(
                module := make(), loader(), validation(module)
            )
        ft.seed_everything(99)
        resumed, again = finished(make, loader, flags, path)
        same(resumed, whole)
        assert again == means
