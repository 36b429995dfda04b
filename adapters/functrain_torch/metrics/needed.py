"""Is torchmetrics there? Imported before anything that imports it."""

from __future__ import annotations

from importlib.util import find_spec

from functrain.trainer.errors import ConfigurationError

if find_spec("torchmetrics") is None:
    raise ConfigurationError(
        "functrain_torch.metrics: torchmetrics computes these, and is not installed: pip install torchmetrics "
        "(or pip install 'functrain[torch]')."
    )
