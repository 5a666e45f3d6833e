"""The playground in Debian's Chromium: a server for it, the browser, a page, and axe-core on what the page shows."""

import os
import re
import shutil
from urllib.parse import parse_qs

import pytest
from serving import running

CHROMIUM = os.environ.get("RHAT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed; apt-get install chromium"),
]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200" fill="teal"/></svg>'
FINISHED = re.compile("finished|stopped")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LONG = 60  # tokens of an answer, if the model does not end it
PATIENCE = (
    120_000  # milliseconds until a page that does nothing has failed: on shared cores it takes as long as it takes
)
WINDOWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def up(tiny_model, directions, calibrations, tmp_path_factory):
    """A server of the playground whose study has one figure and no results."""
    from rhat.server import Settings

    study = tmp_path_factory.mktemp("study")
    (study / "figures").mkdir()
    (study / "figures" / "dose_curve.svg").write_text(SVG)
    (study / "secret.txt").write_text("not for the page")
    settings = Settings(slots=8, max_length=400, max_tokens=LONG, study=study)
    with running(tiny_model, directions, settings, calibrations) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(up, browser):
    """Opens the page; afterwards nothing may have been asked of another machine, and no script may have failed."""
    from playwright.sync_api import expect

    contexts, requests, failures = [], [], []

    def open_page(query="", width=1280, height=900, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on(
            "console",
            lambda message: failures.append(message.text) if "Content Security Policy" in message.text else None,
        )
        page.goto(f"{up.url}/{query}")
        page.wait_for_selector("#rhat-go")
        for text in parse_qs(query.partition("?")[2]).get("prompt", []):  # settings of a link come a moment later
            expect(page.locator("#rhat-prompt textarea")).to_have_value(text)
        return page

    yield open_page
    for context in contexts:
        context.close()
    outside = [url for url in requests if not url.startswith((up.url, "data:", "blob:"))]
    assert outside == []
    assert failures == []


def answered(page):
    """Waits for both answers; returns their texts."""
    from playwright.sync_api import expect

    for side in ("plain", "edited"):
        expect(page.locator(f"#rhat-{side} .rhat-state").last).to_have_text(FINISHED)
    return [page.locator(f"#rhat-{side} .rhat-text").last.inner_text() for side in ("plain", "edited")]


def copied(page, kind, part):
    """What a button copies, once it holds `part`."""
    page.click(f"#rhat-{kind}")
    page.wait_for_function("part => navigator.clipboard.readText().then(text => text.includes(part))", arg=part)
    return page.evaluate("navigator.clipboard.readText()")
