"""Copy a study's results into docs/example, draw its figures there and put its numbers into the README.

    .venv/bin/python docs/example.py runs/default

No number of the README's block is written by hand: it comes from docs/example/results.json. Run with no argument to draw
the figures and write the block again from there.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rhat import results as contract
from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.errors import ArtifactError
from rhat.report import draw
from rhat.report.judges import gate, unpassed
from rhat.report.verdicts import verdicts

DOCS = Path(__file__).parent
EXAMPLE = DOCS / "example"
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- numbers: docs/example.py -->", "<!-- end of numbers -->"
SHOWN = (
    ("harmless", ("baseline", "set_projection", "add_average", "add_difference", "random_set_projection", "repe_add",
                  "heads:6", "random_heads:6")),
    ("harmful", ("baseline", "ablate", "subtract", "random_ablate")),
    ("borderline", ("baseline", "set_harmless_mean", "set_projection", "ablate")),
)  # fmt: skip
FIGURES = ("rates_harmless", "set_add_zero", "damage")
ANSWERED = ("induce", "suppress", "scopes", "repe", "heads")


def block(results: Results) -> str:
    """The README's block: the printed table, three figures and the answers in words."""
    model, direction = results.model, results.direction
    rule = results.selection.rule
    lines = [
        f"`rhat study --preset {results.settings['preset']}` on {model.name.rsplit('/', 1)[-1]} ({model.n_layers} layers, {model.dtype}): r̂ is at layer "
        f"{direction.layer}, position −{-direction.position}, by the {rule} rule. On test prompts, which took no part in "
        "finding it:",
        "",
        "| test prompts | condition | refused | 95 % interval | n |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    by_name = {(r.prompts, r.condition): r for r in results.rates}
    for label, names in SHOWN:
        for name in names:
            if (label, name) not in by_name:
                raise ArtifactError(f"rates: expected {name} on {label} prompts, got {', '.join(map(str, by_name))}")
            row = by_name[label, name]
            lines.append(
                f"| {label} | {wording.condition(name)} | {100 * row.rate:.1f} % | "
                f"{100 * row.ci_low:.1f} to {100 * row.ci_high:.1f} % | {row.n} |"
            )
    if (failed := unpassed(results)) is not None:
        lines += ["", gate(failed)]
    found = verdicts(results)
    lines += ["", "What the numbers say, computed by the report:", ""]
    lines += [f"- {found[q].sentence}" for q in ANSWERED]
    lines.append("")
    lines += [
        " ".join(
            f'<img src="docs/example/figures/{name}.svg" width="32%" alt="{name.replace("_", " ")}">'
            for name in FIGURES
        ),
        "",
    ]
    lines.append(
        "All figures are in [docs/example/figures](docs/example/figures), all numbers in "
        "[docs/example/results.json](docs/example/results.json)."
    )
    return "\n".join(lines)


def put(text: str, new: str) -> str:
    """The README with its block replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    if len(sys.argv) > 1:
        source = Path(sys.argv[1])
        EXAMPLE.mkdir(exist_ok=True)
        shutil.copy(source / "results.json", EXAMPLE / "results.json")
    draw(EXAMPLE)
    (EXAMPLE / "report.html").unlink()  # several megabytes, most of them Plotly's
    results = contract.load(EXAMPLE)
    README.write_text(put(README.read_text("utf-8"), block(results)), "utf-8")


if __name__ == "__main__":
    main()
