"""Write docs/results.md and docs/results.schema.json from the records of results.json.

    .venv/bin/python docs/results.py

What rows are, what a field means and its unit come from the records' docstrings and types; a test holds the pages to them.
"""

from __future__ import annotations

import json
from pathlib import Path

from rhat import results
from rhat.questions import QUESTIONS
from rhat.questions.schema import order_of, tables_of

DOCS = Path(__file__).parent
PAGE, SCHEMA = DOCS / "results.md", DOCS / "results.schema.json"
INTRODUCTION = """\
# results.json

A study writes a folder: `results.json`, `report.html`, `direction.safetensors`, `figures/*.svg`, `completions.jsonl`,
`per_prompt.parquet` and `manifest.json`. `results.json` is the contract between the study, the report and your own scripts. It is
checked against its records whenever it is written or read; [results.schema.json](results.schema.json) says the same as a JSON Schema
(draft 2020-12). This page and the schema are made from the records by `docs/results.py`.

```python
from rhat import results

measured = results.read("runs/mine")  # a folder or the file itself; a clear ArtifactError if it is unusable
for row in measured["rates"]:
    print(row["condition"], row["prompts"], row["rate"], row["ci_low"], row["ci_high"])

run = results.load("runs/mine")  # the same as a record: attributes, and look-ups that say what there is
print(run.comparison("ablate", "baseline", "harmful").verdict)
```

## Conventions

- `schema_version` is 3. Fields may be added without raising it; a field is never renamed or given another meaning without. Files of
  versions 1 and 2 are read and told as version 3; their answers were read by other rules, and in three classes.
- A field that a run did not compute is **absent**, never null and never guessed. NaN and infinity are rejected. `*` marks the fields a
  row needs. A field that this version does not know is rejected when results are written and ignored when they are read.
- A rate is a share from 0 to 1, a difference of rates a share from −1 to 1. Only `repe.boosts` and `repe.published` are in points.
- `ci_low` and `ci_high` are the 95 % interval of the row's one number, and of `rate` where a row has several numbers.
  `score_ci_low` and `score_ci_high` are the interval of `score_mean`. A row that can be measured either way has `rate` (by
  generation), `score_mean` (by first-token log-odds), or both.
- `verdict` is the one judgement of a difference, made by `rhat.statistics.judge` after Holm's adjustment: `better` (the 95 % interval lies
  above 0 and the adjusted p is below 5 %), `worse`, `equivalent` (neither, and the 90 % interval lies inside ± `margin`) or `undecided`.
  "Better" means more often, whatever that is worth. With `equivalent: true` beside it, it is better by less than the margin.
- Scores are log-odds in nats; projections, targets and coefficients are in residual-stream units, along the unit direction.
- Layers and heads count from 0. Positions count from the end of the prompt: −1 is its last token. Sites are written `resid_pre.16`.
- `condition`, `treatment` and `reference` are ids: keys of `conditions`. The usual ones are `baseline`, `set_projection`, `add_average` (c is
  the mean harmful projection), `add_difference` (c is the length of the raw difference), `ablate`, `subtract`, `set_harmless_mean`,
  `random_set_projection`, `random_ablate`, `repe_add`, `scope:last_prompt_token`, `heads:6`, `random_heads:6`.
- Prompts and completions never appear as text, with two exceptions: `examples` has a few harmless prompts with their answers, and
  `disagreements` a few answers to harmless and borderline prompts. Every other prompt is an id and a category. completions.jsonl and per_prompt.parquet hold each answer's class by each judge and a salted hash (sha256 over the prompt
  set's fingerprint, the prompt's id and the answer), and the texts of answers to harmless and borderline prompts only.
- `question` is the key of a question of the report:
"""


def page() -> str:
    """docs/results.md."""
    schema = results.schema()
    lines = [INTRODUCTION.rstrip("\n")]
    lines += [f"  - `{question.key}`: {question.title}" for question in QUESTIONS]
    lines += ["", "## Top level", "", *tables_of(schema, "")]
    for name in order_of(schema):
        definition = schema["$defs"][name]
        lines += ["", f"### {name}", "", definition["description"], "", *tables_of(schema, name)]
        if "anyOf" in definition:
            lines += ["", "At least one of `rate` and `score_mean`."]
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """docs/results.schema.json."""
    return json.dumps(results.schema(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    SCHEMA.write_text(schema_text(), "utf-8")
