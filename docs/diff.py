"""Write docs/diff.schema.json and the tables of docs/diff.md from the records of diff.json.

.venv/bin/python docs/diff.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from rhat.diff.document import schema
from rhat.questions.schema import order_of, tables_of

DOCS = Path(__file__).parent
PAGE, SCHEMA = DOCS / "diff.md", DOCS / "diff.schema.json"
BEGIN, END = "<!-- fields: docs/diff.py -->", "<!-- end of fields -->"


def fields() -> str:
    """A table for the whole file and one for each record of its own; those that results.json has too are described there."""
    made = schema()
    elsewhere = {"Model", "PromptCount", "Rate"}
    lines = ["### Top level", "", *tables_of(made, "")]
    for name in order_of(made):
        if name not in elsewhere:
            lines += ["", f"### {name}", "", made["$defs"][name]["description"].replace("\n", " "), ""]
            lines += tables_of(made, name)
    text = "\n".join(lines)
    for name in elsewhere:
        text = text.replace(f"(#{name.lower()})", f"(results.md#{name.lower()})")
    return text


def page(text: str) -> str:
    """The page with its tables as the records have them."""
    return re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{fields()}\n{END}", text)


def schema_text() -> str:
    """docs/diff.schema.json."""
    return json.dumps(schema(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    SCHEMA.write_text(schema_text(), "utf-8")
