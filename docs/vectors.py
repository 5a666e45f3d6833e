"""Writes the table of docs/vectors.md from rhat's own records: `python docs/vectors.py`."""

from pathlib import Path

from rhat.vectors import FORMATS

BEGIN, END = "<!-- table of formats, made by docs/vectors.py -->", "<!-- end -->"


def table() -> str:
    rows = [
        "| format | tools | what comes in | what goes out | what it cannot say |",
        "| --- | --- | --- | --- | --- |",
    ]
    for f in FORMATS.values():
        rows.append(f"| `{f.name}` | {f.tools} | {f.holds or 'not read'} | {f.says or 'not written'} | {f.lacks} |")
    return "\n".join(rows)


if __name__ == "__main__":
    page = Path(__file__).with_name("vectors.md")
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}")
