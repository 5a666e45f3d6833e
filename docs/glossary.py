"""Write the terms that the report explains from docs/glossary.md, which is their one source.

    .venv/bin/python docs/glossary.py

A report explains terms that are no plain words: symbols, names, acronyms, names in code, phrases, and the single words of WORDS.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rhat.report.terms import GLOSSARY

PAGE = Path(__file__).parent / "glossary.md"
WORDS = (
    "nats", "norm", "projection", "site", "logits", "judge", "finder", "ablate", "discordant", "damage", "cross-entropy", "attribution",
    "patching", "degenerate", "borderline", "scope",
)  # fmt: skip
"""Single words, beside acronyms, that a report's readers may not know, or not in this sense."""


def rows(page: str) -> list[dict[str, Any]]:
    """The table's rows: term and meaning as plain text, and the spellings that a report explains."""
    found = re.findall(r"^\| (.+?) \| (.+) \|$", page, flags=re.M)
    made = [
        {"term": _plain(term), "meaning": _plain(meaning), "explained": _explained(term)} for term, meaning in found
    ]
    return [row for row in made if row["term"] not in ("term", "---")]


def text(page: str) -> str:
    """The file of the report."""
    return json.dumps(rows(page), ensure_ascii=False, indent=1) + "\n"


def _plain(cell: str) -> str:
    """A cell without Markdown's marks."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", cell).replace("`", "")


def _explained(cell: str) -> list[str]:
    """The names in a cell that are no plain words, and the name alone that a test or an interval bears."""
    spelled: list[str] = []
    for name in re.split(r", | \(|\)", _plain(cell)):
        technical = f"`{name}`" in cell or " " in name or name in WORDS or re.search(r"[A-Z\u0302]", name)
        if not name or not technical:
            continue
        spelled.append(name)
        if re.fullmatch(r"[A-Z]\w+ (interval|test|curve)", name):
            spelled.append(name.split()[0])
    return spelled


if __name__ == "__main__":
    GLOSSARY.write_text(text(PAGE.read_text("utf-8")), "utf-8")
