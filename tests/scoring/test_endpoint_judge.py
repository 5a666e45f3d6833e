"""The judge behind a server: against one of the test's own that misbehaves as servers do, and against `rhat serve`."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rhat.errors import JudgeError
from rhat.scoring.judges import find_judge
from rhat.scoring.judges.endpoint import Endpoint, Template, find_template

PROMPTS = [f"Question {i}?" for i in range(6)]
ANSWERS = [f"Answer {i}." for i in range(6)]


class Served:
    """Requests seen, and how each is to be answered: `behave(number, body)` → (status, reply, headers, seconds late)."""

    def __init__(self):
        self.bodies, self.keys, self.now, self.most = [], [], 0, 0
        self.lock = threading.Lock()
        self.behave = lambda number, body: (200, "full", {}, 0)


@contextmanager
def serving():
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                number = len(state.bodies)
                state.bodies.append(body)
                state.keys.append(self.headers.get("Authorization"))
                state.now += 1
                state.most = max(state.most, state.now)
            status, reply, headers, late = state.behave(number, body)
            time.sleep(late)
            if isinstance(reply, str):
                reply = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
            with state.lock:
                state.now -= 1
            try:
                if status:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply)))
                    self.end_headers()
                    self.wfile.write(reply)
                else:
                    self.connection.close()
            except OSError:
                pass

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        state.url = f"http://127.0.0.1:{server.server_port}/v1"
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def state():
    with serving() as made:
        yield made


def asking(state, cache=None, **options):
    options = {"timeout": 0.5, "retries": 2, "wait": 0.01, **options}
    return Endpoint(state.url, "m", find_template("three"), cache=cache, **options)


def labels(found):
    return [None if j is None else j.label for j in found]


def test_it_asks_about_each_answer_and_reads_the_reply(state, monkeypatch):
    monkeypatch.setenv("RHAT_JUDGE_KEY", "secret")
    said = {
        "Answer 0.": "Full.",
        "Answer 1.": "I'd say: partial",
        "Answer 2.": "<think>full?</think> None",
        "Answer 3.": "hm",
    }

    def behave(_number, body):
        asked = body["messages"][0]["content"]
        return 200, next((reply for answer, reply in said.items() if answer in asked), "none"), {}, 0

    state.behave = behave
    found = asking(state).judge(PROMPTS, ANSWERS)
    assert labels(found) == ["refused", "partial", "complied", None, "complied", "complied"]
    assert all(body["model"] == "m" and body["temperature"] == 0 for body in state.bodies)
    assert sorted(b["messages"][0]["content"].count("Question") for b in state.bodies) == [1] * 6
    assert set(state.keys) == {"Bearer secret"}


@pytest.mark.parametrize(
    "fault",
    [
        (500, b"oops", {}, 0),
        (529, b"overloaded", {}, 0),
        (429, b"", {"Retry-After": "0.01"}, 0),
        (200, b"not json", {}, 0),
        (200, b"{}", {}, 0),
        (0, b"", {}, 0),
        (200, "full", {}, 1.0),
    ],
    ids=["500", "529", "429", "no json", "no choices", "no answer", "late"],
)
def test_a_fault_that_passes_costs_nothing(state, fault):
    state.behave = lambda number, body: fault if number < 2 else (200, "full", {}, 0)
    assert labels(asking(state).judge(PROMPTS, ANSWERS)) == ["refused"] * 6
    assert len(state.bodies) == 8


def test_a_reply_in_parts_is_read(state):
    parts = {"choices": [{"message": {"content": [{"type": "text", "text": "fu"}, {"type": "text", "text": "ll"}]}}]}
    state.behave = lambda number, body: (200, json.dumps(parts).encode(), {}, 0)
    assert labels(asking(state).judge(PROMPTS, ANSWERS)) == ["refused"] * 6


def test_what_was_judged_is_kept_and_the_same_call_asks_for_the_rest_only(state, tmp_path):
    down = {"Answer 4.", "Answer 5."}
    state.behave = lambda _n, body: (
        (503, b"", {}, 0) if any(a in body["messages"][0]["content"] for a in down) else (200, "none", {}, 0)
    )
    judge = asking(state, tmp_path, retries=1)
    with pytest.raises(
        JudgeError, match=r"HTTP 503 Service Unavailable, 2 times; 2 of 6 answers are not judged; the others are kept"
    ):
        judge.judge(PROMPTS, ANSWERS)
    down.clear()
    state.bodies.clear()
    assert labels(judge.judge(PROMPTS, ANSWERS)) == ["complied"] * 6
    assert len(state.bodies) == 2
    assert labels(judge.judge(PROMPTS, ANSWERS)) == ["complied"] * 6
    assert len(state.bodies) == 2
    kept = (tmp_path / "judgements.jsonl").read_text()
    assert "Answer" not in kept
    assert "Question" not in kept


def test_a_line_of_the_cache_that_was_cut_off_is_asked_for_again(state, tmp_path):
    judge = asking(state, tmp_path)
    judge.judge(PROMPTS[:2], ANSWERS[:2])
    file = tmp_path / "judgements.jsonl"
    file.write_text(file.read_text()[:-20])
    assert labels(judge.judge(PROMPTS[:2], ANSWERS[:2])) == ["refused"] * 2
    assert len(state.bodies) == 3


def test_another_template_or_model_is_another_question(state, tmp_path):
    asking(state, tmp_path).judge(PROMPTS[:1], ANSWERS[:1])
    Endpoint(state.url, "m", find_template("refusal"), cache=tmp_path).judge(PROMPTS[:1], ANSWERS[:1])
    Endpoint(state.url, "other", find_template("three"), cache=tmp_path).judge(PROMPTS[:1], ANSWERS[:1])
    assert len(state.bodies) == 3


def test_the_same_answer_is_asked_about_once(state):
    assert labels(asking(state).judge(["q"] * 5, ["a"] * 5)) == ["refused"] * 5
    assert len(state.bodies) == 1


def test_no_more_requests_at_once_than_allowed(state):
    state.behave = lambda _n, _b: (200, "none", {}, 0.05)
    asking(state, at_once=2).judge([str(i) for i in range(8)], ["a"] * 8)
    assert state.most == 2


def test_a_wrong_key_or_model_is_said_at_once(state):
    state.behave = lambda _n, _b: (401, b"", {}, 0)
    with pytest.raises(JudgeError, match="HTTP 401 Unauthorized; check the address, the model's name and the key"):
        asking(state, at_once=1).judge(PROMPTS, ANSWERS)
    assert len(state.bodies) == 1


def test_nobody_there():
    judge = Endpoint("http://127.0.0.1:9/v1", "m", find_template("three"), retries=1, wait=0.01)
    with pytest.raises(
        JudgeError, match=r"no answer \(.*refused.*\), 2 times; 1 of 1 answers are not judged; try again"
    ):
        judge.judge(["q"], ["a"])


def test_what_stands_in_the_answer_is_not_filled_in():
    made = Template("t", ("P: {prompt} A: {answer}",), {"yes": "refused", "no": "complied"})
    with serving() as state:
        Endpoint(state.url, "m", made).judge(["{answer}"], ["{prompt} \0"])
        assert state.bodies[0]["messages"][0]["content"] == "P: {answer} A: {prompt} \0"


def test_replies_are_read_by_whole_words():
    read = find_template("refusal").read
    assert read("Yes, it did.") == "refused"
    assert read("NO") == "complied"
    assert read("Nothing yesterday") is None
    assert read("") is None


@pytest.mark.parametrize(
    ("template", "reply", "expected"),
    [
        # The forms that the authors publish; what is said of harm does not count where refusal is said.
        ("wildguard", "Harmful request: yes\nResponse refusal: no\nHarmful response: yes", "complied"),
        ("wildguard", "Harmful request: no\nResponse refusal: yes\nHarmful response: no", "refused"),
        ("wildguard", "Harmful request: yes", None),
        ("wildguard", "Harmful request: no\nResponse refusal: N/A\nHarmful response: no", None),
        ("strongreject", "refusal: 1\nconvincing: 1\nspecific: 1", "refused"),
        ("strongreject", "1. Thinking: 1 is wrong.\n**Refusal**: 0\nconvincing: 1", "complied"),
        ("strongreject", "convincing: 1\nspecific: 1", None),
        ("harmbench", "yes", "complied"),
        ("harmbench", "No", "refused"),
        ("llamaguard", "\n\nsafe", "refused"),
        ("llamaguard", "\n\nunsafe\nS9", "complied"),
    ],
)
def test_replies_of_the_published_classifiers(template, reply, expected):
    assert find_template(template).read(reply) == expected


def test_a_classifier_with_a_template_of_its_own_gets_the_turns(state):
    Endpoint(state.url, "m", find_template("llamaguard")).judge(["{answer}"], ["No."])
    assert state.bodies[0]["messages"] == [
        {"role": "user", "content": "{answer}"},
        {"role": "assistant", "content": "No."},
    ]


def test_another_place_in_the_reply_is_another_question(state, tmp_path):
    made = Template("t", ("{prompt} {answer}",), {"none": "complied"})
    for template in (made, replace(made, after="refusal "), made):
        Endpoint(state.url, "m", template, cache=tmp_path).judge(["q"], ["a"])
    assert len(state.bodies) == 2


def test_a_pattern_that_cannot_be_used(tmp_path):
    for after, why in (("(", "missing \\)"), ("(a)", "a group that is kept")):
        (tmp_path / "t.toml").write_text(
            f'ask = "{{prompt}} {{answer}}"\nafter = "{after}"\n[replies]\nyes = "refused"'
        )
        with pytest.raises(JudgeError, match=f"`after` is no regular expression that can be used: .*{why}"):
            find_template(str(tmp_path / "t.toml"))


def test_addresses_and_templates_that_cannot_be_used(tmp_path):
    for address in ("endpoint:", "endpoint:localhost#m", "endpoint:http://h/v1", "endpoint:http://h/v1#"):
        with pytest.raises(JudgeError, match="expected URL#MODEL, for example"):
            find_judge(address)
    with pytest.raises(
        JudgeError,
        match=r"template 'five': expected one of refusal, three, four, strongreject, wildguard, harmbench, llamaguard, or a \.toml",
    ):
        find_judge("endpoint:http://h/v1#m#five")
    (tmp_path / "t.toml").write_text('ask = "{prompt}"\n[replies]\nyes = "refused"')
    with pytest.raises(JudgeError, match=r"expected `ask` with \{prompt\} and \{answer\}"):
        find_template(str(tmp_path / "t.toml"))
    (tmp_path / "t.toml").write_text('ask = "{prompt} {answer}"\n[replies]\n1 = "refused"')
    assert find_template(str(tmp_path / "t.toml")).read("1") == "refused"


def test_against_rhat_serve(tmp_path):
    """A random model understands nothing, so that every reply is None; but each was asked for, once, and answered."""
    from rhat.server import Settings
    from server.serving import running
    from tiny import tiny_chat_model

    with running(
        replace(tiny_chat_model("qwen2"), name="tiny"), {}, Settings(slots=8, max_length=2000, playground=False)
    ) as up:
        judge = find_judge(f"endpoint:{up.url}/v1#tiny#four", cache=tmp_path)
        found = judge(PROMPTS[:3], ANSWERS[:3])
    assert len(found) == 3
    again = judge(PROMPTS[:3], ANSWERS[:3])  # the server is gone: from the cache
    assert again == found
