"""The playground, driven in Debian's Chromium as a person would, by mouse, by keyboard and at a phone's width."""

import json
import re
import subprocess
import time

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from browsing import LONG, MARKS, SVG, answered, copied  # noqa: E402
from serving import running  # noqa: E402

from rhat.server import Settings  # noqa: E402
from rhat.server.playground.dial import SPAN, Dial  # noqa: E402

pytestmark = MARKS
SHORT = 12  # tokens of an answer, so that a conversation fits


def engine_says(up, text, new, spec):
    """The two answers that the API gives."""
    import httpx

    said = []
    for rhat in ([], spec):
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": new,
            "temperature": 0,
            "rhat": rhat,
        }
        said.append(
            httpx.post(f"{up.url}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]["message"][
                "content"
            ]
        )
    return said


def plain_text(text):
    """Without what a page does not show: NUL, and how much white space there is."""
    return re.sub(r"\s+", " ", text.replace("\0", "")).strip()


def test_a_prompt_is_answered_twice_and_the_curl_command_repeats_it(opened, up):
    page = opened()
    page.fill("#rhat-prompt textarea", "a stone")
    page.fill("#rhat-target input", "7.5")  # α = 1.36, beside the slider
    sync_api.expect(page.locator("#rhat-dial input[type=range]")).to_have_value("1.36")
    page.click("#rhat-go")
    plain, edited = answered(page)
    expected = engine_says(up, "a stone", LONG, {"op": "set_projection", "target": 7.5})
    assert [plain_text(plain), plain_text(edited)] == [plain_text(text) for text in expected]
    assert plain != edited
    colours = page.locator("#rhat-edited .rhat-token").evaluate_all(
        "all => all.map(t => getComputedStyle(t).backgroundColor)"
    )
    assert len(set(colours)) > 3
    assert "edited to 7.50" in page.locator("#rhat-edited .rhat-token").first.get_attribute("title")
    # The numbers are those of the API, and the prompt's projection stands on its scale.
    page.click("#rhat-plain summary")
    assert page.locator("#rhat-plain tbody tr").count() > 3
    pointer = page.locator("#rhat-scale .rhat-pointer").get_attribute("style")
    assert re.fullmatch(r"left:\d+\.\d\d%", pointer)
    assert "The prompt's projection is" in page.locator("#rhat-scale figcaption").inner_text()
    command = copied(page, "curl", "curl")
    got = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(got.stdout)["choices"][0]["message"]["content"] == expected[1]
    assert page.locator("#rhat-code textarea").input_value() == command


def test_the_python_program_repeats_the_answer(opened, up, tmp_path):
    pytest.importorskip("openai", reason="the openai client is not installed")
    import sys

    page = opened()
    page.fill("#rhat-prompt textarea", 'it\'s "the" river \\ here')
    program = tmp_path / "again.py"
    program.write_text(copied(page, "python", "OpenAI"))
    got = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=60)
    assert got.stdout[:-1] == engine_says(up, 'it\'s "the" river \\ here', LONG, {"op": "set_projection"})[1]


def test_a_link_brings_the_settings_back(opened, up):
    page = opened()
    page.fill("#rhat-prompt textarea", "the river & the <b>bridge</b>")
    page.fill("#rhat-target input", "3.25")
    page.locator("#rhat-layer input[type=range]").fill("2")
    page.click("#rhat-more button")
    page.fill("#rhat-system textarea", "Speak of <stones> & nothing else.")
    link = copied(page, "link", "prompt=")
    again = opened(link.removeprefix(f"{up.url}/"))
    sync_api.expect(again.locator("#rhat-prompt textarea")).to_have_value("the river & the <b>bridge</b>")
    sync_api.expect(again.locator("#rhat-target input")).to_have_value("3.25")
    sync_api.expect(again.locator("#rhat-dial input[type=range]")).to_have_value("0.75")
    again.click("#rhat-more button")
    sync_api.expect(again.locator("#rhat-system textarea")).to_have_value("Speak of <stones> & nothing else.")
    sync_api.expect(again.locator("#rhat-layer input[type=range]")).to_have_value("2")
    again.click("#rhat-go")
    answered(again)
    assert "set_projection, 3.25, at resid_pre.2" in again.locator("#rhat-edited .rhat-note").inner_text()


def test_impossible_links_leave_the_defaults(opened, directions):
    page = opened("?target=NaN&layer=99&op=explode&scope=x&max_tokens=-4&direction=nobody&temperature=hot")
    sync_api.expect(page.locator("#rhat-op input")).to_have_value("Set the projection")
    sync_api.expect(page.locator("#rhat-layer input[type=range]")).to_have_value(
        "2"
    )  # once the page has heard the server
    assert float(page.locator("#rhat-target input").input_value()) == directions["r"].mean_harmful


def test_it_works_by_keyboard_alone(opened):
    page = opened()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#rhat-prompt') !== null"):
            break
    page.keyboard.type("a stone")
    reached = set()
    slider = "document.activeElement.matches('#rhat-dial input[type=range]')"
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id^=rhat-]')?.id"))
        if page.evaluate(slider):
            before = float(page.evaluate("document.activeElement.value"))
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowLeft")
            sync_api.expect(page.locator("#rhat-target input")).to_have_value("4.86")  # 0.98 of the way from −2 to 5
            assert float(page.evaluate("document.activeElement.value")) == pytest.approx(before - 0.02)
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
        if page.evaluate("document.activeElement.id") == "rhat-go":
            break
    assert {"rhat-op", "rhat-scope", "rhat-layer", "rhat-dial", "rhat-target", "rhat-go"} <= reached
    page.keyboard.press("Enter")
    answered(page)


def test_ablation_has_no_target(opened):
    page = opened("?op=ablate&prompt=a%20stone")
    for part in ("dial", "target", "target-marks", "curve p"):
        sync_api.expect(page.locator(f"#rhat-{part}")).to_be_hidden()
    page.press("#rhat-prompt textarea", "Enter")
    answered(page)
    assert page.locator("#rhat-edited .rhat-note").inner_text() == "ablate, at all layers, tokens: all"


def test_what_the_model_writes_is_text_not_markup(opened, directions):
    from rhat.server.events import AnswerToken
    from rhat.server.playground.conversation import Conversation, Turn
    from rhat.server.playground.drawing import answer

    said = [AnswerToken(1, "<img src=x onerror=alert(1)>", arriving=1.0)]
    drawn = answer("<b>", said, "<script>", "&", directions["r"])
    turn = Turn("<i>", ("'\"", "<s>"), (drawn, drawn))
    sides = Conversation("<u>", (turn, turn)).drawn()
    page = opened()
    page.evaluate("html => { document.body.innerHTML = html }", sides[1])
    assert page.locator("body :is(img, script, i, u, s, .rhat-text b)").count() == 0
    assert page.locator(".rhat-text").first.inner_text() == "<img src=x onerror=alert(1)><script>"
    assert page.locator(".rhat-asked").first.inner_text() == "User: <i>"
    kept = json.loads(page.locator("[data-messages]").get_attribute("data-messages"))
    assert [one["content"] for one in kept] == ["<u>", "<i>", "<s>", "<i>"]


def test_a_phone_shows_all_of_it(opened):
    page = opened("?prompt=a%20stone", width=390, height=844)
    page.press("#rhat-prompt textarea", "Enter")
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = {name: page.locator(f"#rhat-{name}").bounding_box() for name in ("plain", "edited", "go", "curl", "target")}
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes.values())
    assert boxes["edited"]["y"] > boxes["plain"]["y"] + boxes["plain"]["height"] - 1  # one under the other
    assert boxes["go"]["height"] >= 40
    marks = [page.locator(f"#rhat-target-marks .rhat-{name} b").bounding_box() for name in ("harmless", "harmful")]
    assert marks[0]["x"] + marks[0]["width"] <= marks[1]["x"]  # their labels do not run into one another


def test_marks_stand_where_the_sliders_handle_would(opened):
    page = opened()
    box = page.locator("#rhat-dial input[type=range]").bounding_box()
    for name, alpha in (("harmless", 0), ("harmful", 1)):
        tick = page.locator(f"#rhat-target-marks .rhat-{name} i").bounding_box()
        handle = box["x"] + 8 + (box["width"] - 16) * (alpha - SPAN[0]) / (SPAN[1] - SPAN[0])
        assert tick["x"] + 1 == pytest.approx(handle, abs=2)


def test_each_operator_has_its_slider_and_alpha_stays(opened, directions):
    page = opened()
    slider, number = page.locator("#rhat-dial input[type=range]"), page.locator("#rhat-target input")

    def choose(label):
        page.click("#rhat-op input")
        page.get_by_role("option", name=label, exact=True).click()

    slider.fill("0.5")
    sync_api.expect(number).to_have_value("1.5")  # half-way from −2 to 5
    choose("Add")
    sync_api.expect(number).to_have_value("3.5")  # half of the gap, to whatever is there
    sync_api.expect(slider).to_have_value("0.5")
    choose("Scale the projection")
    sync_api.expect(number).to_be_hidden()
    sync_api.expect(slider).to_have_attribute("max", "3")
    slider.fill("1.25")
    page.fill("#rhat-prompt textarea", "a stone")
    page.click("#rhat-go")
    answered(page)
    assert "scale, 1.25, at resid_pre.1" in page.locator("#rhat-edited .rhat-note").inner_text()
    choose("Set the projection")
    sync_api.expect(number).to_have_value("5")
    sync_api.expect(slider).to_have_value("1")


def test_dials_of_the_page_and_of_the_server_agree(opened, directions):
    page = opened()
    for name, direction in directions.items():
        for operator in ("set_projection", "add", "scale"):
            dial = Dial.of(direction, operator)
            for at in (-1.0, 0.0, 0.37, 1.0, 2.0):
                value = page.evaluate("a => window.rhat.value(...a)", [at, operator, name])
                assert value == dial.value(at)
                assert page.evaluate("a => window.rhat.position(...a)", [value, operator, name]) == dial.position(value)


def test_a_conversation_goes_on_from_each_models_own_answers(opened, up):
    import httpx

    page = opened(f"?max_tokens={SHORT}")
    page.click("#rhat-more button")
    page.fill("#rhat-system textarea", "a stone")
    page.fill("#rhat-prompt textarea", "the river")
    sync_api.expect(page.locator("#rhat-next")).to_be_hidden()
    page.click("#rhat-go")
    first = answered(page)
    assert first[0] != first[1]
    page.fill("#rhat-next textarea", "the bridge")
    page.press("#rhat-next textarea", "Enter")
    sync_api.expect(page.locator("#rhat-edited .rhat-answer")).to_have_count(2)
    second = answered(page)
    assert [plain_text(text) for text in page.locator("#rhat-edited .rhat-asked").all_inner_texts()] == [
        "User: the river",
        "User: the bridge",
    ]
    sync_api.expect(page.locator("#rhat-next textarea")).to_have_value("")
    system = {"role": "system", "content": "a stone"}
    for side, rhat in enumerate(([], {"op": "set_projection"})):
        messages, said = [system], []
        for text in ("the river", "the bridge"):
            messages.append({"role": "user", "content": text})
            body = {"model": "tiny", "messages": messages, "max_tokens": SHORT, "temperature": 0, "rhat": rhat}
            answer = httpx.post(f"{up.url}/v1/chat/completions", json=body, timeout=60).json()
            said.append(answer["choices"][0]["message"]["content"])
            messages.append({"role": "assistant", "content": said[-1]})
        assert [plain_text(text) for text in (first[side], second[side])] == [plain_text(text) for text in said]
    # The copied request is the one behind the second answer; of another prompt it holds that prompt alone.
    got = subprocess.run(["bash", "-c", copied(page, "curl", "bridge")], capture_output=True, text=True, check=True)
    assert json.loads(got.stdout)["choices"][0]["message"]["content"] == said[1]
    page.fill("#rhat-prompt textarea", "a house")
    sent = json.loads(copied(page, "curl", "a house").split(" -d ")[1].strip("'"))
    assert sent["messages"] == [system, {"role": "user", "content": "a house"}]


def test_work_is_shown_until_the_answers_are_there(opened, up, monkeypatch):
    from rhat.generation import Engine

    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self: (time.sleep(0.05), step(self))[1])
    page = opened("?prompt=a%20stone&max_tokens=20", width=390, height=844)
    status = page.locator("#rhat-status [role=status]")
    assert status.inner_text().strip() == ""
    page.locator("#rhat-go").scroll_into_view_if_needed()
    page.click("#rhat-go")
    sync_api.expect(page.locator("#rhat-go")).to_have_attribute("aria-busy", "true")
    sync_api.expect(status).to_have_text("Answering …")
    for side in ("plain", "edited"):
        sync_api.expect(page.locator(f"#rhat-{side} .rhat-answer")).to_have_attribute("aria-busy", "true")
    sync_api.expect(page.locator("#rhat-plain h2")).to_be_in_viewport()  # on a phone the view goes to the answers
    answered(page)
    sync_api.expect(status).to_contain_text("Both answers are complete")
    sync_api.expect(page.locator("#rhat-go")).not_to_have_attribute("aria-busy", "true")
    assert page.locator("[aria-busy=true]").count() == 0
    page.fill("#rhat-target input", "")  # a mistake ends the work as well
    page.click("#rhat-go")
    sync_api.expect(status).to_contain_text("Target t of the projection: got nothing, expected a number")
    sync_api.expect(page.locator("#rhat-go")).not_to_have_attribute("aria-busy", "true")


def test_the_studys_figures_and_nothing_else(opened, up):
    import httpx

    page = opened()
    page.get_by_role("tab", name="Study").click()
    image = page.locator("#rhat-figures img")
    image.wait_for()
    page.wait_for_function("document.querySelector('#rhat-figures img').naturalWidth === 300")
    assert image.get_attribute("alt") == "dose curve"
    assert page.request.get(page.locator("#rhat-figures a").evaluate("a => a.href")).text() == SVG
    for path in ("/study/secret.txt", "/study/figures/..%2Fsecret.txt", "/study/figures/%2E%2E/secret.txt"):
        assert "not for the page" not in httpx.get(f"{up.url}{path}").text


def test_stop_and_leaving_free_the_slots(opened, up, monkeypatch):
    from rhat.generation import Engine

    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self: (time.sleep(0.5), step(self))[1])

    def until(condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    runner = up.service.runner
    for end in ("stop", "leave"):
        page = opened("?temperature=2&seed=5&prompt=" + "a%20stone%20" * 3)
        page.click("#rhat-go")
        page.locator("#rhat-edited .rhat-token").first.wait_for()
        assert runner.active == 2
        if end == "stop":
            page.click("#rhat-stop")
            sync_api.expect(page.locator("#rhat-status [role=status]")).to_have_text("Stopped.")
            assert page.locator("[aria-busy=true]").count() == 0
        else:
            page.close()
        until(lambda: runner.active == 0, 20)  # left alone, the answers take 30 s and more


def test_no_call_home(tiny_model, directions, monkeypatch):
    """Making the page with the network pulled: not even an attempt."""
    import socket

    attempts = []
    connect = socket.socket.connect

    def watched(self, address):
        if not (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1")) and not isinstance(address, str):
            attempts.append(address)
            raise OSError("no network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: attempts.append(host) or [])
    from rhat.server import create_app

    app = create_app(tiny_model, directions, Settings())
    assert app is not None
    time.sleep(0.5)  # what a thread would do
    assert attempts == []


def test_behind_a_proxy_the_page_uses_the_proxy_s_address(up, tiny_model, directions):
    """With the headers that docs/serving.md has nginx send; else a page from https would ask for http, and be blocked."""
    import httpx

    settings = Settings(allowed_hosts=("model.example.org",), max_length=400)
    sent = {"host": "model.example.org", "x-forwarded-proto": "https"}
    with running(tiny_model, directions, settings) as proxied:
        page = httpx.get(f"{proxied.url}/", headers=sent)
        assert '"root":"https://model.example.org"' in page.text
        origin = {**sent, "origin": "https://model.example.org"}
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
        assert httpx.post(f"{proxied.url}/v1/chat/completions", json=body, headers=origin).status_code == 200
    assert httpx.get(f"{up.url}/", headers=sent).status_code == 421
