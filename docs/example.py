"""Copy a study's results into docs/example, draw its figures there and put its numbers into the README and docs/guard.md.

    .venv/bin/python docs/example.py runs/default

No number of the blocks is written by hand: it comes from docs/example/results.json. Run with no argument to draw
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
from rhat.report import draw, guard
from rhat.report.judges import gate, unpassed
from rhat.report.verdicts import verdicts

DOCS = Path(__file__).parent
EXAMPLE = DOCS / "example"
README, GUARD = DOCS.parent / "README.md", DOCS / "guard.md"
BEGIN, END = "<!-- numbers: docs/example.py -->", "<!-- end of numbers -->"
SHOWN = (
    ("harmless", ("baseline", "set_projection", "add_average", "add_difference", "random_set_projection", "repe_add",
                  "heads:6", "random_heads:6")),
    ("harmful", ("baseline", "ablate", "subtract", "random_ablate")),
    ("borderline", ("baseline", "set_harmless_mean", "set_projection", "ablate")),
    ("twin", ("baseline", "set_harmless_mean", "set_projection", "ablate")),
)  # fmt: skip
KEPT = ("results.json", "per_prompt.parquet")  # all that `rhat verify` reads; no answer is in them
SCREEN = DOCS / "images" / "report.png"
CHROMIUM = Path("/usr/bin/chromium")
ANSWERED = ("induce", "suppress", "scopes", "repe", "heads")


def block(results: Results) -> str:
    """The README's block: the printed table, the answers in words and the first screen of the report."""
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
    lines += [f"- The guard. {' '.join(guard.sentences(results))}"]
    lines.append("")
    lines += [
        "The report begins:",
        "",
        f'<img src="docs/images/{SCREEN.name}" width="800" alt="first screen of the report">',
        "",
    ]
    lines.append(
        "All figures are in [docs/example/figures](docs/example/figures), all numbers in "
        "[docs/example/results.json](docs/example/results.json); `rhat verify docs/example` computes them again."
    )
    return "\n".join(lines)


def guard_block(results: Results) -> str:
    """The block of docs/guard.md: what the guard of this run did on test prompts."""
    model = results.model.name.rsplit("/", 1)[-1]
    said = [f"The study in docs/example ({model}, preset {results.settings['preset']}) measured, on test prompts:", ""]
    said += [f"- {sentence}" for sentence in guard.sentences(results)]
    return "\n".join(said)


def put(text: str, new: str) -> str:
    """A page with its block replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def photograph(page: Path) -> None:
    """The first screen of the report at 1280 pixels, in the light scheme."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        screen = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        screen.goto(page.as_uri(), timeout=180_000)
        screen.wait_for_function("document.documentElement.dataset.drawn", timeout=180_000)
        screen.screenshot(path=SCREEN)
        browser.close()


def main() -> None:
    if len(sys.argv) > 1:
        source = Path(sys.argv[1])
        EXAMPLE.mkdir(exist_ok=True)
        for name in KEPT:
            shutil.copy(source / name, EXAMPLE / name)
    draw(EXAMPLE)
    if CHROMIUM.exists():
        photograph(EXAMPLE / "report.html")
    (EXAMPLE / "report.html").unlink()  # several megabytes, most of them Plotly's
    results = contract.load(EXAMPLE)
    for page, made in ((README, block(results)), (GUARD, guard_block(results))):
        page.write_text(put(page.read_text("utf-8"), made), "utf-8")


if __name__ == "__main__":
    main()
