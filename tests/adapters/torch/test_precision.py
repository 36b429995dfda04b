"""precision: what runs in which dtype, really, on the CPU; the loss scale; deterministic."""

import copy
from typing import Any

import pytest
import torch

import functrain_torch as pl
from tests import inside
from tests.adapters.torch.small import Net, Validated, batches, same, trainer, validation


class Watching(Validated):
    """Keeps the dtypes that it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[Any] = set()

    def loss(self, batch: Any) -> Any:
        hidden = self.net[0](batch[0])
        self.seen.add((batch[0].dtype, batch[1].dtype, self.net[0].weight.dtype, hidden.dtype))
        return super().loss(batch)


DTYPES = {
    32: (torch.float32, torch.int64, torch.float32, torch.float32),
    64: (torch.float64, torch.int64, torch.float64, torch.float64),
    "bf16": (torch.float32, torch.int64, torch.float32, torch.bfloat16),
    16: (torch.float32, torch.int64, torch.float32, torch.float16),
    "bf16-true": (torch.bfloat16, torch.int64, torch.bfloat16, torch.bfloat16),
    "16-true": (torch.float16, torch.int64, torch.float16, torch.float16),
}


def fitted(model: pl.LightningModule, epochs: int = 2, n: int = 5, **flags: Any) -> pl.Trainer:
    run = trainer(max_epochs=epochs, **flags)
    run.fit(model, batches(n), validation(model, batches(1)))
    return run


@pytest.mark.parametrize(("flag", "means"), [(32, 32), ("32", 32), (64, 64), ("64-true", 64), ("bf16", "bf16"),
                                             ("bf16-mixed", "bf16"), (16, 16), ("16-mixed", 16),
                                             ("bf16-true", "bf16-true"), ("16-true", "16-true")])  # fmt: skip
def test_dtypes(flag: Any, means: Any):
    model = Watching()
    run = fitted(model, precision=flag)
    run.test(model, batches(1), verbose=False)
    assert model.seen == {DTYPES[means]}
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_double_is_a_loop_in_double():
    model = Net()
    other = copy.deepcopy(model).double()
    optimizer = other.configure_optimizers()
    for _ in range(2):
        for x, y in batches(5):
            optimizer.zero_grad()
            other.loss((x.double(), y)).backward()
            optimizer.step()
    fitted(model, precision=64)
    assert same(model, other)


def test_bf16_is_a_loop_under_autocast():
    model = Net()
    other = copy.deepcopy(model)
    optimizer = other.configure_optimizers()
    for _ in range(2):
        for batch in batches(5):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = other.loss(batch)
            loss.backward()
            optimizer.step()
    fitted(model, precision="bf16")
    assert same(model, other)


@pytest.mark.parametrize("flags", [{}, {"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 2}])
def test_half_is_near_to_full_precision(flags: dict[str, Any]):
    """Whatever the loss scale, what reaches the optimizer is unscaled."""
    full, half = Net(), Net()
    half.load_state_dict(full.state_dict())
    fitted(full, **flags)
    run = fitted(half, precision=16, **flags)
    assert inside.loss_scales(run) == [2.0**16]
    torch.testing.assert_close(full.state_dict(), half.state_dict(), rtol=0.05, atol=5e-3)


class Bursting(Net):
    """One batch's loss overflows."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return loss * float("inf") if batch_idx == 2 else loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), 0.1)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5), "interval": "step"}]


def test_an_overflow_skips_the_update():
    """Neither weights nor the optimizer's state nor its scheduler move; the scale backs off; it is counted."""
    model, weights = Bursting(), []
    model.on_train_batch_end = lambda: weights.append(copy.deepcopy(model.state_dict()))
    run = fitted(model, epochs=1, precision=16)
    assert torch.equal(weights[1]["net.0.weight"], weights[2]["net.0.weight"])
    assert not torch.equal(weights[2]["net.0.weight"], weights[3]["net.0.weight"])
    optimizer = inside.optimizers(run)[0]
    assert optimizer.state[model.net[0].weight]["step"] == 4
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)
    assert inside.loss_scales(run) == [2.0**15]
    assert (run.global_step, inside.clock(run).skipped) == (5, 1)


def test_a_hook_sees_unscaled_gradients():
    norms: dict[Any, float] = {}

    class Looking(Net):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            norms.setdefault(self.precision, self.net[0].weight.grad.norm().item())

    full = Looking()
    half = copy.deepcopy(full)
    fitted(full)
    fitted(half, precision=16)
    assert norms[16] == pytest.approx(norms[32], rel=0.05)


def test_predictions_run_in_the_precision():
    loader = torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2)
    assert trainer(precision="bf16").predict(Net(), loader)[0].dtype == torch.bfloat16


def test_an_unknown_precision_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"Trainer\(precision=8\): must be one of 64, 32, 16"):
        trainer(precision=8)


@pytest.fixture
def torch_settings():
    """What `deterministic` changes, put back after the test."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = False


def test_deterministic(torch_settings: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HOROVOD_FUSION_THRESHOLD", raising=False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    import os

    models = []
    for _ in range(2):
        pl.seed_everything(7)
        models.append(Net(dropout=0.5))
        run = trainer(max_epochs=2, deterministic=True)
        run.fit(models[-1], batches(4, shuffle=True))
    assert same(*models)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert os.environ["HOROVOD_FUSION_THRESHOLD"] == "0"


def test_benchmark(torch_settings: None):
    trainer(max_epochs=1, benchmark=True).fit(Net(), batches(1))
    assert torch.backends.cudnn.benchmark
    with pytest.raises(pl.ConfigurationError, match=r"Trainer\(deterministic=True, benchmark=True\)"):
        trainer(deterministic=True, benchmark=True)
