"""Another forward for a module, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def replaced(module: torch.nn.Module, forward: Any) -> Iterator[None]:
    """Let `module` run `forward` instead of its own, hooks included, inside the `with`."""
    had, own = "forward" in module.__dict__, module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if had:
            module.forward = own  # type: ignore[assignment]
        else:
            del module.__dict__["forward"]
