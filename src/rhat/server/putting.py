"""`/v1/rhat/directions`: the directions that requests may name, listed, put and removed while the server runs."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from rhat.artifacts.tensors import parse_direction
from rhat.directions import Direction
from rhat.errors import RhatError
from rhat.server.errors import RequestError
from rhat.server.logs import log
from rhat.server.models import described
from rhat.server.openapi import ERRORS
from rhat.server.options import first_problem
from rhat.server.routes import DIRECTIONS
from rhat.server.service import Service, service_of
from rhat.server.specs import GivenDirection

router = APIRouter()
MOST = 64  # directions of a server
LONGEST_NAME = 60

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": GivenDirection.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get(DIRECTIONS, responses=ERRORS)
async def directions(request: Request) -> dict[str, Any]:
    """The directions that requests may name."""
    service = service_of(request)
    return {"object": "list", "data": [_entry(service, name) for name in service.directions.known]}


@router.put(DIRECTIONS + "/{name}", responses=ERRORS, openapi_extra=BODY, response_model=None)
async def put(request: Request, name: str) -> Response:
    """Put a direction on the server, or replace one that was put: a file that rhat wrote, or JSON with vector and site."""
    service = service_of(request)
    _check_may_change(service, name)
    known = service.directions.known
    if not (
        len(name) <= LONGEST_NAME
        and name.isascii()
        and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    ):
        raise RequestError(
            400,
            f"direction {name[:LONGEST_NAME]!r}: expected a name of at most {LONGEST_NAME} letters, digits, -, _ and .",
            param="name",
        )
    made = _direction(service, name, await request.body())
    if name not in known and len(known) >= MOST:
        raise RequestError(409, f"this server has {MOST} directions, the most that it keeps; remove one first")
    replaced = name in known
    known[name] = made
    log("direction put", name=name, replaced=replaced, **made.describe())
    return JSONResponse(_entry(service, name), 200 if replaced else 201)


@router.delete(DIRECTIONS + "/{name}", responses=ERRORS)
async def remove(request: Request, name: str) -> dict[str, Any]:
    """Remove a direction that was put; requests that run with it go on."""
    service = service_of(request)
    _check_may_change(service, name)
    service.directions.named(name, "name")
    del service.directions.known[name]
    log("direction removed", name=name)
    return {"id": name, "object": "direction.deleted", "deleted": True}


def _entry(service: Service, name: str) -> dict[str, Any]:
    return {**described(service, name), "put": name not in service.directions.started}


def _check_may_change(service: Service, name: str) -> None:
    """Raise unless the server has a key (which the request then has given), and the direction is not one it started with."""
    if service.settings.api_key is None:
        raise RequestError(
            403,
            "directions are put and removed only on a server with a key; start it with RHAT_API_KEY set, or give the vector "
            "with the request",
            code="key_needed",
        )
    if name in service.directions.started:
        raise RequestError(
            409,
            f"direction {name[:LONGEST_NAME]!r}: the server was started with it, so it stays; take another name",
            param="name",
        )


def _direction(service: Service, name: str, raw: bytes) -> Direction:
    """What a body holds: a safetensors file (whose header begins at byte 8), or JSON."""
    try:
        if raw[8:9] == b"{" and 0 < int.from_bytes(raw[:8], "little") <= len(raw):
            return service.directions.check(Direction(**parse_direction(raw, name)))
        return service.directions.given(GivenDirection.model_validate(json.loads(raw)))
    except ValidationError as error:
        raise RequestError(400, first_problem(error.errors()), param="vector") from error
    except RhatError as error:
        raise RequestError(400, str(error), param="vector") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(
            400, "the body is neither a direction's safetensors file nor JSON with vector and site", code="invalid_json"
        ) from error
