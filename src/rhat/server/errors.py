"""What goes wrong in a server, and how OpenAI's clients are told."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from rhat.errors import RhatError


class ServerError(RhatError):
    """A server that cannot be set up as asked."""


class RequestError(HTTPException):
    """A request that is answered with an error: status, one line, and OpenAI's code and parameter name."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, message, {} if retry_after is None else {"retry-after": str(retry_after)})
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """The JSON answer, in OpenAI's shape."""
        return error_body(self.status_code, self.detail, self.code, self.param)


class ClientGoneError(Exception):
    """Nobody is waiting for the answer any more."""


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    line = " ".join(message.encode("utf-8", "replace").decode("utf-8").split())
    return {"error": {"message": line, "type": kind, "param": param, "code": code}}
