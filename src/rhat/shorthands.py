"""Shorthands: functions of higher layers that a lower one offers under a name of its own.

`model.generate(…)` is one: decoding lies above the model. A layer does not import what lies above it, so the package itself, which
stands above them all, hands these functions over when it is imported, each as something that finds it when it is first called.
"""

from collections.abc import Callable
from typing import Any

_FOUND_BY: dict[str, Callable[[], Callable[..., Any]]] = {}


def hand_over(name: str, find: Callable[[], Callable[..., Any]]) -> None:
    """Say what finds the function of this name."""
    _FOUND_BY[name] = find


def shorthand(name: str) -> Callable[..., Any]:
    """The function that was handed over under this name."""
    return _FOUND_BY[name]()
