"""The playground, driven in Debian's Chromium as a person would, by mouse, by keyboard and at a phone's width."""

import json
import os
import re
import shutil
import subprocess
import time
from urllib.parse import parse_qs

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from serving import running  # noqa: E402

from rhat.server import Settings  # noqa: E402

CHROMIUM = os.environ.get("RHAT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; apt-get install chromium"),
]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200" fill="teal"/></svg>'
FINISHED = re.compile("finished|stopped")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LONG = 60  # tokens of an answer, if the model does not end it


@pytest.fixture(scope="module")
def up(tiny_model, directions, calibrations, tmp_path_factory):
    study = tmp_path_factory.mktemp("study")
    (study / "figures").mkdir()
    (study / "figures" / "dose_curve.svg").write_text(SVG)
    (study / "secret.txt").write_text("not for the page")
    settings = Settings(slots=8, max_length=400, max_tokens=LONG, study=study)
    with running(tiny_model, directions, settings, calibrations) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(up, browser):
    """Opens the page; afterwards nothing may have been asked of another machine, and no script may have failed."""
    contexts, requests, failures = [], [], []

    def open_page(query="", width=1280, height=900):
        context = browser.new_context(
            viewport={"width": width, "height": height}, permissions=["clipboard-read", "clipboard-write"]
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on(
            "console",
            lambda message: failures.append(message.text) if "Content Security Policy" in message.text else None,
        )
        page.goto(f"{up.url}/{query}")
        page.wait_for_selector("#rhat-go")
        for text in parse_qs(query.partition("?")[2]).get("prompt", []):  # settings of a link come a moment later
            sync_api.expect(page.locator("#rhat-prompt textarea")).to_have_value(text, timeout=20_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    outside = [url for url in requests if not url.startswith((up.url, "data:", "blob:"))]
    assert outside == []
    assert failures == []


def answered(page):
    """Waits for both answers; returns their texts."""
    for side in ("plain", "edited"):
        sync_api.expect(page.locator(f"#rhat-{side} .rhat-state")).to_have_text(FINISHED, timeout=30_000)
    return [page.locator(f"#rhat-{side} .rhat-text").inner_text() for side in ("plain", "edited")]


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
    page.locator("#rhat-target input[type=range]").fill("7.5")  # the slider, moved
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
    page.click("#rhat-curl")
    page.wait_for_function("navigator.clipboard.readText().then(text => text.startsWith('curl'))")
    command = page.evaluate("navigator.clipboard.readText()")
    got = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(got.stdout)["choices"][0]["message"]["content"] == expected[1]
    assert page.locator("#rhat-code textarea").input_value() == command


def test_the_python_program_repeats_the_answer(opened, up, tmp_path):
    pytest.importorskip("openai", reason="the openai client is not installed")
    import sys

    page = opened()
    page.fill("#rhat-prompt textarea", 'it\'s "the" river \\ here')
    page.click("#rhat-python")
    page.wait_for_function("navigator.clipboard.readText().then(text => text.includes('OpenAI'))")
    program = tmp_path / "again.py"
    program.write_text(page.evaluate("navigator.clipboard.readText()"))
    got = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=60)
    assert got.stdout[:-1] == engine_says(up, 'it\'s "the" river \\ here', LONG, {"op": "set_projection"})[1]


def test_a_link_brings_the_settings_back(opened, up):
    page = opened()
    page.fill("#rhat-prompt textarea", "the river & the <b>bridge</b>")
    page.locator("#rhat-target input[type=range]").fill("3.25")
    page.locator("#rhat-layer input[type=range]").fill("2")
    page.click("#rhat-link")
    page.wait_for_function("navigator.clipboard.readText().then(text => text.includes('prompt='))")
    link = page.evaluate("navigator.clipboard.readText()")
    again = opened(link.removeprefix(f"{up.url}/"))
    sync_api.expect(again.locator("#rhat-prompt textarea")).to_have_value("the river & the <b>bridge</b>")
    sync_api.expect(again.locator("#rhat-target input[type=range]")).to_have_value("3.25")
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
    assert float(page.locator("#rhat-target input[type=range]").input_value()) == pytest.approx(
        directions["r"].mean_harmful
    )


def test_it_works_by_keyboard_alone(opened):
    page = opened()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#rhat-prompt') !== null"):
            break
    page.keyboard.type("a stone")
    reached = set()
    slider = "document.activeElement.matches('#rhat-target input[type=range]')"
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id^=rhat-]')?.id"))
        if page.evaluate(slider):
            before = float(page.evaluate("document.activeElement.value"))
            page.keyboard.press("ArrowLeft")
            page.keyboard.press("ArrowLeft")
            assert float(page.evaluate("document.activeElement.value")) == pytest.approx(before - 0.02)
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
        if page.evaluate("document.activeElement.id") == "rhat-go":
            break
    assert {"rhat-op", "rhat-scope", "rhat-layer", "rhat-target", "rhat-go"} <= reached
    page.keyboard.press("Enter")
    answered(page)


def test_ablation_has_no_target(opened):
    page = opened("?op=ablate&prompt=a%20stone")
    sync_api.expect(page.locator("#rhat-target")).to_be_hidden()
    page.press("#rhat-prompt textarea", "Enter")
    answered(page)
    assert page.locator("#rhat-edited .rhat-note").inner_text() == "ablate, at all layers, tokens: all"


def test_what_the_model_writes_is_text_not_markup(opened, directions):
    from rhat.server.events import AnswerToken
    from rhat.server.playground.drawing import answer

    said = [AnswerToken(1, "<img src=x onerror=alert(1)>", arriving=1.0)]
    drawn = answer("<i>", "<b>", said, "<script>", "&", directions["r"])
    page = opened()
    page.evaluate("html => { document.body.innerHTML = html }", drawn)
    assert page.locator(".rhat-answer :is(img, script, i, b)").count() == 0
    assert page.locator(".rhat-text").inner_text() == "<img src=x onerror=alert(1)><script>"
    assert page.locator(".rhat-answer h3").inner_text() == "<i>"


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


def test_marks_stand_where_the_sliders_handle_would(opened, directions):
    page = opened()
    track = page.locator("#rhat-target input[type=range]")
    low, high = float(track.get_attribute("min")), float(track.get_attribute("max"))
    box = track.bounding_box()
    for name, mean in (("harmless", directions["r"].mean_harmless), ("harmful", directions["r"].mean_harmful)):
        tick = page.locator(f"#rhat-target-marks .rhat-{name} i").bounding_box()
        handle = box["x"] + 8 + (box["width"] - 16) * (mean - low) / (high - low)
        assert tick["x"] + 1 == pytest.approx(handle, abs=2)


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
    monkeypatch.setattr(Engine, "step", lambda self: (time.sleep(0.1), step(self))[1])

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
        else:
            page.close()
        until(lambda: runner.active == 0, 1.5)


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
