"""torch's global generators, for seed_everything and for checkpoints."""

from __future__ import annotations

import zlib
from typing import Any

import torch

from functrain.seed import register_rng, register_seeder
from functrain.trainer.generators import register_kind


def register() -> None:
    """Make `functrain.seed` and `functrain.trainer.generators` know of torch."""
    register_seeder("torch", _seed)
    register_rng("torch", _state, _set_state, _digest)
    register_kind(
        torch.Generator,
        lambda generator: generator.get_state().numpy().tobytes().hex(),
        lambda generator, state: generator.set_state(_tensor(state)),
    )


def _seed(seed: int) -> None:
    torch.manual_seed(seed)  # CUDA's generators too


def _state() -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state().numpy().tobytes().hex()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = [s.numpy().tobytes().hex() for s in torch.cuda.get_rng_state_all()]
    return state


def _digest() -> int:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    start = 0
    for state in (torch.get_rng_state(), *cuda):
        start = zlib.crc32(state.numpy().tobytes(), start)
    return start


def _set_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(_tensor(state["cpu"]))
    if "cuda" in state and torch.cuda.is_available():
        for device, s in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(_tensor(s), device)


def _tensor(raw: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(raw), dtype=torch.uint8)
