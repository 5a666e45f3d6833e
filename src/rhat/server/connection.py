"""Work that is called off when its client has left."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import anyio
from fastapi import Request

from rhat.server.errors import ClientGoneError

Result = TypeVar("Result")


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """What `work` gives; it is called off as soon as the client has left.

    Raises:
        ClientGoneError: if it has.
    """
    gone = False
    result: list[Result] = []
    failure: list[Exception] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal gone
            while (await request.receive())["type"] != "http.disconnect":
                pass
            gone = True
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result.append(await work)
        except Exception as error:  # passed on below, outside the group, which would wrap it
            failure.append(error)
        group.cancel_scope.cancel()
    if failure:
        raise failure[0]
    if gone or not result:
        raise ClientGoneError
    return result[0]
