"""`GET /health` and `GET /metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

import rhat
from rhat.server.service import service_of

router = APIRouter()


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether the server can answer."""
    runner = service_of(request).runner
    state = {"status": "ok" if runner.alive else "stopping", "active": runner.active, "waiting": runner.waiting}
    return JSONResponse({**state, "version": rhat.__version__}, 200 if runner.alive else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return PlainTextResponse(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
