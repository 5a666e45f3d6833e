"""`GET /v1/models`: the model that is served, and the directions that requests may name."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rhat.server.openapi import ERRORS
from rhat.server.service import Service, service_of

router = APIRouter()


def described(service: Service, name: str) -> dict[str, Any]:
    """What is told of a direction, with its threshold if it was calibrated."""
    calibration = service.directions.calibrations.get(name)
    threshold = {} if calibration is None else {"threshold": calibration.threshold}
    return {"name": name, **service.directions.known[name].describe(), **threshold}


def _model(service: Service) -> dict[str, Any]:
    about = service.model.describe()
    return {
        "id": service.model.name,
        "object": "model",
        "created": service.created,
        "owned_by": "rhat",
        "rhat": {
            "n_layers": about["n_layers"],
            "dtype": about["dtype"],
            "identity": service.model.identity,
            "directions": [described(service, name) for name in service.directions.known],
            "default": [part.describe() for part in service.default],
        },
    }


@router.get("/v1/models", responses=ERRORS)
async def models(request: Request) -> dict[str, Any]:
    """The model that is served, with the directions that requests may name."""
    return {"object": "list", "data": [_model(service_of(request))]}


@router.get("/v1/models/{name:path}", responses=ERRORS)
async def model(request: Request, name: str) -> dict[str, Any]:
    """One model."""
    service = service_of(request)
    service.check_model(name)
    return _model(service)
