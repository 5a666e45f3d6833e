"""An OpenAI-compatible server for a model under interventions, with a guard and a playground. Needs `rhat[serve]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rhat.server.errors import ServerError
from rhat.server.settings import Settings

if TYPE_CHECKING:
    from rhat.server.app import create_app as create_app
    from rhat.server.app import serve as serve

__all__ = ["ServerError", "Settings", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name in ("create_app", "serve"):  # FastAPI is loaded with them
        from rhat.server import app

        return getattr(app, name)
    raise AttributeError(name)
