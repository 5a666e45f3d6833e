"""The page in Debian's Chromium: every figure drawn, no error, no request, nothing wider than a phone."""

import re
import unicodedata
from pathlib import Path

import pandas as pd
import pypdf
import pytest

import studies
from accessibility import objections
from rhat import report
from rhat import results as contract
from rhat.report import drawings

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing; apt-get install chromium"),
]
FITS = """() => [...document.querySelectorAll('.plot')].filter((plot) => {
  const box = plot.getBoundingClientRect();
  const marks = plot.querySelectorAll('.xtitle, .ytitle, .legendtext, .xtick text, .ytick text');
  return [...marks].some((mark) => {
    const text = mark.getBoundingClientRect();
    return text.width && (text.left < box.left - 1 || text.right > box.right + 1 || text.top < box.top - 1);
  });
}).map((plot) => plot.dataset.figure)"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


def opened(browser, path, width, scheme):
    """The page, and what it complained of or asked the network for."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url) if request.url[:4] == "http" else None)
    page.set_default_timeout(120_000)  # beside other tests the figures of a whole report take their time
    page.goto(path.as_uri(), timeout=120_000)
    page.wait_for_function("document.documentElement.dataset.drawn", timeout=120_000)
    return page, trouble


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_drawn_whole(browser, drawn_folder, width, scheme):
    page, trouble = opened(browser, drawn_folder / "report.html", width, scheme)
    assert trouble == []
    n = len(drawings.FIGURES) - len(studies.NEEDS_CATEGORIES)
    assert page.locator(".plot").count() == n
    assert page.locator(".plot:has(.main-svg)").count() == n
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(FITS) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    # Of text over drawings, or cut by a frame, axe cannot say.
    assert objections(page, undecided=()) == []
    page.close()


def test_the_toggle_recolours_page_and_figures(browser, drawn_folder):
    page, trouble = opened(browser, drawn_folder / "report.html", 1280, "light")
    ink = "getComputedStyle(document.querySelector('.plot .xtitle')).fill"
    assert page.evaluate(ink) == "rgb(28, 32, 38)"
    page.locator("button.theme").click()
    page.wait_for_function(f"{ink} === 'rgb(230, 233, 237)'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert page.locator("button.theme").text_content() == "Light"
    assert trouble == []
    page.close()


def test_the_comparison_is_drawn_on_a_phone(browser, drawn_folder, tmp_path):
    report.compare([drawn_folder, drawn_folder], tmp_path / "compare.html")
    page, trouble = opened(browser, tmp_path / "compare.html", 390, "light")
    assert trouble == []
    kinds = {row.prompts for row in contract.load(drawn_folder).rates}
    assert page.locator(".plot:has(.main-svg)").count() == len(kinds) == 4
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def words(text):
    """A text as it can be found in a PDF: no spaces, no ligatures."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def test_paper_holds_whole_figures_and_open_tables(browser, drawn_folder, tmp_path):
    """Printed from a wide dark window: the PDF has every cell and figure, whole, inside its margins; the window is as before afterwards."""
    page, _ = opened(browser, drawn_folder / "report.html", 1600, "dark")
    closed = page.locator("details:not([open])").count()
    assert closed
    cells = page.evaluate("[...document.querySelectorAll('caption, th, td')].map(cell => cell.textContent)")
    figures = page.evaluate(
        "[...document.querySelectorAll('figure')].map(figure => [figure.querySelector('figcaption').textContent,"
        "...[...figure.querySelectorAll('.xtitle, .ytitle')].map(title => title.textContent)])"
    )
    page.pdf(path=tmp_path / "page.pdf", format="A4", prefer_css_page_size=True)
    printed, ends = [], []
    for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages:
        width = float(sheet.mediabox.width)

        def visit(text, cm, tm, _font, _size, width=width):
            if text.strip():
                ends.append((tm[4] * cm[0] + tm[5] * cm[2] + cm[4]) / width)

        printed.append(words(sheet.extract_text(visitor_text=visit)))
    assert min(ends) > 0
    assert max(ends) < 0.95
    everything = "".join(printed)
    assert [cell for cell in cells if words(cell) not in everything] == []
    for caption, *titles in figures:  # on one page, beginning to end
        sheets = [sheet for sheet in printed if words(caption) in sheet and all(words(t) in sheet for t in titles)]
        assert sheets, (caption, titles)
    assert page.locator("details:not([open])").count() == closed
    assert page.evaluate("document.documentElement.dataset.theme") is None
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").first.click()
    table = pd.read_csv(saved.value.path())
    assert len(table) == page.locator(".scroll table").first.locator("tbody tr").count()
    page.close()


def test_a_term_shows_its_meaning_to_pointer_and_keyboard(browser, drawn_folder):
    page, trouble = opened(browser, drawn_folder / "report.html", 390, "light")
    term = page.locator("a.term", has_text="nats").first
    meaning = page.locator(f"{term.get_attribute('href')} dd").text_content()
    assert meaning.startswith("the unit of natural logarithms")
    tip = page.locator("#meaning")
    assert tip.is_hidden()
    term.hover()
    assert tip.text_content() == meaning
    box = tip.bounding_box()
    assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    page.mouse.move(0, 0)
    assert tip.is_hidden()
    page.locator("a.term", has_text="KL").first.focus()
    assert "Kullback" in tip.text_content()
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    assert trouble == []
    page.close()
