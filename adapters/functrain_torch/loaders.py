"""What the torch adapter knows of loaders."""

from __future__ import annotations

from functrain.trainer import generators
from functrain_torch import data


class TorchLoaders:
    """See `functrain.trainer.reader.LoaderTools`."""

    skip = staticmethod(data.skip)
    shuffles = staticmethod(data.shuffles)
    unshuffled = staticmethod(data.unshuffled)
    ends = staticmethod(data.ends)
    with_indices = staticmethod(data.with_indices)
    loader_rng = staticmethod(generators.loader_rng)
    set_loader_rng = staticmethod(generators.set_loader_rng)
