"""Server-sent events: how an answer in chunks goes over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """Server-sent events; stops, and lets the generator clean up, as soon as the client has left."""

    media_type = "text/event-stream"

    def __init__(self, made: AsyncGenerator[dict[str, Any]], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(headers={**(headers or {}), "cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.made = made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for value in self.made:
                    line = f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False)}\n\n"
                    await send(
                        {"type": "http.response.body", "body": line.encode("utf-8", "replace"), "more_body": True}
                    )
                await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})
            finally:
                with anyio.CancelScope(shield=True):
                    await self.made.aclose()
            group.cancel_scope.cancel()
