"""report.html: one self-contained page with the answer, a section per question, and how the run was made."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rhat.report import tables, verdicts, wording
from rhat.report.drawings import Drawing
from rhat.report.figures import Figure
from rhat.report.tables import Table
from rhat.report.verdicts import HEADLINES, Verdict

Results = dict[str, Any]
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Plot:
    """A figure's place on the page."""

    name: str
    title: str
    alt: str
    height: int


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    id: str
    title: str
    asked: str = ""
    verdict: Verdict | None = None
    label: str = ""
    figures: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    how: str = ""


@dataclass(frozen=True)
class Answer:
    """One line of the answer on top."""

    number: int
    title: str
    verdict: Verdict
    label: str


TABLES: dict[int, Callable[[Results], list[Table]]] = {
    1: tables.adding,
    2: tables.projections,
    3: tables.components,
    4: tables.ablating,
    5: tables.scopes,
    6: tables.boost,
    7: tables.heads,
    8: tables.finders,
    9: tables.over_refusal,
    10: tables.dose,
    11: tables.stability,
}


def render(results: Results, figures: list[tuple[Drawing, Figure]]) -> str:
    """The page as HTML."""
    found = verdicts.verdicts(results)
    answers = [
        Answer(number, _questions()[number]["title"], found[number], _label(number, found[number]))
        for number in HEADLINES
        if number in found
    ]
    return page(
        "page.html",
        figures,
        title=f"The refusal direction of {results['model']['name']}",
        results=results,
        model=results["model"],
        facts=_facts(results),
        note=prose()["notes"].get(results["outcome"], ""),
        answers=answers,
        sections=_sections(results, found, figures),
    )


def page(template: str, figures: list[tuple[Drawing, Figure]], **context: Any) -> str:
    """A template filled in, with its style, its figures and Plotly inside."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    files = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    data = {drawing.name: json.loads(figure.to_json()) for drawing, figure in figures}
    return files.get_template(template).render(
        **context,
        figures=Markup(json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")),
        style=Markup((TEMPLATES / "style.css").read_text("utf-8")),
        script=Markup((TEMPLATES / "script.js").read_text("utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def plots(figures: list[tuple[Drawing, Figure]], question: int | None = None, *names: str) -> tuple[Plot, ...]:
    """The places of a question's figures, or of those named."""
    return tuple(
        Plot(drawing.name, drawing.title, drawing.alt, figure.layout.height)
        for drawing, figure in figures
        if drawing.name in names or (question and drawing.question == question)
    )


def _sections(results: Results, found: dict[int, Verdict], figures: list[tuple[Drawing, Figure]]) -> list[Section]:
    words = prose()["sections"]
    made = [Section("primary", "The five primary claims", words["primary"], tables=tuple(tables.primary(results)))]
    for number, words_for in _questions().items():
        verdict = found.get(number)
        made.append(
            Section(
                f"question-{number}",
                words_for["title"],
                words_for["asked"],
                verdict,
                _label(number, verdict) if verdict else "",
                plots(figures, number),
                tuple(TABLES[number](results)),
                words_for["how"],
            )
        )
    made += [
        Section("controls", "Controls", words["controls"], None, "", plots(figures, None, "random_controls"),
                tuple(tables.controls(results))),
        Section("tokens", "Refusal tokens", words["tokens"], tables=tuple(tables.tokens(results))),
        Section("candidates", "Candidates", words["candidates"], None, "", plots(figures, None, "candidates"),
                tuple(tables.candidates(results))),
        Section("prompts", "Prompts", _fingerprint(results), tables=tuple(tables.prompts(results))),
        Section("run", "The run", tables=tuple(tables.run(results))),
    ]  # fmt: skip
    return [section for section in made if section.verdict or section.figures or section.tables]


@cache
def prose() -> dict[str, Any]:
    """The words that hold for every run, from prose.toml."""
    return tomllib.loads((TEMPLATES / "prose.toml").read_text("utf-8"))


def _questions() -> dict[int, dict[str, Any]]:
    return {int(number): words for number, words in prose()["questions"].items()}


def _fingerprint(results: Results) -> str:
    if "prompts_fingerprint" not in results:
        return ""
    return f"Fingerprint of the set and its splits: {results['prompts_fingerprint'][:16]}…"


def _label(number: int, verdict: Verdict) -> str:
    labels: dict[str, str] = _questions()[number].get("labels", {})
    return labels.get(verdict.word, verdict.word)


def _facts(results: Results) -> list[tuple[str, str]]:
    """The run at a glance."""
    model, direction = results["model"], results.get("direction")
    facts = [("Layers", str(model["n_layers"])), ("Width", f"{model['d_model']:,}")]
    if direction:
        facts = [("r̂ at", direction["site"]), ("position", wording.number(direction["position"], 0)), *facts]
        facts.insert(2, ("length", wording.number(direction["norm"])))
    facts += [(name, model[key]) for name, key in (("Dtype", "dtype"), ("Weights", "weight_format")) if key in model]
    sizes = sorted({row["n"] for row in results.get("rates", [])})
    if sizes:
        facts.append(("Test prompts", " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))))
    if "preset" in results.get("settings", {}):
        facts.append(("Preset", str(results["settings"]["preset"])))
    return facts
