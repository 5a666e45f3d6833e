"""report.html: one self-contained page with the answer, a section per question, and how the run was made."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import Table
from rhat.questions import QUESTIONS
from rhat.questions.question import Drawing, Figure, Verdict
from rhat.report import about, appendix, guard, judges
from rhat.report.opening import opening
from rhat.report.picture import OPENING
from rhat.report.terms import Terms
from rhat.report.verdicts import verdicts

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
    points: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    code: str = ""


@dataclass(frozen=True)
class Answer:
    """One line of the answer on top."""

    key: str
    title: str
    verdict: Verdict
    label: str


def render(results: Results, figures: list[tuple[Drawing, Figure]], files: Sequence[str] = ()) -> str:
    """The page as HTML; `files` are the names of the run's other files beside it, which it links."""
    found = verdicts(results)
    answers = [
        Answer(question.key, question.title, found[question.key], question.label(found[question.key]))
        for question in QUESTIONS
        if question.headline and question.key in found
    ]
    return page(
        "page.html",
        figures,
        title=f"The refusal direction of {results.model.name}",
        opening=opening(results),
        picture=plots(figures, OPENING.name),
        model=results.model,
        facts=_facts(results),
        note=prose()["notes"].get(results.outcome, ""),
        answers=answers,
        sections=_sections(results, found, figures, files),
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
    terms = Terms()
    files.filters["explained"] = terms.explained
    data = {drawing.name: json.loads(figure.to_json()) for drawing, figure in figures}
    return files.get_template(template).render(
        **context,
        terms=terms,
        figures=Markup(json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")),
        style=Markup((TEMPLATES / "style.css").read_text("utf-8")),
        script=Markup((TEMPLATES / "script.js").read_text("utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def plots(figures: list[tuple[Drawing, Figure]], *names: str) -> tuple[Plot, ...]:
    """The places of the figures of these names, in the order of the page."""
    return tuple(
        Plot(drawing.name, drawing.title, drawing.alt, figure.layout.height)
        for drawing, figure in figures
        if drawing.name in names
    )


def _sections(
    results: Results, found: dict[str, Verdict], figures: list[tuple[Drawing, Figure]], files: Sequence[str] = ()
) -> list[Section]:
    words = prose()["sections"]
    made = [Section("primary", "The five primary claims", words["primary"], tables=tuple(appendix.primary(results)))]
    made.append(
        Section("judges", "How answers were read", judges.sentence(results), tables=tuple(judges.tables(results)))
    )
    for question in QUESTIONS:
        verdict = found.get(question.key)
        made.append(
            Section(
                f"question-{question.key}",
                question.title,
                question.asked,
                verdict,
                question.label(verdict) if verdict else "",
                plots(figures, *(drawing.name for drawing in question.figures)),
                tuple(question.tables_of(results)),
                question.how,
            )
        )
    made += [
        Section("categories", "Rates by category", words["categories"], tables=tuple(appendix.categories(results))),
        Section("examples", "Examples", words["examples"], tables=tuple(appendix.examples(results))),
        Section("guard", "As a guard", words["guard"], points=tuple(guard.sentences(results)),
                tables=tuple(guard.tables(results))),
        Section("controls", "Controls", words["controls"], None, "", plots(figures, appendix.CONTROLS.name),
                tuple(appendix.controls(results))),
        Section("tokens", "Refusal tokens", words["tokens"], tables=tuple(appendix.tokens(results))),
        Section("candidates", "Candidates", f"{words['candidates']} {results.outcome_sentence}", None, "", plots(figures, appendix.CANDIDATES.name),
                tuple(appendix.candidates(results))),
        Section("prompts", "Prompts", _fingerprint(results), tables=tuple(appendix.prompts(results))),
        Section("run", "The run", tables=tuple(appendix.run(results))),
        Section("limits", "Limits of this run", points=tuple(about.limits(results))),
        Section("cite", "Cite this run", words["cite"], code=about.citation(results)),
        Section("files", "Files of this run", words["files"],
                links=tuple((name, said) for name, said in about.FILES.items() if name in files)),
    ]  # fmt: skip
    return [s for s in made if s.verdict or s.figures or s.tables or s.points or s.code or s.links]


@cache
def prose() -> dict[str, Any]:
    """The words that hold for every run, from prose.toml."""
    return tomllib.loads((TEMPLATES / "prose.toml").read_text("utf-8"))


def _fingerprint(results: Results) -> str:
    if results.prompts_fingerprint is None:
        return ""
    return f"Fingerprint of the set and its splits: {results.prompts_fingerprint[:16]}…"


def _facts(results: Results) -> list[tuple[str, str]]:
    """The run at a glance."""
    model, direction = results.model, results.direction
    facts = [("Layers", str(model.n_layers)), ("Width", f"{model.d_model:,}")]
    if direction:
        facts = [("r̂ at", direction.site), ("position", wording.number(direction.position, 0)), *facts]
        facts.insert(2, ("length", wording.number(direction.norm)))
        if direction.harmful_mean is not None and direction.harmful_mean_all is not None:
            kept, everybody = wording.number(direction.harmful_mean), wording.number(direction.harmful_mean_all)
            facts.insert(3, ("t", f"{kept}, the mean over harmful prompts that are refused ({everybody} over all)"))
    facts += [(name, value) for name, value in (("Dtype", model.dtype), ("Weights", model.weight_format)) if value]
    sizes = sorted({row.n for row in results.rates})
    if sizes:
        facts.append(("Test prompts", " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))))
    if "preset" in results.settings:
        facts.append(("Preset", str(results.settings["preset"])))
    return facts
