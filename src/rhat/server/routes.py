"""Which routes there are: HEAD and OPTIONS are answered on each, and one line says which routes and methods there are not."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from rhat.server.errors import RequestError

DIRECTIONS = "/v1/rhat/directions"
ROUTES: dict[str, tuple[str, ...]] = {
    "/": ("GET",),
    "/health": ("GET",),
    "/metrics": ("GET",),
    "/openapi.json": ("GET",),
    "/v1/models": ("GET",),
    "/v1/models/": ("GET",),
    "/v1/chat/completions": ("POST",),
    "/v1/completions": ("POST",),
    "/v1/moderations": ("POST",),
    DIRECTIONS: ("GET",),
    DIRECTIONS + "/": ("PUT", "DELETE"),
}
"""The methods of each route, HEAD and OPTIONS left out; one that ends with / is followed by a name."""

ELSEWHERE = {
    "/v1/responses": "the Responses API is not supported here; use /v1/chat/completions (with OpenAI's Python client "
    "chat.completions.create)",
    "/v1/embeddings": "embeddings are not supported here; this server generates text",
}

router = APIRouter()  # what no other route takes


def route_of(path: str) -> str | None:
    """The route, a key of ROUTES, to which a path belongs."""
    if path in ROUTES and (path == "/" or not path.endswith("/")):
        return path
    for route in ("/v1/models/", DIRECTIONS + "/"):
        if path.startswith(route) and (route == "/v1/models/" or "/" not in path.removeprefix(route)):
            return route  # a model's name may hold a slash
    return None


def methods(route: str) -> tuple[str, ...]:
    """All methods that a route takes."""
    own = ROUTES[route]
    return (*own, *(("HEAD",) if "GET" in own else ()), "OPTIONS")


def options(path: str) -> Response | None:
    """The answer to OPTIONS; None where there is no such route."""
    route = route_of(path)
    return None if route is None else Response(status_code=204, headers={"allow": ", ".join(methods(route))})


@router.api_route(
    "/v1/{path:path}",
    methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    include_in_schema=False,
)
async def unknown(request: Request, path: str) -> Response:
    """Everything else under /v1."""
    shown = f"{request.method} /v1/{path[:80]}"
    route = route_of(f"/v1/{path}")
    if route is not None:
        told = RequestError(405, f"{shown}: this route takes {' and '.join(ROUTES[route])}", code="method_not_allowed")
        told.headers = {"allow": ", ".join(methods(route))}
        raise told
    for begin, instead in ELSEWHERE.items():
        if f"/v1/{path}".startswith(begin):
            raise RequestError(404, f"{shown}: {instead}", code="unknown_url")
    raise RequestError(404, f"{shown}: no such route; see /openapi.json", code="unknown_url")
