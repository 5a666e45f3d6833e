"""Directions that come with a request, and those that are put on a running server and removed."""

import httpx
import pytest
import torch
from serving import make_direction, running

from rhat.server import Settings

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "a stone"}], "max_tokens": 10, "temperature": 0}
PATH = "/v1/rhat/directions"


@pytest.fixture(scope="module")
def keyed(tiny_model, directions, calibrations):
    settings = Settings(api_key="correct horse", max_length=400, playground=False, default=({"op": "ablate"},))
    with (
        running(tiny_model, directions, settings, calibrations) as up,
        httpx.Client(base_url=up.url, headers={"authorization": "Bearer correct horse"}, timeout=60) as client,
    ):
        yield client


def ask(client, rhat):
    got = client.post("/v1/chat/completions", json={**CHAT, "rhat": rhat})
    assert got.status_code == 200, got.text
    return got.json()["choices"][0]


def error(got, status, *words):
    assert got.status_code == status, got.text
    for word in words:
        assert word in got.json()["error"]["message"]


def as_json(direction, length=1.0, **more):
    return {"vector": (direction.unit.double() * length).tolist(), "site": str(direction.site), **more}


def test_a_vector_in_the_request_does_what_the_same_one_does_by_name(keyed, directions):
    for op in ({"op": "ablate"}, {"op": "add", "coefficient": -7.0}):
        named = ask(keyed, {**op, "direction": "other", "return_projections": True})
        given = ask(keyed, {**op, "direction": as_json(directions["other"], 3.0), "return_projections": True})
        assert given["message"] == named["message"]
        for one, other in zip(
            given["rhat"]["projections"]["tokens"], named["rhat"]["projections"]["tokens"], strict=True
        ):
            assert one["projection"] == pytest.approx(other["projection"], abs=1e-5)
        assert op["op"] == "ablate" or named["message"] != ask(keyed, [])["message"]
        assert given["rhat"]["projections"]["mean_harmful"] is None
        assert given["rhat"]["interventions"][0]["direction"] == "given with the request"


def test_its_means_are_the_defaults_of_numbers(keyed, directions):
    named = ask(keyed, {"op": "set_projection", "direction": "r"})
    brought = as_json(directions["r"], mean_harmful=5.0, mean_harmless=-2.0)
    assert ask(keyed, {"op": "set_projection", "direction": brought})["message"] == named["message"]
    unknown = keyed.post(
        "/v1/chat/completions", json={**CHAT, "rhat": {"op": "set_projection", "direction": as_json(directions["r"])}}
    )
    error(unknown, 400, "the mean projection of harmful prompts is unknown")


def test_a_gate_on_a_vector_in_the_request_needs_a_threshold(keyed, directions):
    rhat = {"op": "ablate", "direction": as_json(directions["r"]), "when": "above"}
    error(keyed.post("/v1/chat/completions", json={**CHAT, "rhat": rhat}), 400, "not calibrated")
    assert ask(keyed, {**rhat, "threshold": -1e6})["rhat"]["interventions"][0]["applied"] is True
    assert ask(keyed, {**rhat, "threshold": 1e6})["rhat"]["interventions"][0]["applied"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vector": [1.0, 2.0]}, "got width 2, tiny has 48"),
        ({"vector": [0.0] * 48}, "expected one finite vector that is not zero"),
        ({"vector": [1e308] * 48}, "expected one finite vector that is not zero"),
        ({"vector": []}, "at least 1 item"),
        ({"vector": "abc"}, "vector"),
        ({"site": "resid_pre.3"}, "this model has layers 0 to 2"),
        ({"site": "mlp_out.1"}, "expected a vector of the residual stream"),
        ({"site": "here"}, "expected KIND.LAYER"),
        ({"position": -9}, "template tokens"),
        ({"position": 0}, "less than 0"),
    ],
)
def test_a_vector_that_is_none_of_this_model_is_rejected(keyed, directions, change, words):
    body = {**as_json(directions["r"]), **change}
    error(keyed.post("/v1/chat/completions", json={**CHAT, "rhat": {"op": "ablate", "direction": body}}), 400, words)
    error(keyed.put(f"{PATH}/mine", json=body), 400, words)


def test_put_list_use_replace_remove(keyed, tiny_model, directions, tmp_path):
    third = make_direction(tiny_model, 9, 2)
    file = third.save(tmp_path / "third.safetensors").read_bytes()
    got = keyed.put(f"{PATH}/third", content=file)
    assert (got.status_code, got.json()["put"], got.json()["mean_harmful"]) == (201, True, 5.0)
    assert [(d["name"], d["put"]) for d in keyed.get(PATH).json()["data"]] == [
        ("r", False),
        ("other", False),
        ("third", True),
    ]
    assert [d["name"] for d in keyed.get("/v1/models").json()["data"][0]["rhat"]["directions"]] == [
        "r",
        "other",
        "third",
    ]
    rhat = {"op": "add", "coefficient": -7.0, "direction": "third"}
    first = ask(keyed, rhat)["message"]
    assert first == ask(keyed, {**rhat, "direction": as_json(third)})["message"]
    # Replaced: the same name, operator, layer and number now mean another vector.
    assert keyed.put(f"{PATH}/third", json=as_json(make_direction(tiny_model, 10, 2))).status_code == 200
    assert ask(keyed, rhat)["message"] != first
    assert keyed.delete(f"{PATH}/third").json() == {"id": "third", "object": "direction.deleted", "deleted": True}
    error(keyed.post("/v1/chat/completions", json={**CHAT, "rhat": rhat}), 400, "direction 'third': unknown")
    error(keyed.delete(f"{PATH}/third"), 400, "direction 'third': unknown; this server has r, other")


def test_a_file_of_another_model_is_rejected(keyed, directions, tmp_path):
    from dataclasses import replace

    elsewhere = replace(directions["r"], model={"name": "elsewhere", "revision_or_sha256": "f" * 40})
    file = elsewhere.save(tmp_path / "e.safetensors").read_bytes()
    error(keyed.put(f"{PATH}/e", content=file), 400, "it was found on elsewhere")


@pytest.mark.parametrize("raw", [b"", b"\x00" * 40, b"[]", b"{", b"x" * 100, b"\x10" + b"\x00" * 7 + b"{" + b" " * 40])
def test_other_bodies_are_one_line(keyed, raw):
    got = keyed.put(f"{PATH}/x", content=raw)
    assert got.status_code == 400, got.text
    assert "\n" not in got.json()["error"]["message"]


def test_a_tensor_that_rhat_did_not_write_is_rejected(keyed):
    from safetensors.torch import save

    error(keyed.put(f"{PATH}/x", content=save({"direction": torch.ones(48)})), 400, "not a direction written by rhat")


def test_what_the_server_was_started_with_stays(keyed, directions):
    error(keyed.put(f"{PATH}/r", json=as_json(directions["r"])), 409, "direction 'r': the server was started with it")
    error(keyed.delete(f"{PATH}/r"), 409, "so it stays")


def test_names_and_numbers_have_limits(keyed, directions):
    body = as_json(directions["r"])
    for name in ("a%20b", "x" * 61, "%C3%A9"):
        error(keyed.put(f"{PATH}/{name}", json=body), 400, "expected a name of at most 60 letters")
    for i in range(62):
        assert keyed.put(f"{PATH}/n{i}", json=body).status_code == 201
    error(keyed.put(f"{PATH}/n62", json=body), 409, "this server has 64 directions")
    for i in range(62):
        keyed.delete(f"{PATH}/n{i}")


def test_a_server_without_a_key_lists_and_changes_nothing(server, directions):
    assert [d["name"] for d in httpx.get(f"{server.url}{PATH}").json()["data"]] == ["r", "other"]
    for got in (
        httpx.put(f"{server.url}{PATH}/mine", json=as_json(directions["r"])),
        httpx.delete(f"{server.url}{PATH}/r"),
    ):
        error(got, 403, "directions are put and removed only on a server with a key")
    assert "mine" not in server.service.directions.known


def test_the_key_is_asked_for(keyed, directions):
    for method in ("GET", "PUT", "DELETE"):
        path = PATH if method == "GET" else f"{PATH}/mine"
        assert httpx.request(method, str(keyed.base_url).rstrip("/") + path).status_code == 401


def test_projections_on_a_position_that_prompts_here_lack_are_rejected():
    """They ended the engine's thread."""
    from test_server_prefixes import directions as with_prefix

    from rhat.server.errors import RequestError
    from rhat.server.options import Directions
    from rhat.server.specs import RhatOptions
    from tiny import tiny_chat_model

    served: Directions = with_prefix(tiny_chat_model("llama"), position=-9)
    with pytest.raises(RequestError, match="template tokens"):
        served.resolve(RhatOptions(return_projections=True), ())
