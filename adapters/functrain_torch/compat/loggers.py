"""Loggers by their older names."""

from __future__ import annotations

from functrain.loggers import Logger

LightningLoggerBase = Logger
