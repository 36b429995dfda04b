"""A checkpoint of format 1, whose places were numbers and whose clock had turned before an epoch's last events."""

from typing import Any

import pytest
import torch

from functrain.trainer.callback import Callback
from functrain.trainer.errors import CheckpointError
from functrain.trainer.events import Moment
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


@pytest.mark.parametrize("place", [["epoch", "yet to come"], ["yet to come", "stop"], ["batch", 7]])
def test_a_place_that_this_version_does_not_know_is_told_with_its_file(tmp_path: Any, place: list[Any]):
    path = str(tmp_path / "a.ckpt")
    trainer(max_epochs=3, callbacks=Stops(path)).fit(Validated(), batches(3), batches(1))
    saved = inside.read(path)
    inside.write(path, {**saved, "loop": {**saved["loop"], "position": place}})
    with pytest.raises(CheckpointError, match=rf"a\.ckpt: .*its place is .*{place[1]}"):
        trainer(max_epochs=3).fit(Validated(), batches(3), batches(1), ckpt_path=path)


class Tells(Callback):
    """Keeps where each moment says that the run was."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def every_n_updates(self) -> int:
        return 2

    def checkpoint(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        self.told.append((moment.kind, moment.before[:3], moment.now[:3]))


def test_a_callback_is_told_from_where_to_where_the_run_went(monkeypatch: Any):
    inside.look_up_at_events_only(monkeypatch)
    tells = Tells()
    trainer(max_epochs=2, callbacks=tells).fit(Validated(), batches(3), batches(1))
    assert [told for told in tells.told if told[0] == "steps"] == [
        ("steps", (0, 0, 0), (0, 2, 2)),
        ("steps", (1, 0, 3), (1, 1, 4)),
        ("steps", (1, 1, 4), (1, 3, 6)),
    ]
