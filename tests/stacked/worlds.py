"""One small model with noise, statistics and metrics, in torch and in JAX, and a loader that shuffles."""

from __future__ import annotations

from typing import Any

import numpy as np

BATCHES, SIZE = 6, 4


class Shuffled:
    """Batches in an order that is drawn anew for every epoch, by the global generator and by one of its own."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.generator = np.random.default_rng(3)
        self.data = np.random.default_rng(0).normal(size=(BATCHES * SIZE, 2)).astype(np.float32)

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Any:
        order = np.random.permutation(self.generator.permutation(len(self.data)))
        for i in range(BATCHES):
            yield self.array(self.data[order[i * SIZE : (i + 1) * SIZE]])


class WithPlace(Shuffled):
    """The same, but that it tells its place by itself, and has only one."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self.order: list[int] = []
        self.next = 0

    def __iter__(self) -> Any:
        if self.next in (0, BATCHES):
            self.order, self.next = self.generator.permutation(len(self.data)).tolist(), 0
        while self.next < BATCHES:
            i, self.next = self.next, self.next + 1
            yield self.array(self.data[self.order[i * SIZE : (i + 1) * SIZE]])

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order, "next": self.next}

    def load_state_dict(self, state_dict: Any) -> None:
        self.order, self.next = list(state_dict["order"]), state_dict["next"]


class Torch:
    """The world of torch."""

    def __init__(self) -> None:
        import torch
        import torchmetrics

        import functrain_torch

        class Module(functrain_torch.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(5)
                self.net = torch.nn.Sequential(
                    torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1)
                )
                self.frozen = torch.nn.Linear(1, 1).requires_grad_(False)
                self.seen = torchmetrics.MeanMetric()
                self.net[1].eval()

            def training_step(self, batch, batch_idx):
                loss = (self.frozen(self.net(batch)) ** 2).mean()
                self.log("loss", loss, on_epoch=True)
                self.seen.update(loss.detach())
                self.log("seen", self.seen, on_step=False, on_epoch=True)
                return loss

            def validation_step(self, batch, batch_idx):
                self.log("val_loss", self.net(batch).mean())

            def configure_optimizers(self):
                optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
                return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

        self.package, self.Module, self.array = functrain_torch, Module, torch.from_numpy

    def weights(self, module: Any) -> dict[str, Any]:
        return {name: value.clone().numpy() for name, value in module.state_dict().items()}


class Jax:
    """The world of JAX."""

    def __init__(self) -> None:
        import optax
        from flax import nnx

        import functrain_jax

        class Module(functrain_jax.Module):
            def __init__(self) -> None:
                rngs = nnx.Rngs(5)
                self.first, self.norm = nnx.Linear(2, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)
                self.dropout, self.last = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(3, 1, rngs=rngs)
                self.norm.eval()

            def loss(self, batch):
                return (self.last(self.dropout(self.norm(self.first(batch)))) ** 2).mean()

            def training_step(self, batch, batch_idx):
                loss = self.loss(batch)
                self.log("loss", loss, on_epoch=True)
                return loss

            def validation_step(self, batch, batch_idx):
                self.log("val_loss", self.loss(batch))

            def configure_optimizers(self):
                return optax.adam(optax.exponential_decay(0.1, 2, 0.5))

        self.package, self.Module, self.array = functrain_jax, Module, lambda array: array

    def weights(self, module: Any) -> dict[str, Any]:
        import jax
        from flax import nnx

        parts = {name: nnx.state(getattr(module, name)) for name in ("first", "norm", "dropout", "last")}
        leaves = jax.tree_util.tree_leaves_with_path(parts)
        return {
            jax.tree_util.keystr(path): np.asarray(
                jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
            )
            for path, leaf in leaves
        }


WORLDS = {"torch": Torch, "jax": Jax}
