"""What the metric classes of older generations have in common.

Annotations are real types here and in the classes: TorchScript reads them where a module that holds a metric is
exported.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class OlderMetric(Metric):
    """A metric that takes `compute_on_step`, and what every metric of torchmetrics takes.

    Args:
        compute_on_step: calling it returns the value of the batch; False: only takes the batch in.
        kwargs: `dist_sync_on_step`, `process_group`, `dist_sync_fn` and the like.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, compute_on_step: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compute_on_step = compute_on_step

    @torch.jit.unused
    def forward(self, preds: Tensor, target: Tensor) -> Any:
        """Take a batch in; return its value, or None where that is not wanted."""
        if self.compute_on_step:
            return super().forward(preds, target)
        self.update(preds, target)
        return None

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch in."""
        raise NotImplementedError

    def compute(self) -> Any:
        """Return the value of what was taken in since the last reset."""
        raise NotImplementedError
