"""Plain completions that repeat their prompt: log-probabilities are transformers' own, alone, together and in a stream."""

import json

import httpx
import pytest
import torch

from rhat.interventions import intervene

TEXTS = ["the river is near", "héron", "one is here and a stone", "a"]


def post(server, **body):
    got = httpx.post(f"{server.url}/v1/completions", json={"model": "tiny", "temperature": 0, **body}, timeout=60)
    assert got.status_code == 200, got.text
    return got.json()


def by_hand(model, tokens, made=None):
    ids = torch.tensor([tokens])
    with torch.no_grad():
        if made is None:
            logits = model.hf(input_ids=ids, use_cache=False).logits[0]
        else:
            with made.on(model):
                logits = model.hf(input_ids=ids, use_cache=False).logits[0]
    values = torch.log_softmax(logits.double(), -1)
    return [float(values[at - 1, tokens[at]]) for at in range(1, len(tokens))], values[:-1].max(-1).values.tolist()


@pytest.mark.parametrize("rhat", [None, {"op": "add", "coefficient": 6.0}])
@pytest.mark.parametrize("new", [0, 1, 3])
def test_prompts_read_in_one_request(server, rhat, new):
    made = None if rhat is None else intervene("add", server.service.directions.known["r"], value=6.0)
    prompts = [server.model.tokenizer(text)["input_ids"] for text in TEXTS]
    more = {} if rhat is None else {"rhat": rhat}
    got = post(server, prompt=prompts, echo=True, logprobs=1, max_tokens=new, **more)
    assert got["usage"]["prompt_tokens"] == sum(map(len, prompts))
    assert (got["usage"]["completion_tokens"] > 0) is (new > 0)
    for tokens, text, choice in zip(prompts, TEXTS, got["choices"], strict=True):
        noted = choice["logprobs"]
        expected, likeliest = by_hand(server.model, tokens, made)
        n = len(tokens)
        assert noted["token_logprobs"][0] is None
        assert noted["top_logprobs"][0] is None
        assert noted["token_logprobs"][1:n] == pytest.approx(expected, abs=1e-6)
        assert [max(top.values()) for top in noted["top_logprobs"][1:n]] == pytest.approx(likeliest, abs=1e-6)
        assert choice["text"].startswith(text)
        assert noted["text_offset"][0] == 0
        assert all(
            choice["text"][at:].startswith(t)
            for at, t in zip(noted["text_offset"][:n], noted["tokens"], strict=False)
            if "\ufffd" not in t
        )
        assert len(noted["tokens"]) == len(noted["token_logprobs"]) == len(noted["top_logprobs"]) >= n
        if new == 0:
            assert choice["text"] == text
            assert choice["finish_reason"] == "length"
        else:
            alone = post(server, prompt=tokens, logprobs=1, max_tokens=new, **more)["choices"][0]
            assert choice["text"] == text + alone["text"]
            assert noted["token_logprobs"][n:] == pytest.approx(alone["logprobs"]["token_logprobs"], abs=1e-6)
            assert noted["text_offset"][n:] == [len(text) + at for at in alone["logprobs"]["text_offset"]]


def test_an_intervention_changes_what_is_read(server):
    body = {"prompt": TEXTS[0], "echo": True, "logprobs": 0, "max_tokens": 0}
    plain, edited = (
        post(server, **body, rhat=rhat)["choices"][0]["logprobs"] for rhat in ([], {"op": "add", "coefficient": 6.0})
    )
    assert plain["token_logprobs"][1:] != pytest.approx(edited["token_logprobs"][1:], abs=1e-3)
    generated = {"op": "add", "coefficient": 6.0, "scope": "generated"}  # a prompt holds no generated token
    assert post(server, **body, rhat=generated)["choices"][0]["logprobs"]["token_logprobs"][1:] == pytest.approx(
        plain["token_logprobs"][1:], abs=1e-9
    )


def test_without_log_probabilities_it_is_the_text(server):
    assert post(server, prompt="the river", echo=True, max_tokens=0)["choices"][0]["text"] == "the river"
    alone = post(server, prompt="the river", max_tokens=4)["choices"][0]
    both = post(server, prompt="the river", echo=True, max_tokens=4)["choices"][0]
    assert both["text"] == "the river" + alone["text"]
    assert both["logprobs"] is None


@pytest.mark.parametrize("logprobs", [None, 1])
def test_a_stream_brings_the_same(server, logprobs):
    body = {"prompt": "the river", "echo": True, "max_tokens": 4, "logprobs": logprobs}
    whole = post(server, **body)["choices"][0]
    got = httpx.post(f"{server.url}/v1/completions", json={"model": "tiny", "temperature": 0, **body, "stream": True})
    chunks = [json.loads(line[6:])["choices"][0] for line in got.text.splitlines() if line.startswith("data: {")]
    assert "".join(chunk["text"] for chunk in chunks) == whole["text"]
    if logprobs:
        for name in ("tokens", "token_logprobs", "text_offset"):
            told = [one for chunk in chunks if chunk["logprobs"] for one in chunk["logprobs"][name]]
            assert told == whole["logprobs"][name], name


def test_of_tokens_that_read_the_same_the_likeliest_is_told():
    """Parts of characters all read as one sign; a client takes the largest value for the greedy choice."""
    from rhat.server.events import AnswerToken
    from rhat.server.options import ResolvedOptions
    from rhat.server.shape import Prompt, ResponseShape

    shape = ResponseShape(
        prompts=(Prompt((1,), 1, 1, chat=False),),
        model="m",
        n_prompt=1,
        asked=ResolvedOptions(),
        token_text=lambda token: "\ufffd",
        logprobs=True,
        seed=None,
    )
    told = shape.text_logprobs([AnswerToken(7, "", -0.5, ((7, -0.5), (8, -2.0)))], 0)
    assert told["top_logprobs"] == [{"\ufffd": -0.5}]


def test_what_cannot_be_read_is_one_line(server):
    def error(**body):
        got = httpx.post(f"{server.url}/v1/completions", json={"model": "tiny", "prompt": "a", **body})
        assert got.status_code in (400, 422), got.text
        return got.json()["error"]["message"]

    assert "max_tokens: got 0, expected at least 1; 0 is for reading prompts, with echo" in error(max_tokens=0)
    asked = {"echo": True, "max_tokens": 0, "rhat": {"op": "ablate", "return_projections": True}}
    assert "max_tokens: got 0 with return_projections" in error(**asked)
    assert "maximum context length is 400 tokens" in error(prompt=[7] * 401, echo=True, max_tokens=0)
    assert post(server, prompt=[7] * 400, echo=True, max_tokens=0)["usage"]["prompt_tokens"] == 400
    huge = {"op": "add", "coefficient": 1e300, "layer": 0}
    assert "under this intervention" in error(prompt="a stone", echo=True, logprobs=1, max_tokens=0, rhat=huge)
    assert post(server, prompt="a", max_tokens=1)["choices"]
