"""Runs that share a directory, or are killed in it, for real. A script: forks a child for every run and prints JSON.

Importing torch takes seconds, a fork none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch

import functrain_torch as pl
from functrain.callbacks.checkpoint_place import Place
from tests import inside
from tests.callbacks.helpers import Scripted, by_epoch, fit, names
from tests.resume.in_processes import in_child

PAIRS = 6
VALUES = (0.5, 0.4, 0.3, 0.2, 0.1)


class Steep(Scripted):
    """Learns at a rate of its own, so that its weights are told from another's."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__(by_epoch(*VALUES))
        self.lr = lr

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def train(
    directory: str, epochs: int, ckpt_path: str | None = None, lr: float = 0.1, callbacks: Any = (), **arguments: Any
) -> dict[str, Any]:
    save = pl.callbacks.ModelCheckpoint(directory, monitor="val_loss", **arguments)
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[save, *callbacks], logger=False, progress_bar_refresh_rate=0,
        weights_summary=None, num_sanity_val_steps=0,
    )  # fmt: skip
    module = Steep(lr)
    fit(trainer, module, ckpt_path=ckpt_path)
    return {
        "best": save.best_model_path, "last": save.last_model_path, "weight": module.weight.item(),
        "kept": sorted(save.best_k_models), "files": names(directory),
    }  # fmt: skip


def together(works: list[Callable[[Callable[[], None]], Any]]) -> list[Any]:
    """Run each in a child; each is given a function that waits until all have called it."""
    gates = [os.pipe() for _ in works]
    ready = os.pipe()
    results = [os.pipe() for _ in works]
    children = []
    for work, gate, result in zip(works, gates, results, strict=True):
        child = os.fork()
        if not child:

            def wait(gate: tuple[int, int] = gate) -> None:
                os.write(ready[1], b".")
                os.read(gate[0], 1)

            given = in_child(lambda work=work, wait=wait: work(wait))
            os.write(result[1], json.dumps(given).encode())
            os._exit(0)
        children.append(child)
    for _ in works:
        os.read(ready[0], 1)
    for gate in gates:
        os.write(gate[1], b".")
    for child in children:
        os.waitpid(child, 0)
    return [json.loads(os.read(result[0], 1 << 16)) for result in results]


class Waits(pl.Callback):
    """Waits for the other run where training begins, or after so many updates."""

    def __init__(self, wait: Callable[[], None], step: int = 0) -> None:
        self.wait, self.step = wait, step

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not self.step:
            self.wait()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if self.step and trainer.global_step == self.step:
            self.wait()


def pairs(directory: str) -> list[str]:
    """Pairs of runs started together in one directory: what is wrong in the end?"""
    wrong: list[str] = []
    for i in range(PAIRS):
        place = f"{directory}/{i}"
        works = [
            lambda wait, place=place, lr=lr: train(
                place, 3, lr=lr, callbacks=[Waits(wait)], save_last=True, save_top_k=2
            )
            for lr in (0.1, 0.01)
        ]
        found = together(works)
        paths = [{*given["kept"], given["last"]} for _, given in found if isinstance(given, dict)]
        if len(paths) != 2:
            return [f"pair {i}: {found}"]
        wrong += [f"pair {i}: both have {path}" for path in paths[0] & paths[1]]
        for _, given in found:
            for path in (given["best"], given["last"]):
                weight = inside.read(path)["state_dict"]["weight"].item()
                wrong += [] if weight == given["weight"] else [f"pair {i}: {path} holds the other's weights"]
        expected = sorted(os.path.basename(path) for path in paths[0] | paths[1])
        wrong += [] if names(place) == expected else [f"pair {i}: {names(place)} instead of {expected}"]
    return wrong


def continued_twice(directory: str) -> list[str]:
    """One checkpoint continued by two living processes in its directory."""
    _, first = in_child(lambda: train(directory, 2, save_last=True))
    works = [
        lambda wait, lr=lr: train(directory, 4, first["last"], lr, [Waits(wait)], save_last=True) for lr in (0.1, 0.01)
    ]
    found = [given for _, given in together(works)]
    if not all(isinstance(given, dict) for given in found):
        return [str(found)]
    wrong = [] if found[0]["last"] != found[1]["last"] else ["both have one 'last'"]
    for given in found:
        for path in (given["best"], given["last"]):
            weight = inside.read(path)["state_dict"]["weight"].item()
            wrong += [] if weight == given["weight"] else [f"{path} holds the other's weights"]
    return wrong


def while_alive(directory: str) -> list[str]:
    """A run is continued from its checkpoint while it still trains: its files stay its own."""
    reading, writing = os.pipe()

    def first(wait: Callable[[], None]) -> dict[str, Any]:
        def half() -> None:
            os.write(writing, b".")
            wait()

        return train(directory, 4, callbacks=[Waits(half, step=8)], save_last=True)

    def second(wait: Callable[[], None]) -> dict[str, Any]:
        os.read(reading, 1)
        given = train(directory, 3, f"{directory}/last.ckpt", 0.01, save_last=True)
        wait()
        return given

    (_, one), (_, two) = together([first, second])
    if not isinstance(one, dict) or not isinstance(two, dict):
        return [str((one, two))]
    wrong = [f"both have {path}" for path in {*one["kept"], one["last"]} & {*two["kept"], two["last"]}]
    for given in (one, two):
        for path in (given["best"], given["last"]):
            weight = inside.read(path)["state_dict"]["weight"].item()
            wrong += [] if weight == given["weight"] else [f"{path} holds the other's weights"]
    return wrong


def killed_before_removal(directory: str, source: str) -> dict[str, Any]:
    """Killed when the second best is written and the first still there; then continued from `source`."""

    def work() -> Any:
        remove, seen = Place.remove, []

        def kills(self: Place, path: str) -> None:
            seen.append(path)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            remove(self, path)

        Place.remove = kills  # type: ignore[method-assign]
        return train(directory, 5, save_last=True)

    ended, _ = in_child(work)
    left = [name for name in names(directory) if not name.startswith(".")]
    _, given = in_child(lambda: train(directory, 5, f"{directory}/{source}", save_last=True))
    return {"ended": ended, "left": left, "given": given}


def main(directory: str) -> None:
    torch.set_num_threads(1)
    train(f"{directory}/first", 1)  # here, so that what torch imports at its first step is there for all children
    results = {
        "pairs": pairs(f"{directory}/pairs"),
        "continued twice": continued_twice(f"{directory}/twice"),
        "while alive": while_alive(f"{directory}/alive"),
        "whole": in_child(lambda: train(f"{directory}/whole", 5, save_last=True))[1],
    }
    for source in ("epoch=2-step=12.ckpt", "last.ckpt"):
        results[f"killed {source}"] = killed_before_removal(f"{directory}/killed-{source}", source)
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
