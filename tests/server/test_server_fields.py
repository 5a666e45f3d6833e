"""What clients send unasked is accepted where it changes nothing, and every other field is rejected by its name."""

import re

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rhat.server.fields import CHAT, TEXT, TOLERATED
from rhat.server.schemas import ChatRequest, CompletionRequest

USER = {"role": "user", "content": "a stone"}
ASKED = {"model": "tiny", "messages": [USER], "max_tokens": 6, "temperature": 0}
RAW = {"model": "tiny", "prompt": "a stone", "max_tokens": 3, "temperature": 0}
TOOL = {"type": "function", "function": {"name": "weight", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weight", "arguments": '{"thing": "a stone"}'}}


def post(server, body, path="/v1/chat/completions"):
    return httpx.post(f"{server.url}{path}", json=body, timeout=60)


def rejected(server, body, path="/v1/chat/completions"):
    got = post(server, body, path)
    assert got.status_code == 400, got.text
    return got.json()["error"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("raht", {"op": "ablate"}, "raht: unknown field; did you mean rhat?"),
        ("interventions", [], 'interventions: unknown here; it belongs inside rhat: {"rhat": {"interventions": …}}'),
        ("op", "ablate", "op: unknown here; it belongs inside rhat"),
        ("extra_body", {"rhat": []}, "extra_body: an argument of OpenAI's Python client, not a field"),
        ("temprature", 0.5, "temprature: unknown field; did you mean temperature?"),
        ("min_p", 0.1, "min_p: 0.1 is not supported by this server"),
        ("repetition_penalty", 1.1, "repetition_penalty: 1.1 is not supported by this server"),
        ("guided_json", {"type": "object"}, "guided_json: {'type': 'object'} is not supported by this server"),
        ("stop_token_ids", [3], "stop_token_ids: [3] is not supported by this server; give strings in stop instead"),
        ("echo", True, "echo: True is not supported by this server"),
        ("best_of", 3, "best_of: 3 is not supported by this server; leave it out, and ask for n choices instead"),
        ("suffix", "end", "suffix: 'end' is not supported"),
        (
            "response_format",
            {"type": "json_object"},
            "response_format.type: json_object is not supported: answers are plain",
        ),
        ("response_format", {"type": "json_schema", "json_schema": {}}, "json_schema is not supported"),
        (
            "stream_options",
            {"include_usge": True},
            "stream_options.include_usge: unknown field; did you mean include_usage",
        ),
        ("tool_choice", "required", "tool_choice: a call is required, and this server calls no tools"),
        ("tool_choice", {"type": "function", "function": {"name": "weight"}}, "tool_choice: a call is required"),
        ("rhat", {"op": "add", "sope": "all"}, "rhat.sope: unknown field; did you mean scope?"),
        (
            "rhat",
            [{"op": "add", "coeficient": 1.0}],
            "rhat.interventions.0.coeficient: unknown field; did you mean coeff",
        ),
        ("rhat", {"op": "ablate", "retrun_projections": True}, "did you mean return_projections?"),
        (
            "rhat",
            {"op": "ablate", "direction": {"vector": [1.0], "site": "resid_pre.1", "psition": -1}},
            "direction.psition: unknown field; did you mean position?",
        ),
    ],
)
def test_a_field_that_is_not_known_is_rejected_by_name(server, field, value, words):
    error = rejected(server, {**ASKED, field: value})
    assert words in error["message"]
    assert error["param"] == field
    assert error["code"] in ("unknown_parameter", "unsupported_value")


def test_so_it_is_in_plain_completions_and_moderations(server):
    assert "did you mean prompt?" in rejected(server, {**RAW, "promt": "x"}, "/v1/completions")["message"]
    assert "best_of: 2 is not" in rejected(server, {**RAW, "best_of": 2}, "/v1/completions")["message"]
    assert "tools: unknown field" in rejected(server, {**RAW, "tools": []}, "/v1/completions")["message"]
    assert "did you mean direction?" in rejected(server, {"input": "a", "direktion": "r"}, "/v1/moderations")["message"]


@given(name=st.text(min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_other_name_is_ever_accepted(name):
    for schema, body, route in ((ChatRequest, ASKED, CHAT), (CompletionRequest, RAW, TEXT)):
        if name in schema.model_fields or (name in TOLERATED and route in TOLERATED[name].routes):
            continue
        with pytest.raises(ValidationError) as told:
            schema.model_validate({**body, name: None})
        [error] = told.value.errors()
        assert error["ctx"]["field"] == name[:60]


def test_every_tolerated_field_leaves_the_answer_as_it_is(server):
    plain = post(server, ASKED).json()["choices"][0]["message"]["content"]
    for row in TOLERATED.values():
        for value in [None, *(row.values if row.values is not None else ("x", {"a": 1}, True))]:
            for route, body in ((CHAT, ASKED), (TEXT, RAW)):
                if route not in row.routes:
                    continue
                schema = ChatRequest if route == CHAT else CompletionRequest
                assert schema.model_validate({**body, row.name: value}) == schema.model_validate(body), row.name
    everything = {row.name: (row.values or (None,))[0] for row in TOLERATED.values() if CHAT in row.routes}
    assert post(server, {**ASKED, **everything, "user": "me"}).json()["choices"][0]["message"]["content"] == plain


def test_tools_may_be_offered_and_the_answer_says_that_they_were_not_shown(server):
    plain = post(server, ASKED).json()["choices"][0]
    for more in ({}, {"tool_choice": "none"}, {"tool_choice": "auto", "parallel_tool_calls": False}):
        got = post(server, {**ASKED, "tools": [TOOL], **more}).json()["choices"][0]
        assert got["message"] == plain["message"]
        assert got["rhat"]["ignored"] == ["tools"]
    assert "ignored" not in plain["rhat"]


def test_calls_their_results_and_refusals_are_read(server):
    """Against the tokens of the same conversation written out, by the tokenizer itself."""
    history = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL], "audio": None, "annotations": []},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "two pounds"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot weigh it."}]},
        {"role": "user", "content": "why?"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "content": "and a river?"},
    ]
    texts = ["a stone", "", "two pounds", "I cannot weigh it.", "why?", "No.", "and a river?"]
    spelt = [{"role": m["role"], "content": text} for m, text in zip(history, texts, strict=True)]
    tokens = server.model.template.render(spelt)
    got = post(server, {**ASKED, "messages": history, "tools": [TOOL]}).json()
    assert got["usage"]["prompt_tokens"] == len(tokens)
    same = post(server, {**RAW, "prompt": list(tokens), "max_tokens": 6}, "/v1/completions").json()
    assert got["choices"][0]["message"]["content"] == same["choices"][0]["text"]
    for role in ("user", "tool", "system"):
        error = rejected(server, {**ASKED, "messages": [USER, {"role": role, "content": None}]})
        assert f"messages.1: content: the {role}'s turn has none" in error["message"]
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    assert (
        "'image_url' is not supported: this model reads text"
        in rejected(server, {**ASKED, "messages": [image]})["message"]
    )


def test_a_template_that_leaves_results_of_tools_out_is_an_error():
    from rhat.errors import TemplateError
    from rhat.server.messages import check_rendered

    told = [{"role": "tool", "content": ' two "pounds" '}]
    check_rendered(told, 'x two "pounds"')
    check_rendered(told, 'x "two \\"pounds\\""')  # as JSON, which some templates write
    with pytest.raises(TemplateError, match="leaves messages with the role tool out"):
        check_rendered(told, "x")


@pytest.mark.parametrize("stream", [False, True])
def test_more_tokens_than_there_are_is_cut_and_said(server, stream):
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    endless = {str(token): -100 for token in server.model.eos_ids}
    with client.chat.completions.with_streaming_response.create(
        model="tiny", messages=[USER], temperature=0, max_tokens=5000, logit_bias=endless, stream=stream
    ) as got:
        assert got.headers["x-rhat-max-tokens"] == "200"
        text = got.read().decode()
    assert re.search(r'"max_tokens":\s*\{"asked":\s*5000,\s*"given":\s*200\}', text)
    assert '"length"' in text


def test_it_is_cut_to_what_fits_after_the_prompt(server):
    messages = [{"role": "user", "content": "river " * 50}]
    got = post(server, {**ASKED, "messages": messages, "max_tokens": 200, "logit_bias": {"1": -100}}).json()
    room = 400 - got["usage"]["prompt_tokens"]
    assert 0 < room < 200
    assert got["choices"][0]["rhat"]["max_tokens"] == {"asked": 200, "given": room}
    whole = post(server, ASKED)
    assert "x-rhat-max-tokens" not in whole.headers
    assert "max_tokens" not in whole.json()["choices"][0]["rhat"]


def test_a_plain_completion_has_16_tokens_unless_it_says(server):
    body = {
        "model": "tiny",
        "prompt": "a stone",
        "temperature": 0,
        "logit_bias": {str(t): -100 for t in server.model.eos_ids},
    }
    got = post(server, body, "/v1/completions").json()
    assert got["usage"]["completion_tokens"] == 16
    assert "max_tokens" not in got["choices"][0]["rhat"]


def test_many_prompts_in_one_request_wait_their_turn(tiny_model, directions):
    from serving import running

    from rhat.server import Settings

    prompts = [f"the river {'is ' * (i % 4)}{i}" for i in range(12)]
    with running(tiny_model, directions, Settings(slots=3, max_queue=9, max_length=400, playground=False)) as up:
        alone = [post(up, {**RAW, "prompt": one}, "/v1/completions").json()["choices"][0]["text"] for one in prompts]
        got = post(up, {**RAW, "prompt": prompts}, "/v1/completions").json()
        assert [choice["text"] for choice in got["choices"]] == alone
        assert [choice["index"] for choice in got["choices"]] == list(range(12))
        assert len(set(alone)) > 3
        error = rejected(up, {**RAW, "prompt": [*prompts, "x"]}, "/v1/completions")
        assert "13 answers are asked for, at most 12 are taken at once (--slots and --max-queue)" in error["message"]


def test_a_model_that_takes_fewer_tokens_than_the_server_says_so(tiny_model, directions):
    """The tiny model has 512 positions, whatever --max-length says."""
    from serving import running

    from rhat.server import Settings

    with running(tiny_model, directions, Settings(max_length=4096, playground=False)) as up:
        error = rejected(up, {**RAW, "prompt": [7] * 600}, "/v1/completions")
        assert "the prompt has 600 tokens; this server's maximum context length is 512 tokens" in error["message"]
        assert "--max-length" not in error["message"]


ALLOWED = {
    "/health": "GET, HEAD, OPTIONS",
    "/v1/models": "GET, HEAD, OPTIONS",
    "/v1/models/tiny": "GET, HEAD, OPTIONS",
    "/v1/chat/completions": "POST, OPTIONS",
    "/v1/rhat/directions/r": "PUT, DELETE, OPTIONS",
}


def test_head_and_options_on_known_routes(server):
    for path, allowed in ALLOWED.items():
        got = httpx.options(f"{server.url}{path}")
        assert (got.status_code, got.headers["allow"]) == (204, allowed), path
        head = httpx.head(f"{server.url}{path}")
        assert head.content == b""
        assert head.status_code == (200 if "HEAD" in allowed else 405), path
    assert httpx.options(f"{server.url}/v1/nothing").status_code == 404
    got = httpx.get(f"{server.url}/v1/completions")
    assert got.status_code == 405
    assert got.json()["error"]["message"] == "GET /v1/completions: this route takes POST"


def test_the_table_of_routes_is_that_of_the_document(server):
    from rhat.server.routes import ROUTES, route_of

    document = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    told: dict[str, set[str]] = {}
    for path, methods in document.items():
        told.setdefault(str(route_of(path.replace("{name}", "x"))), set()).update(method.upper() for method in methods)
    assert told == {route: set(own) for route, own in ROUTES.items() if route not in ("/", "/openapi.json")}


def test_other_apis_are_answered_in_one_line(server):
    for path in ("/v1/responses", "/v1/responses/resp_1"):
        got = httpx.post(f"{server.url}{path}", json={"model": "tiny", "input": "a stone"})
        assert got.status_code == 404
        assert "the Responses API is not supported here; use /v1/chat/completions" in got.json()["error"]["message"]
