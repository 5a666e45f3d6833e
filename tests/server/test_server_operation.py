"""Limits, keys, time-outs, clients that leave, logs, and the end."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import httpx
import pytest
from serving import announced

from rhat.server import ServerError, Settings

SPECS = [[], {"op": "set_projection", "target": 6.5}, {"op": "ablate"}]
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "a stone"}], "temperature": 0}


@pytest.fixture
def serve(tiny_model, directions, calibrations):
    from contextlib import ExitStack

    from serving import running

    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(
            running(tiny_model, directions, Settings(**{"playground": False, "max_length": 400, **given}), calibrations)
        )


@pytest.fixture
def slow_steps(monkeypatch):
    """Decoding steps of at least 30 ms, as a larger model's are."""
    from rhat.generation import Engine

    step = Engine.step

    def slowly(self):
        time.sleep(0.03)
        return step(self)

    monkeypatch.setattr(Engine, "step", slowly)


def endless(model):
    """A logit bias against every end token, so that an answer runs to its limit."""
    return {str(token): -100 for token in model.eos_ids}


def stream(url, model, **given):
    body = {**CHAT, "max_tokens": 200, "stream": True, "logit_bias": endless(model), **given}
    return httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30)


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_client_that_leaves_frees_its_place_within_a_second(serve, slow_steps):
    up = serve(slots=1, max_queue=0)
    for streaming in (True, False):
        body = {**CHAT, "max_tokens": 300, "stream": streaming, "logit_bias": endless(up.model)}
        client = httpx.Client(timeout=30)
        if streaming:
            with client.stream("POST", f"{up.url}/v1/chat/completions", json=body) as got:
                lines = got.iter_lines()  # kept: httpx leaves when it is collected
                next(lines)
                assert up.service.runner.active == 1
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{up.url}/v1/chat/completions", json=body, timeout=0.4)
        client.close()
        left = time.monotonic()
        until(lambda: up.service.runner.active == 0, 1.0)
        assert time.monotonic() - left < 1.0
        got = httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 1})
        assert got.status_code == 200
    assert 'rhat_answers_total{reason="cancelled"} 2.0' in httpx.get(f"{up.url}/metrics").text


def test_a_client_that_leaves_the_queue_is_forgotten(serve, slow_steps):
    up = serve(slots=1, max_queue=4, max_tokens=300)
    with stream(up.url, up.model) as first:
        lines = first.iter_lines()
        next(lines)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 5}, timeout=0.3)
        until(lambda: up.service.runner.waiting == 0, 1.0)
        assert up.service.runner.active == 1


def test_a_full_queue_is_429_with_retry_after(serve, slow_steps):
    up = serve(slots=1, max_queue=1)
    waiting: list[httpx.Response] = []
    with stream(up.url, up.model) as first:
        lines = first.iter_lines()
        next(lines)
        second = threading.Thread(
            target=lambda: waiting.append(
                httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 2}, timeout=30)
            )
        )
        second.start()
        until(lambda: up.service.runner.waiting == 1)
        got = httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 2})
        assert got.status_code == 429
        assert int(got.headers["retry-after"]) >= 1
        assert got.json()["error"]["code"] == "rate_limit_exceeded"
        assert httpx.get(f"{up.url}/health").json() == {
            **httpx.get(f"{up.url}/health").json(),
            "active": 1,
            "waiting": 1,
        }
    second.join()
    assert waiting[0].status_code == 200


def test_an_answer_that_takes_too_long_is_called_off(serve, slow_steps):
    up = serve(slots=2, timeout=0.5)
    got = httpx.post(
        f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 200, "logit_bias": endless(up.model)}, timeout=30
    )
    assert got.status_code == 504
    assert got.json()["error"]["code"] == "timeout"
    with stream(up.url, up.model) as streamed:
        lines = [line for line in streamed.iter_lines() if line]
    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "timeout"
    assert lines[-1] == "data: [DONE]"
    until(lambda: up.service.runner.active == 0, 1.0)


def test_a_body_that_comes_too_slowly(serve):
    import socket

    up = serve(body_timeout=0.3)
    host, port = up.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        assert b" 408 " in line.recv(4096).split(b"\r\n")[0]


def test_a_key_is_asked_for(serve):
    up = serve(api_key="correct horse")
    assert httpx.get(f"{up.url}/health").status_code == 200
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic !"},
        {"authorization": "Bearer \xe9".encode("latin-1")},
    ):
        got = httpx.get(f"{up.url}/v1/models", headers=headers)
        assert got.status_code == 401
        assert got.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(f"{up.url}/v1/models", headers={"authorization": "Bearer correct horse"}).status_code == 200
    assert httpx.get(f"{up.url}/v1/models", auth=("anyone", "correct horse")).status_code == 200  # a browser's login
    for path in ("/", "/metrics", "/openapi.json"):
        assert httpx.get(f"{up.url}{path}").status_code == 401


def test_other_addresses_need_a_key():
    for host in ("0.0.0.0", "192.168.1.5", "::", "my-server"):
        with pytest.raises(ServerError, match="RHAT_API_KEY"):
            Settings(host=host)
        assert Settings(host=host, api_key="long enough").host == host
    assert Settings(host="127.0.0.1").host == "127.0.0.1"


@pytest.mark.parametrize(
    "wrong", [{"slots": 0}, {"max_tokens": 0}, {"timeout": -1.0}, {"max_queue": -1}, {"api_key": "short"}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ServerError, match=next(iter(wrong)).replace("_", ".").replace("api", "API")):
        Settings(**wrong)


def test_an_allowed_origin_gets_its_headers(serve):
    up = serve(allowed_origins=("https://app.example",), api_key="correct horse")
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    got = httpx.options(f"{up.url}/v1/chat/completions", headers=asked)
    assert got.status_code == 200
    assert got.headers["access-control-allow-origin"] == "https://app.example"
    assert (
        httpx.options(f"{up.url}/v1/chat/completions", headers={**asked, "origin": "https://evil.example"}).status_code
        == 403
    )


def test_the_default_intervention_applies_where_a_request_names_none(serve):
    up = serve(default=({"op": "set_projection", "target": 6.5},))

    def say(**more):
        got = httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 12, **more}).json()["choices"][0]
        return got["message"]["content"], len(got["rhat"]["interventions"])

    named = say(rhat={"op": "set_projection", "target": 6.5})
    assert say() == named == say(rhat={"return_projections": True})
    none = say(rhat=[])
    assert none[1] == 0
    assert none[0] != named[0]


def test_a_default_that_makes_no_sense_is_rejected_at_the_start(tiny_model, directions):
    from rhat.server import create_app

    for default, words in (
        ({"op": "add", "direction": "nobody"}, "nobody"),
        ({"op": "explode"}, "op"),
        ({"op": "add", "layer": 7}, "layers 0 to 2"),
    ):
        with pytest.raises(ServerError, match=words):
            create_app(tiny_model, directions, Settings(default=(default,), playground=False))


def test_a_failing_request_harms_no_other(serve, monkeypatch):
    from rhat.generation import Engine

    up = serve(slots=4)
    add = Engine.add

    def failing(self, requests):
        if requests[0].max_new_tokens == 13:
            raise RuntimeError("planted")
        return add(self, requests)

    monkeypatch.setattr(Engine, "add", failing)
    with stream(up.url, up.model, max_tokens=60) as other:
        lines = other.iter_lines()
        next(lines)
        got = httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 13})
        assert got.status_code == 500
        assert got.json()["error"]["message"] == "unexpected RuntimeError; the server's log says more"
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    # A step that fails takes the whole batch with it, but not the server.
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self: (_ for _ in ()).throw(RuntimeError("planted")))
    assert httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 5}).status_code == 500
    monkeypatch.setattr(Engine, "step", step)
    assert httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 5}).status_code == 200


def test_requests_that_waited_begin_together_and_one_that_fails_fails_alone(serve, monkeypatch):
    from rhat.generation import Engine

    up = serve(slots=8)
    sizes = []
    add, step = Engine.add, Engine.step
    held = threading.Event()

    def planted(self, requests):
        sizes.append(len(requests))
        if any(request.max_new_tokens == 13 for request in requests):
            raise RuntimeError("planted")
        return add(self, requests)

    def ask(i, many):
        body = {**CHAT, "max_tokens": many, "messages": [{"role": "user", "content": f"a stone {i}"}]}
        return httpx.post(f"{up.url}/v1/chat/completions", json={**body, "rhat": SPECS[i % 3]}, timeout=30)

    alone = [ask(i, 9).json()["choices"][0]["message"]["content"] for i in range(4)]
    monkeypatch.setattr(Engine, "add", planted)
    monkeypatch.setattr(Engine, "step", lambda self: (held.wait(20), step(self))[1])
    got: dict[int, httpx.Response] = {}
    with stream(up.url, up.model, max_tokens=3) as first:
        lines = first.iter_lines()
        next(lines)  # the engine is in a step now, and is held there
        many = {0: 9, 1: 9, 2: 13, 3: 9}
        threads = [
            threading.Thread(target=lambda i=i: got.__setitem__(i, ask(i, many[i])), daemon=True) for i in range(4)
        ]
        for thread in threads:
            thread.start()
        until(lambda: up.service.runner.waiting == 4)
        held.set()
        for thread in threads:
            thread.join(30)
    assert sizes == [1, 4, 1, 1, 1, 1]
    assert got[2].status_code == 500
    for i in (0, 1, 3):
        assert got[i].json()["choices"][0]["message"]["content"] == alone[i]
    assert len(set(alone)) > 1


def test_logs_say_what_happened_but_not_what_was_said(serve, caplog):
    from rhat.server.logs import JsonLines

    secret = "a very secret stone"
    body = {**CHAT, "messages": [{"role": "user", "content": secret}], "max_tokens": 4, "rhat": {"op": "ablate"}}
    for log_prompts in (False, True):
        caplog.clear()
        with caplog.at_level(logging.INFO, "rhat.server"):
            up = serve(log_prompts=log_prompts)
            got = httpx.post(f"{up.url}/v1/chat/completions", json=body)
            until(lambda: any(record.getMessage() == "request" for record in caplog.records))
        lines = [JsonLines().format(record) for record in caplog.records if record.name == "rhat.server"]
        line = json.loads(next(text for text in lines if '"request"' in text))
        assert line["id"] == got.headers["x-request-id"]
        assert (line["status"], line["path"]) == (200, "/v1/chat/completions")
        assert line["completion_tokens"] == got.json()["usage"]["completion_tokens"]
        assert line["interventions"][0]["op"] == "ablate"
        assert (secret in "\n".join(lines)) is log_prompts


PROGRAM = """
    import sys
    from dataclasses import replace
    sys.path[:0] = {paths!r}
    from tiny import tiny_chat_model
    from rhat.directions import Direction
    from rhat.guard import Calibration, beside
    from rhat.generation import Engine
    from rhat.server import Settings, serve
    import time
    step = Engine.step
    Engine.step = lambda self: (time.sleep(0.03), step(self))[1]
    path = {direction!r}
    serve(
        replace(tiny_chat_model("qwen2"), name="tiny"), {{"r": Direction.load(path)}},
        Settings(port=0, playground=False, grace=5, max_length=400), {{"r": Calibration.load(beside(path))}},
    )
"""


@pytest.fixture
def process(tmp_path, directions, calibrations):
    """The server as a process of its own, on files of its own; gives (process, url, files)."""
    from rhat.guard import beside

    path = directions["r"].save(tmp_path / "r.safetensors")
    calibrations["r"].save(beside(path))
    program = textwrap.dedent(PROGRAM).format(paths=[p for p in sys.path if p], direction=str(path))
    started = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=os.environ)
    url = announced(started)

    def up():
        try:
            return httpx.get(f"{url}/health").status_code == 200
        except httpx.ConnectError:
            return False

    until(up, 20)
    try:
        yield started, url, tmp_path
    finally:
        started.kill()
        started.wait()


def test_told_to_stop_it_finishes_what_it_is_writing(process, tiny_model):
    started, url, _ = process
    with stream(url, tiny_model, max_tokens=40) as got:
        lines = got.iter_lines()
        next(lines)
        started.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert started.wait(10) in (0, -signal.SIGTERM)


def test_killed_in_mid_stream_it_loses_no_file(process, tiny_model):
    started, url, folder = process
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with stream(url, tiny_model) as got:
        lines = got.iter_lines()
        for _ in range(5):
            next(lines)
        started.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert set(before) == {"r.safetensors", "r.guard.json"}


def test_an_address_that_is_taken_is_one_line(tiny_model, directions):
    import socket

    from rhat.server import serve

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=re.escape(f"127.0.0.1:{port}: cannot listen there")):
            serve(tiny_model, directions, Settings(port=port, playground=False))


def test_calibrations_must_belong(tiny_model, directions, calibrations):
    from rhat.errors import ArtifactError
    from rhat.server import create_app

    with pytest.raises(ArtifactError, match="calibration of another direction"):
        create_app(tiny_model, {"r": directions["other"]}, Settings(playground=False), calibrations)
    with pytest.raises(ServerError, match="no direction of that name"):
        create_app(tiny_model, directions, Settings(playground=False), {"x": calibrations["r"]})


def test_a_model_whose_fast_path_is_off_is_served_all_the_same(directions, tiny_model, monkeypatch):
    from serving import running

    slow = replace(tiny_model)
    slow.__dict__["fast"] = False
    texts = []
    for model in (tiny_model, slow):
        with running(model, directions, Settings(playground=False, max_length=400)) as up:
            got = httpx.post(f"{up.url}/v1/chat/completions", json={**CHAT, "max_tokens": 8, "rhat": {"op": "ablate"}})
            texts.append(got.json()["choices"][0]["message"]["content"])
    assert texts[0] == texts[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU OpenMP is looked for where Linux lists it")
def test_products_go_on_after_the_workers_of_the_first_thread_are_let_go():
    """In a process of its own: the first thread has multiplied, lets go of its workers, and another one multiplies."""
    code = """if True:
        import threading, torch
        from rhat.model.openmp import release_openmp_workers
        torch.set_num_threads(2)
        a = torch.randn(600, 600)
        before, after = a @ a, []
        print(release_openmp_workers())
        thread = threading.Thread(target=lambda: after.append(a @ a))
        thread.start(); thread.join()
        print(torch.equal(before, after[0]), torch.equal(before, a @ a))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True"] * 3, done.stderr
