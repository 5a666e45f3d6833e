"""An OpenAI-compatible server for a model under interventions, with a guard and a playground. Needs `rhat[serve]`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rhat.server.errors import ServerError
from rhat.server.settings import Settings

if TYPE_CHECKING:
    from rhat.server.app import create_app as create_app
    from rhat.server.listening import serve as serve

_HOMES = {"create_app": "rhat.server.app", "serve": "rhat.server.listening"}

__all__ = ["ServerError", "Settings", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # FastAPI is loaded with them
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(name)
