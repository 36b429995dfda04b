"""The text of a program's module, which every world reads with its own arrays: steps, logs, loaders.

Uses only what the arrays of all worlds have in common: operators and methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.worlds.observe import Planned, Record, press_ctrl_c, with_signature
from tests.worlds.program import Loader, Program, batch_of

Convert = Callable[[Any], Any]
"""Makes a world's batch of numpy arrays."""


class Batches:
    """A loader without a length."""

    def __init__(self, program: Program, loader: Loader, number: int, call: int, convert: Convert) -> None:
        self.of = loader
        self.batches = [convert(batch_of(program, loader, number, call, i)) for i in range(len(loader.sizes))]
        self.drawn = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.drawn += 1
            if self.drawn - 1 == self.of.fails_at:
                raise Planned("the loader fails")
            if self.drawn - 1 == self.of.stops_at:
                press_ctrl_c()
            yield batch


class SizedBatches(Batches):
    """A loader with a length."""

    def __len__(self) -> int:
        return len(self.batches)


def loader_of(program: Program, loader: Loader, number: int, call: int, convert: Convert) -> Any:
    """The loader that the program describes."""
    made = (Batches if loader.kind == "unsized" else SizedBatches)(program, loader, number, call, convert)
    return made.batches if loader.kind == "list" else made


def module_members(program: Program, record: Record, convert: Convert, tanh: Callable[[Any], Any]) -> dict[str, Any]:
    """The methods of a module's class but for its construction, its optimizers and its recorded hooks."""
    members: dict[str, Any] = {
        "log_all": lambda self, hook, values: log_all(self, program, hook, values),
        "training_step": _training_step(program, tanh),
        "predict_step": with_signature(_arguments(program), lambda self, a: predicted(self, program, tanh, a)[0]),
    }
    if program.val:
        for stage in ("validation", "test"):
            members[f"{stage}_step"] = _evaluation_step(program, stage, tanh)
    if program.given == "module":
        members.update(_loaders(program, record, convert))
    return members


def log_all(module: Any, program: Program, hook: str, values: dict[str, Any]) -> None:
    """What the program logs in this hook."""
    for log in program.logs:
        if log.hook == hook:
            value = values[log.value] if log.value != "epoch" else module.current_epoch * 1.0
            module.log(log.name, value, **log.options())


def predicted(
    module: Any, program: Program, tanh: Callable[[Any], Any], arguments: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """(prediction, target, inputs) of one batch."""
    batch = arguments["batch"]
    x, y = batch if isinstance(batch, tuple | list) else (batch["x"], batch["y"])
    weights = module.weights()
    out = x @ weights["first"]["w"] + weights["first"]["b"]
    if program.model == "mlp":
        out = tanh(out) @ weights["second"]["w"] + weights["second"]["b"]
    return out[..., 0], y, x


def _training_step(program: Program, tanh: Callable[[Any], Any]) -> Callable[..., Any]:
    names = ["batch", "batch_idx"]
    if program.several:
        names.append("optimizer_idx")
    if program.model == "recurrent":
        names.append("hiddens")

    def call(self: Any, arguments: dict[str, Any]) -> Any:
        out, y, x = predicted(self, program, tanh, arguments)
        if arguments.get("hiddens") is not None:
            out = out + 0.5 * arguments["hiddens"][:, None]
        if arguments.get("optimizer_idx"):
            y = y * 0.5
        loss = ((out - y) ** 2).mean()
        self.log_all("training_step", {"loss": loss, "mean": x.mean(), "index": arguments["batch_idx"] * 1.0})
        if program.returns == "loss" and program.model != "recurrent":
            return loss
        given = {"loss": loss}
        if program.returns == "weighted":
            given["weight"] = x.shape[0] * 1.0
        if program.model == "recurrent":
            given["hiddens"] = out[:, -1]
        return given

    return with_signature(tuple(names), call)


def _evaluation_step(program: Program, stage: str, tanh: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(self: Any, arguments: dict[str, Any]) -> Any:
        out, y, x = predicted(self, program, tanh, arguments)
        loss = ((out - y) ** 2).mean()
        self.log_all(f"{stage}_step", {"loss": loss, "mean": x.mean(), "index": arguments["batch_idx"] * 1.0})
        return loss

    return with_signature(_arguments(program), call)


def _arguments(program: Program) -> tuple[str, ...]:
    """Of a step of evaluation."""
    return ("batch", "batch_idx", "dataloader_idx") if len(program.val) > 1 else ("batch", "batch_idx")


def _loaders(program: Program, record: Record, convert: Convert) -> dict[str, Any]:
    asked = {"train": -1, "val": -1}

    def train(self: Any) -> Any:
        asked["train"] += 1
        record.see("module train_dataloader")
        return loader_of(program, program.train, 0, asked["train"], convert)

    def val(self: Any) -> Any:
        asked["val"] += 1
        record.see("module val_dataloader")
        return [loader_of(program, each, 1 + i, asked["val"], convert) for i, each in enumerate(program.val)]

    return {"train_dataloader": train, **({"val_dataloader": val} if program.val else {})}
