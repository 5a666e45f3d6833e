"""Clients that people already have: OpenAI's, curl, Inspect AI, unchanged."""

import asyncio
import json
import shutil
import subprocess
import textwrap

import pytest
import torch

openai = pytest.importorskip("openai", reason="the openai client is not installed")

from rhat.generation import Engine, Request, Sampling  # noqa: E402
from rhat.interventions import combine, intervene  # noqa: E402


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def alone(model, text, new, edits=None, sampling=None, stop=()):
    """The text and the tokens that the engine alone gives for a chat prompt."""
    engine = Engine(model, n_slots=1, max_length=400)
    row = engine.add([Request(model.tokenize([text])[0], new, edits=edits, sampling=sampling, stop=stop)])[0]
    while engine.rows:
        engine.step()
    return row


SPECS = [
    None,
    {"op": "set_projection", "target": 6.5},
    {"direction": "other", "op": "add", "coefficient": -7, "scope": "last_prompt_token"},
    [{"op": "ablate"}, {"direction": "other", "op": "add", "coefficient": 3.0, "layer": 1}],
]


def edits_of(server, index):
    r, other = server.service.directions.known.values()
    made = [
        None,
        intervene("set_projection", r, value=6.5),
        intervene("add", other, value=-7.0, scope="last_prompt_token"),
        combine([intervene("ablate", r), intervene("add", other, value=3.0, layer=1)]),
    ][index]
    return None if made is None else made.edits(server.model)


def test_a_chat_completion_is_what_the_engine_says(server, client):
    got = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a stone"}], temperature=0, max_tokens=9
    )
    row = alone(server.model, "a stone", 9)
    assert got.choices[0].message.content == str(row.text)
    assert got.choices[0].finish_reason == row.finish_reason
    assert got.usage.prompt_tokens == len(row.request.tokens)
    assert got.usage.completion_tokens == len(row.generated)
    assert got.usage.total_tokens == len(row.sequence)


def test_an_intervention_in_extra_body(server, client):
    for index in (1, 2, 3):
        got = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "a stone"}],
            temperature=0,
            max_tokens=12,
            extra_body={"rhat": SPECS[index]},
        )
        row = alone(server.model, "a stone", 12, edits_of(server, index))
        assert got.choices[0].message.content == str(row.text)
        assert str(row.text) != str(alone(server.model, "a stone", 12).text)
        said = got.choices[0].model_extra["rhat"]["interventions"]
        assert all(part["applied"] for part in said)
        assert len(said) == (2 if index == 3 else 1)


def test_64_concurrent_streams_with_four_interventions_say_what_each_says_alone(server):
    async def one(client, i):
        greedy = i % 2 == 0
        stream = await client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": f"a stone {'and ' * (i % 7)}{i}"}],
            max_tokens=8 + i % 5,
            temperature=0 if greedy else 0.9,
            seed=i,
            top_p=0.9,
            stream=True,
            extra_body={"rhat": SPECS[i % 4]} if SPECS[i % 4] is not None else {},
        )
        text = ""
        async for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
        return text

    async def everyone():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, i) for i in range(64)))

    texts = asyncio.run(everyone())
    edits = [edits_of(server, i) for i in range(4)]
    for i, text in enumerate(texts):
        sampling = None if i % 2 == 0 else Sampling(0.9, 0.9, seed=i)
        row = alone(server.model, f"a stone {'and ' * (i % 7)}{i}", 8 + i % 5, edits[i % 4], sampling)
        assert text == str(row.text)
    assert len(set(texts)) > 30


def test_a_stream_brings_usage_logprobs_and_projections(server, client):
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "a stone"}],
        "temperature": 0,
        "max_tokens": 6,
        "logprobs": True,
        "top_logprobs": 2,
        "extra_body": {"rhat": {"op": "set_projection", "target": 6.5, "return_projections": True}},
    }
    whole = client.chat.completions.create(**body)
    chunks = list(client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage == whole.usage
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    streamed = [p for c in chunks if c.choices and c.choices[0].logprobs for p in c.choices[0].logprobs.content]
    assert streamed == whole.choices[0].logprobs.content
    assert all(len(p.top_logprobs) == 2 and p.logprob == p.top_logprobs[0].logprob for p in streamed)
    said = whole.choices[0].model_extra["rhat"]["projections"]
    tokens = [t for c in chunks if c.choices for t in (c.choices[0].model_extra.get("rhat") or {}).get("tokens", [])]
    assert tokens == said["tokens"]
    assert [t["edited_projection"] for t in tokens] == pytest.approx([6.5] * len(tokens))
    # Against transformers' own hidden states, under the intervention.
    r = server.service.directions.known["r"]
    made = intervene("set_projection", r, value=6.5)
    ids = [*server.model.tokenize(["a stone"])[0], *(t["id"] for t in tokens)]
    with made.on(server.model), torch.no_grad():
        below = server.model.hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[r.layer][0]
    expected = r.project(below)  # transformers keeps what reaches the block, before the edit
    start = len(ids) - len(tokens)
    assert [t["projection"] for t in tokens] == pytest.approx(expected[start:].tolist(), abs=1e-9)
    assert said["prompt"] == pytest.approx(float(expected[start - 1]), abs=1e-9)


def test_several_choices_with_seeds_of_their_own(server, client):
    got = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a stone"}], temperature=1, seed=7, n=3, max_tokens=8
    )
    texts = [choice.message.content for choice in got.choices]
    assert texts == [str(alone(server.model, "a stone", 8, sampling=Sampling(1.0, seed=7 + i)).text) for i in range(3)]
    assert len(set(texts)) == 3


def test_stop_strings_cut_the_answer(server, client):
    text = str(alone(server.model, "a stone", 20).text)
    stop = text[4:6]
    cut = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a stone"}], temperature=0, max_tokens=20, stop=[stop]
    )
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_plain_completions(server, client):
    got = client.completions.create(model="tiny", prompt=["the river", "a"], temperature=0, max_tokens=5, logprobs=1)
    assert [choice.index for choice in got.choices] == [0, 1]
    tokens = server.model.tokenizer("the river")["input_ids"]
    with torch.no_grad():
        first = int(server.model.hf(torch.tensor([tokens])).logits[0, -1].argmax())
    assert got.choices[0].logprobs.tokens[0] == server.model.tokenizer.decode([first])
    assert (
        "".join(
            c.choices[0].text
            for c in client.completions.create(
                model="tiny", prompt="the river", temperature=0, max_tokens=5, stream=True
            )
        )
        == got.choices[0].text
    )
    by_tokens = client.completions.create(model="tiny", prompt=tokens, temperature=0, max_tokens=5)
    assert by_tokens.choices[0].text == got.choices[0].text


def test_models(server, client):
    assert [m.id for m in client.models.list()] == ["tiny"]
    assert (
        client.models.retrieve("tiny").model_extra["rhat"]["directions"][0]["threshold"] == 0.5
    )  # one of five at most: the largest of the four
    with pytest.raises(openai.NotFoundError, match="model 'gpt-4': not served here; this server has tiny"):
        client.models.retrieve("gpt-4")


def test_moderations_score_by_the_calibrated_projection(server, client):
    from rhat.guard import prompt_projections

    r = server.service.directions.known["r"]
    texts = ["a stone", "the other river is near", "why", "ten bridges"]
    values = prompt_projections(server.model, r, server.model.tokenize(texts))
    got = client.moderations.create(input=texts, model="tiny")
    threshold = server.service.directions.threshold("r")
    assert [result.flagged for result in got.results] == [bool(v > threshold) for v in values]
    for result, value in zip(got.results, values, strict=True):
        scores = result.model_extra.get("category_scores") or result.category_scores
        score = scores["refusal"] if isinstance(scores, dict) else scores.model_extra["refusal"]
        assert score == pytest.approx(min(1, max(0, (value + 2) / 7)))
        assert result.model_extra["rhat"]["projection"] == pytest.approx(value, abs=1e-9)
    assert client.moderations.create(input="a stone").results[0].flagged == bool(values[0] > threshold)
    with pytest.raises(openai.BadRequestError, match="direction other: not calibrated"):
        client.moderations.create(input="a stone", extra_body={"direction": "other"})


def test_conditional_interventions_look_at_the_prompt_first(server, client):
    from rhat.guard import prompt_projections

    texts = [f"a stone {'and ' * i}" for i in range(6)]
    values = prompt_projections(server.model, server.service.directions.known["r"], server.model.tokenize(texts))
    # Half-way between two prompts: together and alone their projections differ in the last bit.
    threshold = float(sorted(values)[2] + sorted(values)[3]) / 2
    applied = []
    for text in texts:
        got = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": text}],
            temperature=0,
            max_tokens=8,
            extra_body={"rhat": {"op": "set_projection", "target": 6.5, "when": "above", "threshold": threshold}},
        )
        [part] = got.choices[0].model_extra["rhat"]["interventions"]
        applied.append(part["applied"])
        row = alone(server.model, text, 8, edits_of(server, 1) if part["applied"] else None)
        assert got.choices[0].message.content == str(row.text)
    assert applied == (values > threshold).tolist()
    assert 0 < sum(applied) < 6


def test_curl(server):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    body = json.dumps(
        {"model": "default", "messages": [{"role": "user", "content": "a stone"}], "temperature": 0, "max_tokens": 5}
    )
    got = subprocess.run(
        ["curl", "-sS", f"{server.url}/v1/chat/completions", "-H", "content-type: application/json", "-d", body],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(got.stdout)["choices"][0]["message"]["content"] == str(alone(server.model, "a stone", 5).text)


def test_an_inspect_evaluation(server, tmp_path, monkeypatch):
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed")
    task = tmp_path / "task.py"
    expected = str(alone(server.model, "a stone", 5).text)
    task.write_text(
        textwrap.dedent(f"""
        from inspect_ai import Task, eval
        from inspect_ai.dataset import Sample
        from inspect_ai.scorer import includes
        from inspect_ai.solver import generate

        if __name__ == "__main__":
            task = Task(
                dataset=[Sample(input="a stone", target={expected[:3]!r}), Sample(input="a stone", target="nowhere to be found")],
                solver=generate(), scorer=includes(),
            )
            [log] = eval(
                task, model="openai-api/rhat/tiny", display="none", log_dir={str(tmp_path / "logs")!r},
                temperature=0.0, max_tokens=5,
            )
            assert log.status == "success", log.error
            print("accuracy", log.results.scores[0].metrics["accuracy"].value)
            print("text", [s.output.completion for s in log.samples])
    """)
    )
    import os
    import sys

    got = subprocess.run(
        [sys.executable, str(task)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env={**os.environ, "RHAT_API_KEY": "none", "RHAT_BASE_URL": f"{server.url}/v1", "HOME": str(tmp_path)},
    )
    assert got.returncode == 0, got.stderr[-3000:]
    assert "accuracy 0.5" in got.stdout
    assert repr([expected, expected]) in got.stdout
