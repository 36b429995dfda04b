"""Modules of one weight that starts at 0, in torch and in JAX: tests for both worlds mix their steps into them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
import torch

import functrain_jax as ft
import functrain_torch as pl


class TorchWeight(pl.LightningModule):
    """Plain descent at `rate`."""

    rate = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))

    def weight(self) -> Any:
        return self.w

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class JaxWeight(ft.Module):
    """Plain descent at `rate`."""

    rate = 0.1

    def __init__(self) -> None:
        self.params = {"w": jnp.zeros(())}

    def weight(self) -> Any:
        return self.params["w"]

    def configure_optimizers(self) -> Any:
        return optax.sgd(self.rate)
