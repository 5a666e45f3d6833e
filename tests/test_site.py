"""The site of docs/: built strictly, every link and anchor leads somewhere, and nothing is loaded from other hosts."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("material", reason="pip install '.[docs]'")
ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """A page's ids, links, and what it loads."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id", ""))
        self.ids.add(attrs.get("name", ""))
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])
        elif tag in ("script", "img", "link"):
            self.loads.append(attrs.get("src") or attrs.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(out)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.relative_to(out).as_posix(): Page(path.read_text("utf-8")) for path in out.rglob("*.html")}, out


def test_every_page_of_docs_is_there_and_so_are_those_from_elsewhere(site):
    pages, _ = site
    expected = {path.stem for path in (ROOT / "docs").glob("*.md")} | {
        "index",
        "data-card",
        "changelog",
        "contributing",
    }
    expected |= {path.stem for path in (ROOT / "docs").glob("*.ipynb")}
    assert {f"{name}.html" for name in expected} <= set(pages)


def test_every_link_leads_to_a_page_and_an_anchor(site):
    pages, out = site
    lost = []
    for name, page in pages.items():
        for link in [*page.links, *page.loads]:
            if re.match(r"[a-z]+:|//", link) or not link:
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (out / name).parent.joinpath(path).resolve() if path else out / name
            if name == "404.html":  # its links are those of the site's root
                target = out / path.lstrip("/")
            inside = target.relative_to(out.resolve()).as_posix() if target.is_relative_to(out.resolve()) else ""
            if not target.exists() or (anchor and inside in pages and anchor not in pages[inside].ids):
                lost.append((name, link))
    assert lost == []


def test_nothing_is_loaded_from_other_hosts(site):
    pages, _ = site
    assert [load for page in pages.values() for load in page.loads if re.match(r"https?:|//", load)] == []


def test_links_to_what_is_no_page_become_text():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from site_pages import moved
    finally:
        sys.path.pop(0)
    assert moved("[a](LICENSE) [b](docs/guard.md#calibrating) [c](https://x.y/z)", "README.md") == (
        "a [b](guard.md#calibrating) [c](https://x.y/z)"
    )
    assert (
        moved("[a](../README.md)\n```\n[b](LICENSE)\n```", "docs/method.md") == "[a](index.md)\n```\n[b](LICENSE)\n```"
    )
