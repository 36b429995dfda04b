"""The bar that TQDMProgressBar draws with; imports tqdm."""

from __future__ import annotations

from tqdm import tqdm


class Tqdm(tqdm):
    """A tqdm that has no thread beside it: nothing here waits for one that redraws slow bars."""

    monitor_interval = 0
