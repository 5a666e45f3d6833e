"""axe-core finds nothing to object to on the playground: at two widths and in both schemes, before, during and after an answer."""

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

from browsing import MARKS, WINDOWS, answered

from accessibility import objections
from rhat.server.events import AnswerToken
from rhat.server.playground.drawing import Range, answer

pytestmark = MARKS
# Lines that are drawn as pseudo-elements hide backgrounds from axe, these signs are no text, and colours on their way are none.
STILL = (
    "*::before, *::after { content: none !important } .reset-button, .icon { visibility: hidden !important } "
    "* { transition: none !important }"
)
PLACEHOLDERS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (...layers) => {
    for (const layer of layers) { canvas.fillStyle = layer; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  };
  const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return [...document.querySelectorAll('textarea[placeholder], input[placeholder]')].filter(e => e.offsetWidth).map(e => {
    const back = getComputedStyle(e).backgroundColor, ink = getComputedStyle(e, '::placeholder').color;
    const body = getComputedStyle(document.body).backgroundColor;
    const [high, low] = [light(rgb(body, back)), light(rgb(body, back, ink))].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  });
}"""


def all_colours(direction):
    """An answer whose tokens have the projections of the whole scale, and beyond it."""
    span = Range.around(direction)
    room = (span.high - span.low) / 10
    said = [AnswerToken(i, f" word{i}", arriving=span.low + (i - 1) * room) for i in range(13)]
    return answer("", said, "", "13 tokens, finished", direction)


def test_axe_objects_to_nothing(opened, directions):
    page = opened("?prompt=a%20stone")
    page.press("#rhat-prompt textarea", "Enter")
    answered(page)
    page.add_style_tag(content=STILL)
    page.click("#rhat-more button")
    page.click("#rhat-plain summary")
    page.evaluate(
        "html => document.querySelector('#rhat-plain .rhat-turns').innerHTML += html", all_colours(directions["r"])
    )
    page.evaluate("document.querySelector('#rhat-edited .rhat-answer').setAttribute('aria-busy', 'true')")
    found = {}
    for width, scheme in WINDOWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        found[width, scheme] = objections(page)
        placeholders = page.evaluate(PLACEHOLDERS)
        assert len(placeholders) >= 3
        assert min(placeholders) >= 4.5, (scheme, placeholders)
    assert found == {window: [] for window in WINDOWS}
