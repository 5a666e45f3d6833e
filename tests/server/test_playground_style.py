"""The playground's own colours keep a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3) in both schemes; Gradio's are checked in the browser."""

import re
from pathlib import Path

import pytest

import rhat

playground = pytest.importorskip("rhat.server.playground.drawing")
STYLE = (Path(rhat.__file__).parent / "server" / "playground" / "style.css").read_text("utf-8")
PAGES = {
    "light": ((255, 255, 255), (31, 41, 55)),
    "dark": ((39, 39, 42), (244, 244, 245)),
}  # Gradio's background and text


def rgb(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_that_of_the_standard():
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast((255, 255, 255), (118, 118, 118)) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", PAGES)
@pytest.mark.parametrize("side", [playground.HARMLESS, playground.HARMFUL])
def test_tokens_can_be_read_on_the_strongest_colour(scheme, side):
    page, ink = PAGES[scheme]
    behind = [playground.STRONGEST * c + (1 - playground.STRONGEST) * p for c, p in zip(side, page, strict=True)]
    assert contrast(ink, behind) >= 4.5


def test_marks_and_the_button_can_be_read():
    marks = re.findall(r"^(\.dark )?\.rhat-mark\.rhat-harm\w+,.*?color: (#\w{6})", STYLE, flags=re.M)
    assert len(marks) == 4
    for dark, colour in marks:
        assert contrast(rgb(colour), PAGES["dark" if dark else "light"][0]) >= 4.5
    back, ink = re.search(r"#rhat-go \{ background: (#\w{6}) !important; color: (#\w{6})", STYLE).groups()
    assert contrast(rgb(back), rgb(ink)) >= 4.5


def test_no_text_is_made_fainter():
    assert "opacity" not in STYLE
