"""What a client is told when a request fails, whatever raised."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rhat.errors import RhatError
from rhat.server.errors import ClientGoneError, RequestError, error_body
from rhat.server.options import first_problem


def answer_failures(app: FastAPI) -> None:
    """Give every failure OpenAI's shape, on one line."""
    app.add_exception_handler(RequestError, _rejected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RhatError, _rhat_error)
    app.add_exception_handler(ClientGoneError, _gone)


async def _rejected(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body(), error.status_code, headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    context: dict[str, Any] = next((e["ctx"] for e in problems if e["type"] == "unaccepted_field"), {})
    param = next((str(part) for e in problems for part in e["loc"] if part != "body"), context.get("field"))
    if any(e["type"] == "json_invalid" for e in problems):
        return JSONResponse(error_body(400, "the body is not valid JSON", "invalid_json"), 400)
    return JSONResponse(error_body(400, first_problem(problems), context.get("code"), param), 400)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, headers=error.headers)


async def _rhat_error(_request: Request, error: Exception) -> Response:
    return JSONResponse(error_body(400, str(error)), 400)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)
