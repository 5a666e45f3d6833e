"""The default model behind the server: what the acceptance promises of a real one."""

import asyncio

import httpx
import pytest
from serving import make_direction, running

openai = pytest.importorskip("openai", reason="the openai client is not installed")

from rhat.generation import Engine, Request  # noqa: E402
from rhat.interventions import intervene  # noqa: E402
from rhat.prompts import builtin  # noqa: E402
from rhat.server import Settings  # noqa: E402

pytestmark = pytest.mark.model
NEW = 8


@pytest.fixture(scope="module")
def texts():
    return [prompt.text for prompt in builtin().select("harmless", "test", 64)]


def test_64_streams_with_four_interventions_say_what_each_says_alone(single_precision, texts):
    """Greedy, float32: token by token, up to the first whose two likeliest logits lie within 1e-3."""
    model = single_precision
    r = make_direction(model, layer=14)
    scale = 3.0
    made = [
        None,
        intervene("set_projection", r, value=4 * scale),
        intervene("add", r, value=-scale, scope="template"),
        intervene("ablate", r),
    ]
    specs = [
        [],
        {"op": "set_projection", "target": 4 * scale},
        {"op": "add", "coefficient": -scale, "scope": "template"},
        {"op": "ablate"},
    ]

    async def one(client, i):
        stream = await client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": texts[i]}],
            max_tokens=NEW,
            temperature=0,
            stream=True,
            logprobs=True,
            top_logprobs=2,
            extra_body={"rhat": specs[i % 4]},
        )
        return [
            token.token
            async for chunk in stream
            if chunk.choices and chunk.choices[0].logprobs
            for token in chunk.choices[0].logprobs.content
        ]

    async def everyone(url):
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=300) as client:
            return await asyncio.gather(*(one(client, i) for i in range(64)))

    with running(model, {"r": r}, Settings(playground=False, slots=64)) as up:
        together = asyncio.run(everyone(up.url))
    edits = [None if m is None else m.edits(model) for m in made]
    compared = 0
    for i in range(0, 64, 5):  # every intervention, every length; alone is slow
        engine = Engine(model, n_slots=1)
        row = engine.add([Request(model.tokenize([texts[i]])[0], NEW, edits=edits[i % 4], logprobs=2)])[0]
        while engine.rows:
            engine.step()
        for position, (token, noted) in enumerate(zip(row.generated, row.logprobs, strict=True)):
            if noted.top[0][1] - noted.top[1][1] < 1e-3 or token in model.eos_ids:
                break
            assert together[i][position] == model.tokenizer.decode([token])
            compared += 1
    assert compared > 60


def test_16_at_once_share_their_steps(default_model, texts):
    """Tokens a decoding step, counted by the server: one at a time they are one, 16 at once many. The clock is the business of
    the benchmark (`make bench`, topic serving)."""
    body = {"model": "default", "max_tokens": 24, "temperature": 0}

    def counted(url):
        lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
        value = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return float(value['rhat_tokens_total{kind="generated"}']), float(value["rhat_step_seconds_count"])

    async def tokens_per_step(url, n, at_once):
        gate = asyncio.Semaphore(at_once)
        async with httpx.AsyncClient(timeout=600) as client:

            async def one(text):
                async with gate:
                    await client.post(
                        f"{url}/v1/chat/completions", json={**body, "messages": [{"role": "user", "content": text}]}
                    )

            before = counted(url) if n > 2 else (0.0, 0.0)
            await asyncio.gather(*(one(text) for text in texts[:n]))
            after = counted(url)
            return (after[0] - before[0]) / (after[1] - before[1])

    with running(default_model, {}, Settings(playground=False, slots=16)) as up:
        single = asyncio.run(tokens_per_step(up.url, 2, 1))
        many = asyncio.run(tokens_per_step(up.url, 32, 16))
    assert many > 4 * single
