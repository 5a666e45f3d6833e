"""A tiny model in float64, two directions, and a server for them."""

from dataclasses import replace

import pytest
from browsing import browser, opened, up  # noqa: F401
from serving import make_direction, running

from tiny import tiny_chat_model


@pytest.fixture(scope="session")
def tiny_model():
    return replace(tiny_chat_model("qwen2"), name="tiny")


@pytest.fixture(scope="session")
def directions(tiny_model):
    return {"r": make_direction(tiny_model), "other": make_direction(tiny_model, 4, 2, -3)}


@pytest.fixture(scope="session")
def calibrations(tiny_model, directions):
    from rhat.guard import from_projections

    return {
        "r": from_projections(
            [3.0, 4.0, 5.0], [-2.0, 0.5, -1.0, 0.0], 0.25, directions["r"], tiny_model.describe(), "p"
        )
    }


@pytest.fixture(scope="session")
def server(tiny_model, directions, calibrations):
    from rhat.server import Settings

    with running(
        tiny_model,
        directions,
        Settings(slots=64, max_queue=64, max_length=400, max_tokens=200, playground=False),
        calibrations,
    ) as running_server:
        yield running_server
