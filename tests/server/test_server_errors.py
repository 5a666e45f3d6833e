"""What cannot be done is answered 4xx with one clear line in OpenAI's shape."""

import json

import httpx
import pytest

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "a stone"}], "max_tokens": 3, "temperature": 0}


def post(server, path="/v1/chat/completions", raw=None, headers=None, **body):
    content = raw if raw is not None else json.dumps(body)
    return httpx.post(
        f"{server.url}{path}", content=content, headers={"content-type": "application/json", **(headers or {})}
    )


def check(got, status, *words):
    assert got.status_code == status, got.text
    error = got.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    for word in words:
        assert word in error["message"]
    return error


@pytest.mark.parametrize(
    ("rhat", "words"),
    [
        ({"op": "set_projection", "direction": "nobody"}, ["direction 'nobody': unknown", "this server has r, other"]),
        ({"op": "set_projection", "layer": 3}, ["resid_pre.3: this model has layers 0 to 2"]),
        ({"op": "ablate", "layer": 1}, ["ablate: got layer 1, but it acts at all layers", "leave the layer out"]),
        ({"op": "ablate", "where": "own layer", "layer": 9}, ["9: this model has layers 0 to 2"]),
        ({"op": "set_projection", "layer": -1}, ["layer", "greater than or equal to 0"]),
        ({"op": "explode"}, ["op", "'set_projection', 'add', 'subtract'"]),
        ({"op": "add", "target": 3.0}, ["target is for set_projection and raise_projection, the operator is add"]),
        (
            {"op": "ablate", "coefficient": 3.0},
            ["coefficient is for add and subtract and add_keeping_norm, the operator is ablate"],
        ),
        ({"op": "add", "coefficient": "much"}, ["coefficient"]),
        ({"op": "add", "scope": "everywhere"}, ["scope 'everywhere': expected one of all, prompt"]),
        ({"op": "add", "scope": "first_generated:0"}, ["scope 'first_generated:0'"]),
        ({"op": "add", "sope": "all"}, ["rhat.sope: unknown field; did you mean scope?"]),
        ({"op": "add", "when": "above", "direction": "other"}, ["direction other: not calibrated", "rhat calibrate"]),
        ({"op": "set_projection", "when": "certified"}, ["direction r: no certificate", "rhat calibrate --certify"]),
        ({"op": "add", "when": "certified"}, ["'certified' brings target and threshold: give op set_projection"]),
        ({"op": "set_projection", "target": 3.0, "when": "certified"}, ["'certified' brings target and threshold"]),
        ({"op": "add", "threshold": 1.0}, ["say when, 'above' or 'below'"]),
        ({"return_projections": True, "projection_direction": "nobody"}, ["direction 'nobody': unknown"]),
        ([{"op": "ablate"}] * 17, ["at most 16"]),
        ("ablate", ["rhat"]),
    ],
)
def test_wrong_interventions(server, rhat, words):
    check(post(server, **CHAT, rhat=rhat), 400, *words)


def test_a_direction_given_with_the_request_has_no_certificate(server):
    vector = {"vector": [1.0] * 48, "site": "resid_pre.1", "mean_harmful": 9.0, "mean_harmless": 1.0}
    asked = {"op": "set_projection", "when": "certified", "direction": vector}
    check(post(server, **CHAT, rhat=asked), 400, "a direction given with the request has no certificate")


def test_numbers_that_json_does_not_have(server):
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        raw = json.dumps({**CHAT, "rhat": {"op": "set_projection", "target": 0}}).replace(
            '"target": 0', f'"target": {number}'
        )
        check(post(server, raw=raw), 400, "target", "finite number")


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("max_tokens", -1, "max_tokens"),
        ("max_tokens", 0, "max_tokens"),
        ("max_tokens", 2.5, "max_tokens"),
        ("max_completion_tokens", -5, "max_completion_tokens"),
        ("temperature", -0.1, "temperature"),
        ("temperature", "hot", "temperature"),
        ("top_p", 1.1, "top_p"),
        ("n", 0, "n"),
        ("n", 129, "at most 128"),
        ("seed", 2**64, "seed"),
        ("stop", [""], "stop"),
        ("stop", ["x"] * 17, "stop"),
        ("top_logprobs", 21, "top_logprobs"),
        ("logit_bias", {"x": 1}, "logit_bias: got 'x'"),
        ("logit_bias", {"99999999": 1}, "logit_bias"),
        ("messages", [], "messages"),
        ("messages", "hi", "messages"),
        ("messages", [{"role": "nobody", "content": "x"}], "role"),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}], "type"),
        ("model", "gpt-4", "model 'gpt-4': not served here"),
        ("response_format", {"type": "json_object"}, "type"),
    ],
)
def test_wrong_fields(server, field, value, word):
    check(post(server, **{**CHAT, field: value}), 404 if field == "model" else 400, word)


@pytest.mark.parametrize(
    "raw", [b"{", b"", b"[]", b"null", b'{"a": ' * 5000, b"\xff\xfe", b'{"model": ' + b"9" * 5000 + b"}"]
)
def test_malformed_bodies(server, raw):
    check(post(server, raw=raw), 400)


def test_lone_surrogates_are_no_fault_of_the_server(server):
    for part in ('"content": "a \\ud800 stone"', '"content": "\\udfff"'):
        raw = json.dumps(CHAT).replace('"content": "a stone"', part)
        got = post(server, raw=raw)
        assert got.status_code in (200, 400)
    check(post(server, raw=json.dumps(CHAT).replace('"tiny"', '"\\ud800"')), 400)


def test_a_prompt_that_does_not_fit(server):
    error = check(
        post(server, **{**CHAT, "messages": [{"role": "user", "content": "river " * 300}]}),
        400,
        "this server's maximum context length is 400 tokens",
    )
    assert error["code"] == "context_length_exceeded"


def test_an_oversized_body(server):
    text = "x" * 1_100_000
    check(post(server, **{**CHAT, "messages": [{"role": "user", "content": text}]}), 413, "at most 1000000 bytes")

    def pieces():
        for _ in range(20):
            yield b"x" * 100_000

    check(
        httpx.post(f"{server.url}/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"}),
        413,
    )


def test_tokens_outside_the_vocabulary(server):
    check(post(server, "/v1/completions", model="tiny", prompt=[5, 10**9]), 400, "got token 1000000000")
    check(post(server, "/v1/completions", model="tiny", prompt=[5, -1]), 400)
    check(post(server, "/v1/completions", model="tiny", prompt=[]), 400)
    check(post(server, "/v1/completions", model="tiny", prompt=""), 400, "the prompt is empty")
    check(
        post(server, "/v1/completions", model="tiny", prompt="a", rhat={"op": "ablate", "when": "above"}),
        400,
        "chat template",
    )


def test_numbers_that_overflow_are_an_error(server):
    """An enormous coefficient makes the row's numbers infinite: no answer is made of them, and others are not harmed."""
    rhat = {"op": "add", "coefficient": 1e300, "layer": 0, "return_projections": True}
    got = post(server, **CHAT, logprobs=True, top_logprobs=2, rhat=rhat)
    json.loads(got.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert check(got, 422, "under this intervention, and only then", "take a smaller value")["code"] == "not_finite"
    assert post(server, **CHAT).status_code == 200


def test_other_hosts_and_origins(server):
    check(post(server, headers={"host": "evil.example"}, **CHAT), 421, "host 'evil.example'", "--allow-host")
    check(httpx.get(f"{server.url}/v1/models", headers={"host": "evil.example:80"}), 421)
    check(post(server, headers={"origin": "https://evil.example"}, **CHAT), 403, "origin 'https://evil.example'")
    check(post(server, headers={"origin": "null"}, **CHAT), 403)
    assert post(server, headers={"origin": server.url}, **CHAT).status_code == 200
    assert post(server, headers={"host": "localhost:1234"}, **CHAT).status_code == 200


def test_unknown_routes_and_methods(server):
    check(httpx.get(f"{server.url}/v1/nothing"), 404, "GET /v1/nothing")
    check(httpx.get(f"{server.url}/v1/chat/completions"), 405, "GET /v1/chat/completions: this route takes POST")
    assert httpx.get(f"{server.url}/docs").status_code == 404


def test_every_answer_carries_safe_headers(server):
    got = httpx.get(f"{server.url}/")
    assert "pip install" in got.text
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in got.headers["content-security-policy"]
    assert len(got.headers["x-request-id"]) == 16


def test_health_and_metrics(server):
    assert httpx.get(f"{server.url}/health").json()["status"] == "ok"
    before = httpx.get(f"{server.url}/metrics").text
    got = post(server, **CHAT, rhat={"op": "ablate"}).json()
    after = httpx.get(f"{server.url}/metrics").text

    def value(text, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    for name, grown in (
        ('rhat_tokens_total{kind="generated"}', got["usage"]["completion_tokens"]),
        ('rhat_tokens_total{kind="prompt"}', got["usage"]["prompt_tokens"]),
        ('rhat_interventions_total{op="ablate"}', 1),
        ('rhat_requests_total{path="/v1/chat/completions",status="200"}', 1),
        ("rhat_first_token_seconds_count", 1),
    ):
        assert value(after, name) - value(before, name) == grown, name
    assert value(after, "rhat_active_answers") == 0
