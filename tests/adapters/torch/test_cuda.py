"""What only a CUDA device shows: the device is chosen, batches go there, a skipped update needs no wait for it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from functrain.kernel import ScaleRule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]


class Line(pl.LightningModule):
    def __init__(self, fused: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.fused = fused
        self.devices: set[str] = set()

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.devices |= {x.device.type, self.layer.weight.device.type}
        loss = (self.layer(x)[:, 0] - y).square().mean()
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05, fused=self.fused)


def loader() -> DataLoader:
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1)), batch_size=32, pin_memory=True)


def trained(module: pl.LightningModule, tmp_path, **flags) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=20, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None,
        default_root_dir=str(tmp_path), **flags,
    )  # fmt: skip
    trainer.fit(module, loader())
    return trainer


@pytest.mark.parametrize("precision", [32, 16, "bf16"])
@pytest.mark.parametrize("flags", [{"gpus": 1}, {"accelerator": "gpu"}, {"accelerator": "auto"}])
def test_it_trains_there(tmp_path, precision, flags):
    module = Line()
    trainer = trained(module, tmp_path, precision=precision, **flags)
    assert module.devices == {"cuda"}
    assert trainer.callback_metrics["loss_epoch"] < 0.2


@pytest.mark.parametrize("fused", [False, True])
def test_an_overflow_skips_the_update(fused):
    weight = torch.ones(3, device="cuda")
    init, step, _ = pl.make_step(
        lambda params, x: (params["w"] * x).sum(),
        lambda params: torch.optim.Adam(params, lr=0.1, fused=fused),
        loss_scale=ScaleRule(init=4.0),
    )
    state = init({"w": weight})
    state, report = step(state, torch.full((3,), float("inf"), device="cuda"))
    assert not bool(report.finite)
    assert torch.equal(state.params["w"].detach(), weight)
    assert float(state.players[0].scale.value) == 2.0
    state, report = step(state, torch.ones(3, device="cuda"))
    assert bool(report.finite)
    assert not torch.equal(state.params["w"].detach(), weight)


def test_nothing_in_a_plain_step_waits_for_the_device():
    init, step, _ = pl.make_step(
        lambda params, x: (params["w"] * x).square().sum(), lambda p: torch.optim.SGD(p, lr=0.1), clip_norm=1.0
    )
    state = init({"w": torch.ones(3, device="cuda")})
    batch = torch.ones(3, device="cuda")
    state, _ = step(state, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            state, _ = step(state, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(state.clock.update) == 4
