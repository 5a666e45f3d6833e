"""The errors and streams of the routes, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": what,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, what in {
        400: "The request cannot be done as asked; one line says why.",
        401: "Wrong or missing API key.",
        403: "Another origin's page.",
        404: "No such model.",
        405: "The route takes other methods.",
        409: "The direction stays.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        421: "Another host's name.",
        422: "The model makes NaN or infinity of it (code not_finite).",
        429: "Too much is waiting; see Retry-After.",
        503: "Stopping, or out of memory; see Retry-After.",
        504: "The answer took too long.",
    }.items()
}


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or with `stream` its chunks.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
}


def describe_errors(app: FastAPI) -> None:
    """Name the errors' shape in the OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        field = {"anyOf": [{"type": "string"}, {"type": "null"}]}
        document.setdefault("components", {}).setdefault("schemas", {})["Error"] = {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type"],
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": field,
                        "code": field,
                    },
                }
            },
        }
        return document

    app.openapi = openapi  # type: ignore[method-assign]
