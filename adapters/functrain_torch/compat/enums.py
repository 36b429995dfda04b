"""Choices of flags as enumerations, by their older names; each member is equal to its string."""

from __future__ import annotations

from enum import StrEnum


class LightningEnum(StrEnum):
    """An enumeration of strings that are compared without regard to case."""

    @classmethod
    def from_str(cls, value: str) -> LightningEnum | None:
        """Return the member of this name or value; None where there is none."""
        return next((each for each in cls if value.lower() in (each.name.lower(), each.value.lower())), None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.value.lower() == str(other).lower()

    def __hash__(self) -> int:
        return hash(self.value.lower())


class AMPType(LightningEnum):
    """Who casts under mixed precision."""

    APEX = "apex"
    NATIVE = "native"


class PrecisionType(LightningEnum):
    """What `precision` may be."""

    HALF = "16"
    FLOAT = "32"
    FULL = "64"
    BFLOAT = "bf16"
    MIXED = "mixed"

    @staticmethod
    def supported_type(precision: str | int) -> bool:
        """Return whether it is one of them."""
        return any(each == str(precision) for each in PrecisionType)

    @staticmethod
    def supported_types() -> list[str]:
        """Return all of them."""
        return [each.value for each in PrecisionType]


class GradClipAlgorithmType(LightningEnum):
    """What `gradient_clip_algorithm` may be."""

    VALUE = "value"
    NORM = "norm"

    @staticmethod
    def supported_type(val: str) -> bool:
        """Return whether it is one of them."""
        return any(each == val for each in GradClipAlgorithmType)

    @staticmethod
    def supported_types() -> list[str]:
        """Return all of them."""
        return [each.value for each in GradClipAlgorithmType]


class ModelSummaryMode(LightningEnum):
    """What `weights_summary` may be."""

    TOP = "top"
    FULL = "full"

    @staticmethod
    def get_max_depth(mode: str) -> int:
        """Return how deep the summary goes; -1 for all.

        Raises:
            ValueError: there is no such mode.
        """
        depths = {"top": 1, "full": -1}
        if mode not in depths:
            raise ValueError(f"mode={mode!r}: must be one of {', '.join(map(repr, depths))}.")
        return depths[mode]

    @staticmethod
    def supported_types() -> list[str]:
        """Return all of them."""
        return [each.value for each in ModelSummaryMode]


class DistributedType(LightningEnum):
    """Ways to train on several devices."""

    DP = "dp"
    DDP = "ddp"
    DDP2 = "ddp2"
    DDP_CPU = "ddp_cpu"
    DDP_SPAWN = "ddp_spawn"
    TPU_SPAWN = "tpu_spawn"


class DeviceType(LightningEnum):
    """Kinds of devices."""

    CPU = "cpu"
    GPU = "gpu"
    TPU = "tpu"
