"""Ways to train on several devices, which this version does not have: scripts may import them, and an instance is an
error that says so."""

from __future__ import annotations

from typing import Any

from functrain.trainer.errors import ConfigurationError


class Unavailable:
    """Refuses to be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ConfigurationError(
            f"{type(self).__name__}: this version runs on one device in one process; leave strategy and plugins out, "
            "or give strategy='auto'."
        )


class Strategy(Unavailable):
    """How the processes of a run work together."""


class SingleDeviceStrategy(Strategy):
    """One device of one's own choice; see Trainer(accelerator=...) and Trainer(gpus=...)."""


class ParallelStrategy(Strategy):
    """Several devices."""


class DDPStrategy(ParallelStrategy):
    """A process a device, with the gradients averaged."""


class FSDPStrategy(ParallelStrategy):
    """A process a device, with the weights in parts."""


class DeepSpeedStrategy(ParallelStrategy):
    """By the package deepspeed."""


class DDPPlugin(ParallelStrategy):
    """The older name of DDPStrategy."""


class DeepSpeedPlugin(ParallelStrategy):
    """The older name of DeepSpeedStrategy."""


class ClusterEnvironment(Unavailable):
    """What tells a process its place among the others."""


class LightningEnvironment(ClusterEnvironment):
    """Processes that the Trainer starts."""


class SLURMEnvironment(ClusterEnvironment):
    """Processes that SLURM starts."""


class TorchElasticEnvironment(ClusterEnvironment):
    """Processes that torchrun starts."""
