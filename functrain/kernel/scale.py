"""The loss scale as a value, and the one scalar that a gradient sum is multiplied by. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from functrain.kernel.backend import Backend
from functrain.kernel.state import Accumulator, LossScale, Scalar

INF = float("inf")

# What torch.nn.utils.clip_grad_norm_ adds to the norm; the same here, so that runs compare bit for bit.
CLIP_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """How a loss scale moves: up after `interval` finite updates in a row, down after one that is not.

    Attributes:
        init: the first scale.
        growth: what it is multiplied by when it moves up.
        backoff: what it is multiplied by when it moves down.
        interval: so many finite updates in a row move it up.
        minimum, maximum: it stays between them.

    Reference: Micikevicius et al., Mixed Precision Training, 2018, section 3.2
    (https://arxiv.org/abs/1710.03740).
    """

    init: float = 2.0**16
    growth: float = 2.0
    backoff: float = 0.5
    interval: int = 2000
    minimum: float = 2.0**-20
    maximum: float = 2.0**60

    def __post_init__(self) -> None:
        moves = self.growth >= 1.0 and 0.0 < self.backoff <= 1.0 and self.interval >= 1
        if not (moves and 0.0 < self.minimum <= self.init <= self.maximum):
            raise ValueError(
                f"{self}: growth must be >= 1, backoff in (0, 1], interval >= 1, and 0 < minimum <= init <= maximum."
            )


@dataclass(frozen=True, slots=True)
class Clip:
    """How a player's gradients are bounded.

    Attributes:
        norm: the largest norm of the whole gradient; None leaves it.
        value: the largest absolute value of each component; None leaves it.
        p: which norm; 2.0 is the Euclidean, inf the largest absolute component.
    """

    norm: float | None = None
    value: float | None = None
    p: float = 2.0

    def __post_init__(self) -> None:
        for name in ("norm", "value"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise ValueError(f"Clip({name}={bound!r}): a bound must be > 0; None leaves gradients unclipped.")


def gradient_factor(
    backend: Backend[Any], clip: Clip, acc: Accumulator, scale: LossScale | None, skip_nonfinite: bool = False
) -> tuple[Scalar, Scalar, Scalar | None]:
    """Return the factor that unscales, takes the mean and clips in one go: `clip(norm) / (weight * scale)`.

    Args:
        acc: the closed window, already summed over replicas.
        scale: the player's loss scale; None is a scale of 1.
        skip_nonfinite: look for non-finite gradients even without a loss scale.

    Returns:
        (factor, finite, norm): the scalar to multiply the gradient sum with; whether the update may happen;
        the norm of the mean gradient before clipping, None where nobody needs it.

    Reference: Pascanu et al., On the difficulty of training recurrent neural networks, 2013, algorithm 1.
    """
    # A sum that weighs nothing is zero: any divisor will do but 0, which would turn parameters into NaN.
    weight = acc.weight + (acc.weight == 0)
    divisor = weight if scale is None else weight * scale.value
    guarded = scale is not None or skip_nonfinite
    if clip.norm is None:
        # The largest component says all that is asked here, and cannot overflow by itself.
        factor = 1.0 / divisor
        return factor, backend.isfinite(backend.norm(acc.grads, INF) * factor) if guarded else True, None
    norm = backend.norm(acc.grads, clip.p) / divisor
    finite = backend.isfinite(norm) if guarded else True
    coefficient = -backend.maximum(-(clip.norm / (norm + CLIP_EPS)), -1.0)
    return coefficient / divisor, finite, norm


def next_scale(backend: Backend[Any], rule: ScaleRule, scale: LossScale, finite: Scalar) -> LossScale:
    """Return the loss scale after an update that was finite or not.

    Args:
        rule: how it moves.
        scale: the scale of the update.
    """
    good = backend.select(finite, scale.good + 1, scale.good * 0)
    grows = good == rule.interval
    grown = backend.select(grows, scale.value * rule.growth, scale.value)
    value = backend.select(finite, grown, scale.value * rule.backoff)
    bounded = -backend.maximum(-backend.maximum(value, rule.minimum), -rule.maximum)
    return LossScale(bounded, backend.select(grows, good * 0, good))
