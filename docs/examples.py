"""Run the examples of the pages on the default model and put their answers into README.md and docs/steering.md.

    rhat find --out r.safetensors
    .venv/bin/python docs/examples.py r.safetensors

The answers are kept in docs/examples.json; with no file, the pages are written again from there. A test on the default model
answers the prompts anew and asks for the same verdicts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rhat.vocabulary import EXAMPLES

DOCS = Path(__file__).parent
RECORD = DOCS / "examples.json"
PAGES = (DOCS.parent / "README.md", DOCS / "steering.md")
BEGIN, END = "<!-- example: docs/examples.py -->", "<!-- end of example -->"
TOKENS = 24  # of each answer


def answered(model: Any, direction: Any) -> list[dict[str, str]]:
    """Each example's answers without and with its intervention, and their verdicts."""
    from rhat.interventions import intervene
    from rhat.scoring import judge_answers

    prompts = sorted({example.prompt for example in EXAMPLES})
    plain = dict(zip(prompts, model.generate(prompts, TOKENS), strict=True))
    found = []
    for one in EXAMPLES:
        doing = intervene(one.op, direction, value=one.value, scope=one.scope)
        (edited,) = model.generate([one.prompt], TOKENS, intervention=doing)
        texts = plain[one.prompt].text, edited.text
        before, after = judge_answers([one.prompt] * 2, texts)
        found.append({"without": texts[0], "with": texts[1], "verdict_without": before, "verdict_with": after})
    return found


def block(record: dict[str, Any]) -> str:
    """The first example's answers, as a page shows them."""
    first, answers = EXAMPLES[0], record["answers"][0]
    rows = [("without", answers["without"]), (first.op, answers["with"])]
    said = "\n".join(f"| {name} | {' '.join(text.split())} … |" for name, text in rows)
    return (
        f"The first {TOKENS} tokens of the answers of {record['model']} ({record['dtype']}) to “{first.prompt}”:\n\n"
        f"| | answer |\n| --- | --- |\n{said}"
    )


def put(text: str, new: str) -> str:
    """A page with its block replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    if len(sys.argv) > 1:
        import rhat

        model = rhat.load(dtype="float32")
        direction = rhat.Direction.load(sys.argv[1]).check_fits(model)
        record = {
            "model": model.describe()["name"],
            "dtype": model.describe()["dtype"],
            "direction": str(direction.site),
            "position": direction.position,
            "answers": answered(model, direction),
        }
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    record = json.loads(RECORD.read_text("utf-8"))
    for page in PAGES:
        page.write_text(put(page.read_text("utf-8"), block(record)), "utf-8")


if __name__ == "__main__":
    main()
