"""A prompt on which the model overflows is answered with an error; the engine and all other requests go on."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
import torch
from serving import make_direction, running

import rhat
from overflow import BAD, FINE, poisoned
from rhat.guard import from_projections
from rhat.server import Settings
from tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def server():
    model = replace(rhat.load((poisoned(torch.float64), tiny_tokenizer())), name="tiny")
    r = make_direction(model)
    calibration = from_projections([3.0, 4.0], [-2.0, 0.5], 0.25, r, model.describe(), "p")
    settings = Settings(slots=8, max_queue=64, max_length=200, max_tokens=100, playground=False)
    with running(model, {"r": r}, settings, {"r": calibration}) as up:
        yield up


def ask(server, text, **more):
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 6, "temperature": 0, **more}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


WAYS = (
    {},
    {"n": 2, "temperature": 1, "seed": 3},  # without a seed the damaged token may be drawn
    {"logprobs": True, "top_logprobs": 3},
    {"rhat": {"op": "add", "coefficient": 2.0}},
    {"rhat": {"op": "ablate", "when": "above"}},
    {"rhat": {"return_projections": True}},
)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_what_is_wrong(server, way):
    got = ask(server, BAD, **way)
    assert got.status_code == 422, got.text
    error = got.json()["error"]
    assert error["code"] == "not_finite"
    assert "tiny: values are not finite in float64" in error["message"]
    assert "from the embeddings (resid_pre.0) on" in error["message"]
    assert ask(server, FINE, **way).status_code == 200


def test_a_stream_ends_with_the_error(server):
    got = ask(server, BAD, stream=True)
    lines = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: {")]
    assert lines[-1]["error"]["code"] == "not_finite"


def test_the_others_say_what_they_say_alone(server):
    texts = [f"{FINE} of {i} kinds" for i in range(12)]
    truth = [ask(server, text).json()["choices"][0]["message"]["content"] for text in texts]
    mixed = [t for text in texts for t in (text, f"{BAD} {text}")]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda text: ask(server, text), mixed))
    assert [a.status_code for a in answers] == [200, 422] * 12
    assert [a.json()["choices"][0]["message"]["content"] for a in answers[::2]] == truth
    assert server.service.runner.alive
    assert server.service.runner.active == 0


def test_an_intervention_that_is_too_strong_fails_its_own_request(server):
    with ThreadPoolExecutor(4) as pool:
        strong = pool.submit(ask, server, FINE, rhat=[{"op": "add", "coefficient": 1.7e308}] * 12)
        plain = [pool.submit(ask, server, FINE) for _ in range(3)]
    assert {p.result().status_code for p in plain} == {200}
    assert strong.result().status_code == 422
    assert "under this intervention, and only then" in strong.result().json()["error"]["message"]
