"""A fast_dev_run runs every stage, whatever other flags say of limits and intervals."""

from typing import Any

import pytest

from tests.adapters.torch.small import Validated, batches, stream, trainer


class Model(Validated):
    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.stages.append("train")

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.stages.append("validation")


@pytest.mark.parametrize("loader", [batches, stream])
@pytest.mark.parametrize("n", [True, 2])
@pytest.mark.parametrize(
    "flags",
    [
        {"check_val_every_n_epoch": 5},
        {"val_check_interval": 3},
        {"val_check_interval": 0.25},
        {"max_steps": 1},
        {"max_epochs": 0},
        {"accumulate_grad_batches": 4},
    ],
)
def test_a_fast_dev_run_trains_and_validates(flags: dict[str, Any], n: bool | int, loader: Any):
    model = Model()
    run = trainer(fast_dev_run=n, **flags)
    run.fit(model, loader(6), batches(6))
    assert model.stages == ["train"] * n + ["validation"] * n
    assert (run.current_epoch, run.check_val_every_n_epoch, run.val_check_interval) == (1, 1, 1.0)
