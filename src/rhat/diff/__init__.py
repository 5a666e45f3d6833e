"""Two models side by side: whether refusal changed between them, prompt by prompt, and what became of r̂ and of the weights that write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rhat.diff.document import Diff
from rhat.diff.settings import DiffSettings

if TYPE_CHECKING:
    from rhat.diff.running import diff as diff
    from rhat.diff.weights import Lengths as Lengths
    from rhat.diff.weights import lengths as lengths

__all__ = ["Diff", "DiffSettings", "Lengths", "diff", "lengths"]

_HOMES = {"diff": "running", "lengths": "weights", "Lengths": "weights"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # need torch; reading a diff.json does not
        from importlib import import_module

        return getattr(import_module(f"rhat.diff.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rhat.diff' has no attribute {name!r}")
