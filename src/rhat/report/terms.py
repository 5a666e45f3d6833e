"""Terms: where a section first names one of the glossary's terms, the page links it to its meaning, which hovering shows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

GLOSSARY = Path(__file__).parent / "templates" / "glossary.json"
"""Written from docs/glossary.md by docs/glossary.py."""


@cache
def glossary() -> dict[str, tuple[str, str]]:
    """By each spelling that pages explain: the term and its meaning, as plain text."""
    rows = json.loads(GLOSSARY.read_text("utf-8"))
    return {name: (row["term"], row["meaning"]) for row in rows for name in row["explained"]}


@cache
def _pattern() -> re.Pattern[str]:
    """Any spelling as a whole word; at the beginning of a sentence, and in the plural too."""
    names = sorted(glossary(), key=len, reverse=True)
    spelled = [f"[{name[0]}{name[0].upper()}]{re.escape(name[1:])}" for name in names]
    return re.compile(rf"(?<![\w`.])({'|'.join(spelled)})s?(?![\w\u0302])")


def _meaning(spelled: str) -> tuple[str, str]:
    known = glossary()
    return known[spelled] if spelled in known else known[spelled[0].lower() + spelled[1:]]


@dataclass
class Terms:
    """The terms of one page: `seen` in the section that is being written, `used` anywhere on the page."""

    seen: set[str] = field(default_factory=set)
    used: dict[str, str] = field(default_factory=dict)

    def afresh(self) -> str:
        """Begin a section, in which each term is linked once more. Returns nothing, so that a template may call it."""
        self.seen.clear()
        return ""

    def explained(self, text: str) -> str:
        """The text as HTML; each term that the section has not named before links to its meaning."""
        from markupsafe import Markup, escape

        made, at = Markup(""), 0
        for found in _pattern().finditer(text):
            term, meaning = _meaning(found[1])
            if term in self.seen:
                continue
            self.seen.add(term)
            self.used[term] = meaning
            made += escape(text[at : found.start()])
            made += Markup('<a class="term" href="#{}">{}</a>').format(anchor(term), found[0])
            at = found.end()
        return made + escape(text[at:])

    def listed(self) -> list[tuple[str, str, str]]:
        """Anchor, term and meaning of what the page has used, in alphabetical order."""
        return [(anchor(term), term, self.used[term]) for term in sorted(self.used, key=str.lower)]


def anchor(term: str) -> str:
    """The id of a term on the page."""
    return "term-" + re.sub(r"\W+", "-", term.replace("r̂", "rhat").lower()).strip("-")
