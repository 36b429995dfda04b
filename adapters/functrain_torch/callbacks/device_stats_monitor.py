"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks.device_stats_monitor import DeviceStatsMonitor as DeviceStatsMonitor
from functrain.callbacks.device_stats_monitor import prefix_metric_keys as prefix_metric_keys

__all__ = [
    "DeviceStatsMonitor",
    "prefix_metric_keys",
]
