"""The main job: handwritten-digit classifiers, the same network once in torch and once in flax, under the same Trainer.

    python examples/digits.py [--epochs 15] [--out runs/digits] [--fresh]

Trains on scikit-learn's real digits (1797 images of 8 x 8), keeps TensorBoard logs, checkpoints and a picture of the
curves under `--out`, predicts from the best checkpoint, and prints a table. Stopped and run again it continues at the
very batch; after it has finished it only evaluates, and `--fresh` trains anew beside what is there.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from functrain import seed_everything
from functrain.callbacks import LearningRateMonitor, ModelCheckpoint
from functrain.loggers import CSVLogger, TensorBoardLogger

SEED, BATCH, HIDDEN, DROPOUT, RATE = 7, 64, 256, 0.2, 2e-3


class Split(NamedTuple):
    """Images (n, 64) as float32 in [0, 1], and their digits (n,) as int64."""

    x: np.ndarray
    y: np.ndarray


def digits() -> tuple[Split, Split, Split]:
    """Training (with each image also shifted by a pixel), validation and test digits, always the same split."""
    x, y = (np.asarray(part) for part in load_digits(return_X_y=True))
    x = (x / 16).astype(np.float32)
    x, x_test, y, y_test = parted(x, y, 360)
    x, x_val, y, y_val = parted(x, y, 180)
    return Split(shifted(x), np.tile(y, 5)), Split(x_val, y_val), Split(x_test, y_test)


def parted(x: np.ndarray, y: np.ndarray, held_out: int) -> list[np.ndarray]:
    """x and y without the images held out, and those: x, x_held_out, y, y_held_out."""
    return [np.asarray(p) for p in train_test_split(x, y, test_size=held_out, random_state=SEED, stratify=y)]


def shifted(x: np.ndarray) -> np.ndarray:
    """The images, and the same ones moved by a pixel to each of the four sides."""
    padded = np.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    windows = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    return np.concatenate([padded[:, r : r + 8, c : c + 8] for r, c in windows]).reshape(-1, 64)


def torch_world() -> tuple[Any, Callable[[Split, bool], Any], type]:
    """The module, a maker of loaders, and the Trainer for torch."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    import functrain_torch as pl

    class Digits(pl.LightningModule):
        def __init__(self, hidden: int = HIDDEN, dropout: float = DROPOUT, lr: float = RATE) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(
                nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout),
                nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
                nn.Linear(hidden, 10),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            loss = cross_entropy(self(x), y)
            self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.evaluate("val", batch)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.evaluate("test", batch)

        def evaluate(self, stage: str, batch: Any) -> None:
            x, y = batch
            logits = self(x)
            self.log(f"{stage}_loss", cross_entropy(logits, y))
            self.log(f"{stage}_acc", (logits.argmax(1) == y).float().mean(), prog_bar=True)

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0]).argmax(1)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)

    def loader(split: Split, train: bool) -> Any:
        data = TensorDataset(torch.from_numpy(split.x), torch.from_numpy(split.y))
        return DataLoader(data, batch_size=BATCH, shuffle=train)

    return Digits(), loader, pl.Trainer


def jax_world() -> tuple[Any, Callable[[Split, bool], Any], type]:
    """The module, a maker of loaders, and the Trainer for JAX."""
    import jax.numpy as jnp
    import optax
    from flax import nnx

    import functrain_jax as fj

    class Network(nnx.Module):
        def __init__(self, hidden: int, dropout: float, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(64, hidden, rngs=rngs)
            self.second = nnx.Linear(hidden, hidden, rngs=rngs)
            self.last = nnx.Linear(hidden, 10, rngs=rngs)
            self.dropout = nnx.Dropout(dropout, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.dropout(nnx.relu(self.first(x)))
            x = self.dropout(nnx.relu(self.second(x)))
            return self.last(x)

    class Digits(fj.Module):
        def __init__(self, hidden: int = HIDDEN, dropout: float = DROPOUT, lr: float = RATE) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = Network(hidden, dropout, nnx.Rngs(SEED))

        def training_step(self, batch: Any, batch_idx: Any) -> Any:
            x, y = batch
            loss = optax.softmax_cross_entropy_with_integer_labels(self.net(x), y).mean()
            self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: Any) -> None:
            self.evaluate("val", batch)

        def test_step(self, batch: Any, batch_idx: Any) -> None:
            self.evaluate("test", batch)

        def evaluate(self, stage: str, batch: Any) -> None:
            x, y = batch
            logits = self.net(x)
            self.log(f"{stage}_loss", optax.softmax_cross_entropy_with_integer_labels(logits, y).mean())
            self.log(f"{stage}_acc", jnp.mean(logits.argmax(1) == y), prog_bar=True)

        def predict_step(self, batch: Any, batch_idx: Any) -> Any:
            return self.net(batch[0]).argmax(1)

        def configure_optimizers(self) -> Any:
            return optax.adamw(self.hparams.lr, weight_decay=1e-2)

    def loader(split: Split, train: bool) -> Any:
        return fj.ArrayLoader((split.x, split.y.astype(np.int32)), batch_size=BATCH, shuffle=train, seed=SEED)

    return Digits(), loader, fj.Trainer


WORLDS = {"torch": torch_world, "jax": jax_world}


class Result(NamedTuple):
    """One row of the table."""

    world: str
    accuracy: float
    updates: int
    seconds: float
    predictions: list[int]


def run(world: str, epochs: int, out: Path) -> Result:
    """Train or continue one world's classifier, then test and predict from its best checkpoint."""
    seed_everything(SEED)
    module, loader, trainer_of = WORLDS[world]()
    train, val, test = digits()
    best = ModelCheckpoint(dirpath=str(out / world / "checkpoints"), monitor="val_acc", mode="max", save_last=True)
    loggers = [
        TensorBoardLogger(str(out), name=world, version="tensorboard"),
        CSVLogger(str(out), name=world, version="csv"),
    ]
    trainer = trainer_of(
        max_epochs=epochs,
        callbacks=[best, LearningRateMonitor()],
        logger=loggers,
        log_every_n_steps=20,
        default_root_dir=str(out),
    )
    last = newest(out / world / "checkpoints")
    print(f"\n{world}: " + (f"continues from {last}" if last else f"starts afresh in {out / world}"))
    started, before = time.perf_counter(), spent(out / world)
    trainer.fit(module, loader(train, True), loader(val, False), ckpt_path=str(last) if last else None)
    seconds = before + time.perf_counter() - started
    (out / world / "seconds.json").write_text(json.dumps(seconds))
    if trainer.interrupted:
        raise SystemExit(f"stopped; run it again to continue from {best.last_model_path}")
    updates = trainer.global_step
    results = trainer.test(dataloaders=loader(test, False), verbose=False)
    predicted = trainer.predict(dataloaders=loader(test, False))
    labels = [int(label) for batch in predicted for label in batch]
    return Result(world, results[0]["test_acc"], updates, seconds, labels)


def newest(folder: Path) -> Path | None:
    """The last checkpoint of an earlier run."""
    found = sorted(folder.glob("last*"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def spent(folder: Path) -> float:
    """Seconds that earlier runs have trained."""
    path = folder / "seconds.json"
    return json.loads(path.read_text()) if path.exists() else 0.0


def picture(out: Path) -> Path:
    """Draw the curves of loss and accuracy of both worlds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for world in WORLDS:
        with (out / world / "csv" / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for axis, metric in zip(axes, ("train_loss_epoch", "val_acc"), strict=True):
            points = [(int(row["step"]), float(row[metric])) for row in rows if row.get(metric)]
            axis.plot(*zip(*points, strict=True), label=world)
            axis.set(xlabel="updates", title=metric)
            axis.legend()
    axes[0].set_yscale("log")
    path = out / "curves.png"
    figure.savefig(path, dpi=120)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--fresh", action="store_true", help="train anew in a folder of its own")
    args = parser.parse_args()
    out, n = args.out, 1
    while args.fresh and out.exists():
        n += 1
        out = args.out.with_name(f"{args.out.name}-{n}")
    results = [run(world, args.epochs, out) for world in WORLDS]
    truth = digits()[2].y
    print(f"\n{'':8}{'test accuracy':>15}{'updates':>10}{'steps/s':>10}{'seconds':>10}")
    for r in results:
        print(f"{r.world:8}{r.accuracy:15.4f}{r.updates:10}{r.updates / r.seconds:10.0f}{r.seconds:10.1f}")
    print(f"\nfirst test digits  {' '.join(str(y) for y in truth[:16])}")
    for r in results:
        print(f"{r.world:<19}{' '.join(map(str, r.predictions[:16]))}")
    print(f"\ncurves: {picture(out)}\nlogs:   tensorboard --logdir {out}")


if __name__ == "__main__":
    main()
