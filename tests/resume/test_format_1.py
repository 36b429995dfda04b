"""A checkpoint of format 1, whose places were numbers and whose clock had turned before an epoch's last events."""

from typing import Any

import torch

from functrain.trainer.callback import Callback
from tests import inside
from tests.adapters.torch.small import Validated, batches, same, trainer


class Stops(Callback):
    """Saves at an epoch's end, and counts the stops it was asked about."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.asked: list[Any] = []

    def state_dict(self) -> dict[str, Any]:
        return {"asked": len(self.asked)}

    def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
        if self.path is not None and moment == "epoch" and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)

    def should_stop(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.asked.append((moment, trainer.current_epoch))


def as_format_1(saved: dict[str, Any]) -> dict[str, Any]:
    """What format 1 wrote at this place."""
    clock = {**saved["clock"], "epoch": saved["clock"]["epoch"] + 1, "batch": 0}
    loop = {
        **saved["loop"],
        "position": ["epoch", 8],
        "in_epoch": False,
        "source": {"cursor": None, "loader_rng": None},
    }
    return {**saved, "functrain": {**saved["functrain"], "format": 1}, "epoch": 1, "clock": clock, "loop": loop}


def test_a_run_continues_from_an_epochs_end_of_format_1(tmp_path: Any):
    path = str(tmp_path / "a.ckpt")
    torch.manual_seed(0)
    whole, saves = Validated(), Stops(path)
    run = trainer(max_epochs=3, callbacks=saves)
    run.fit(whole, batches(3), batches(1))
    inside.write(path, as_format_1(inside.read(path)))
    model, stops = Validated(), Stops()
    again = trainer(max_epochs=3, callbacks=stops)
    again.fit(model, batches(3), batches(1), ckpt_path=path)
    assert same(model, whole)
    assert stops.asked == saves.asked == [("epoch", 0), ("epoch", 1), ("epoch", 2)]
    assert inside.clock(again) == inside.clock(run)
