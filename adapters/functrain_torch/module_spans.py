"""Spans of torch.profiler around the forward passes of a module's parts, by their paths."""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch.profiler import record_function


class ModuleSpans:
    """Within it the forward pass of every part of the module is a span; the module itself is left as it was."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.handles: list[Any] = []
        self.open: dict[int, list[record_function]] = {}

    def __enter__(self) -> None:
        for path, part in self.module.named_modules():
            if not path or isinstance(part, torch.jit.ScriptModule):
                continue
            name = f"{type(part).__module__}.{type(part).__name__}: {path}"
            self.handles.append(part.register_forward_pre_hook(partial(self.begin, name)))
            self.handles.append(part.register_forward_hook(self.end, always_call=True))

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []

    # A backward pass that runs parts again does so in a thread of its own.

    def begin(self, name: str, part: torch.nn.Module, args: Any) -> None:
        """A part's forward pass begins."""
        span = record_function(name)
        span.__enter__()
        self.open.setdefault(get_ident(), []).append(span)

    def end(self, part: torch.nn.Module, args: Any, output: Any) -> None:
        """A part's forward pass is over."""
        if spans := self.open.get(get_ident()):
            spans.pop().__exit__(None, None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "handles": [], "open": {}}
