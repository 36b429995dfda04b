"""Uses the installed wheel from outside of the checkout: `python -I wheel_smoke.py functrain-0.1.0-....whl`.

Run by wheel_check.sh in an empty environment; not a test module, since pytest is not installed there.
"""

import os
import sys
import tempfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

PACKAGES = {"functrain", "functrain_torch", "functrain_jax"}


def check_contents(wheel: str) -> None:
    """The wheel holds our packages, typed, with the licence, and nothing else."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    metadata = {name for name in top if name.endswith(".dist-info")}
    assert top - metadata == PACKAGES, f"top-level names in the wheel: {sorted(top)}"
    for package in PACKAGES:
        assert f"{package}/py.typed" in names, f"{package} has no py.typed"
    assert any(name.endswith("licenses/LICENSE") for name in names), "no licence in the wheel"


def check_installed() -> None:
    """What is imported is what was installed, and the core loads no framework."""
    import functrain

    assert Path(functrain.__file__).is_relative_to(sys.prefix), functrain.__file__
    assert functrain.__version__ == distribution("functrain").version
    assert not {"torch", "jax"} & set(sys.modules)


def check_torch() -> None:
    """A fit in torch learns a line, and its checkpoint can be loaded."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    import functrain_torch as pl

    class Line(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = torch.nn.functional.mse_loss(self.layer(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3)

    pl.seed_everything(1)
    x = torch.linspace(-1, 1, 64)[:, None]
    loader = DataLoader(TensorDataset(x, 2 * x + 1), batch_size=16, shuffle=True)
    model = Line()
    trainer = pl.Trainer(max_epochs=20, accumulate_grad_batches=2, progress_bar_refresh_rate=0)
    trainer.fit(model, loader)
    trainer.save_checkpoint("line.ckpt")
    assert trainer.global_step == 40
    again = Line.load_from_checkpoint("line.ckpt")
    torch.testing.assert_close(again.layer.weight, torch.tensor([[2.0]]), atol=0.1, rtol=0.0)
    torch.testing.assert_close(again.layer.bias, torch.tensor([1.0]), atol=0.1, rtol=0.0)


def check_jax() -> None:
    """A fit in JAX learns the same line."""
    import jax.numpy as jnp
    import numpy as np
    import optax

    import functrain_jax

    def loss_fn(params, batch):
        x, y = batch
        return jnp.mean((x * params["w"] + params["b"] - y) ** 2)

    init, step, _ = functrain_jax.make_step(loss_fn, optax.sgd(0.3), accumulate=2)
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    state = init({"w": jnp.zeros(()), "b": jnp.zeros(())})
    for _ in range(40):
        state, report = step(state, (x, 2 * x + 1))
    assert float(report.loss) < 1e-2
    assert abs(float(state.params["w"]) - 2) < 0.1


if __name__ == "__main__":
    check_contents(sys.argv[1])
    check_installed()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where logs and checkpoints go
        check_torch()
        check_jax()
        os.chdir("/")
    print("the wheel works:", ", ".join(sorted(PACKAGES)))
