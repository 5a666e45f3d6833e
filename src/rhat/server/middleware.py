"""Access control, limits on request bodies, and the log and metrics of requests."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from rhat.server.errors import ClientGoneError, RequestError, error_body
from rhat.server.logs import log
from rhat.server.metrics import Metrics
from rhat.server.routes import options, route_of
from rhat.server.settings import LOOPBACK_NAMES, Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/health",)  # answered without a key, for those who watch over the server
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        b"frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'",
    ),
)


class AccessMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.hosts = {*LOOPBACK_NAMES, settings.host.strip("[]").lower(), *(h.lower() for h in settings.allowed_hosts)}
        if settings.host in ("0.0.0.0", "::"):  # reached by names that the server cannot know; the key protects it
            self.hosts.add("*")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, and note."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        request_id = uuid.uuid4().hex[:16]
        noted: dict[str, Any] = {}
        scope.setdefault("state", {})["noted"] = noted
        status, method = 0, scope["method"]

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                known = {name.lower() for name, _ in message.get("headers", ())}
                extra = [(n, v) for n, v in HEADERS if n not in known]
                message["headers"] = [*message.get("headers", ()), *extra, (b"x-request-id", request_id.encode())]
            elif method == "HEAD":
                message["body"] = b""
            await send(message)

        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            preflight = self._check(scope, headers)
            told = options(scope["path"]) if method == "OPTIONS" and not preflight else None
            seen = {**scope, "method": "GET"} if method == "HEAD" else scope  # answered as GET, without the body
            await (self.app if told is None else told)(seen, self._limited(headers, receive), answer)
        except RequestError as rejected:
            if not status:
                await _json(answer, rejected.status_code, rejected.body(), dict(rejected.headers or {}))
        except (ClientGoneError, asyncio.CancelledError):
            noted["gone"] = True
            raise
        except Exception as error:
            log("request failed", 40, exc_info=True, id=request_id)
            if not status:
                body = error_body(500, f"unexpected {type(error).__name__}; the server's log says more")
                await _json(answer, 500, body, {})
        finally:
            seconds = time.monotonic() - began
            path = route_of(scope["path"]) or "other"
            said = str(status or 499)
            self.metrics.requests.labels(path, said).inc()
            if status != 429:
                self.metrics.seconds.labels(path).observe(seconds)
            if path not in ("other", "/health", "/metrics"):
                log(
                    "request",
                    id=request_id,
                    method=method,
                    path=path,
                    status=int(said),
                    seconds=round(seconds, 4),
                    **noted,
                )

    def _check(self, scope: Scope, headers: MutableMapping[str, str]) -> bool:
        """Raise unless the request may come in; returns whether it is a browser's question ahead of another."""
        host = headers.get("host", "")
        if "*" not in self.hosts and _name(host) not in self.hosts:
            raise RequestError(
                421, f"host {host[:80]!r}: not a name of this server; allow it with --allow-host", code="unknown_host"
            )
        origin = headers.get("origin")
        if origin is not None and not self._may(origin, host):
            raise RequestError(
                403,
                f"origin {origin[:80]!r}: pages from there may not call this server; allow it with --allow-origin",
                code="unknown_origin",
            )
        key = self.settings.api_key
        preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if key is not None and scope["path"] not in OPEN_PATHS and not preflight:
            given = _credentials(headers.get("authorization", ""))
            if not hmac.compare_digest(given.encode("utf-8", "replace"), key.encode()):
                raise _UnauthorisedError()
        return preflight

    def _may(self, origin: str, host: str) -> bool:
        return origin in self.settings.allowed_origins or (origin != "null" and urlsplit(origin).netloc == host)

    def _limited(self, headers: MutableMapping[str, str], receive: Receive) -> Receive:
        """`receive`, with the body's size and the time it may take limited."""
        limit = self.settings.max_body
        announced = headers.get("content-length", "0")
        too_large = RequestError(
            413, f"the body is too large: at most {limit} bytes are taken (--max-body)", code="body_too_large"
        )
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        deadline = time.monotonic() + self.settings.body_timeout
        size, complete = 0, False

        async def limited() -> Message:
            nonlocal size, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError as error:
                raise RequestError(
                    408, f"the body was not complete after {self.settings.body_timeout:g} s", code="timeout"
                ) from error
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if size > limit:
                    raise too_large
            return message

        return limited


class _UnauthorisedError(RequestError):
    def __init__(self) -> None:
        super().__init__(
            401, "wrong or missing API key: send it as `Authorization: Bearer KEY`", code="invalid_api_key"
        )
        self.headers = {"www-authenticate": 'Basic realm="rhat", charset="UTF-8"'}


def _name(host: str) -> str:
    """The host's name without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _credentials(header: str) -> str:
    """The key of a bearer token, or the password of a browser's login."""
    kind, _, value = header.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


async def _json(send: Send, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
    raw = json.dumps(body).encode()
    named = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    named += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": raw})
