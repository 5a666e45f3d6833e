"""`rhat find`: find the refusal direction of a model and save it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.choosing import FinderOptions, RuleOptions
from rhat.cli.console import out
from rhat.cli.files import check_output
from rhat.cli.options import (
    Format,
    FormatOption,
    ModelOptions,
    OverwriteOption,
    PromptOptions,
    SeedOption,
    shared,
)
from rhat.cli.progress import announce, progress
from rhat.cli.reading import ReadingOptions
from rhat.cli.stopping import keeping
from rhat.vocabulary import FINDER_KINDS

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.selection.finding import Finding

QUICK: dict[str, Any] = {"train": 96, "validation": 32, "token_prompts": 32}
COLUMNS = {
    "position": "Position",
    "layer": "Layer",
    "induce_score": "Induce (nats)",
    "ablation_score": "Ablation (nats)",
    "kl": "KL (nats)",
    "status": "Status",
}


@shared
def find(
    where: ModelOptions,
    prompts: PromptOptions,
    reading: ReadingOptions,
    finding: FinderOptions,
    choosing: RuleOptions,
    destination: Annotated[Path, typer.Option("--out", "-o", help="Where to save the direction.")] = Path(
        "direction.safetensors"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use fewer prompts: 96 per label to find r̂ and 32 to choose it.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of candidates to show in the table.")] = 10,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.table,
) -> None:
    """Find the refusal direction r̂ of a model and save it.

    At every layer and template position, a finder (by default, the difference of means) turns the activations of
    harmful and harmless prompts into a candidate. The rules of Arditi et al. (2024) choose one on validation prompts. If no
    candidate passes, a relaxed rule is tried, and the output says so; --rule takes another. A model that rarely refuses has no r̂; this is a
    valid result, and no file is written. If answers open with a think block or a channel, everything is measured after a
    response prefix that closes it (a few answers are first continued for up to 512 tokens); the direction stores the prefix.

    Completed work is kept beside the output, in direction.safetensors.kept, until the search ends: after Ctrl-C, a signal or a
    crash, rerunning the command resumes where it stopped.

    Examples:

    [bold]rhat find[/bold]

    [bold]rhat find --model ./my-model --harmful bad.jsonl --harmless good.jsonl --out mine.safetensors[/bold]

    [bold]rhat find --finder logistic --rule cosmic --out probe.safetensors[/bold]

    [bold]rhat find --model ./basque --refusal-phrases basque.txt[/bold]

    [bold]rhat find --format json | jq .direction[/bold]
    """
    folder = destination.with_name(destination.name + ".kept")
    check_output(destination, overwrite=overwrite or _of_this_search(destination, folder))
    how = {**choosing.read(), **finding.read()}
    contrast = prompts.read(seed, where.offline, finding.borderline)
    from rhat.model.work import counting
    from rhat.scoring.phrases import Phrases
    from rhat.scoring.pieces import Pieces
    from rhat.selection.finding import find
    from rhat.selection.settings import FindSettings
    from rhat.selection.told import told_of_search

    settings = FindSettings(
        **(QUICK if quick else {}),
        **how,
        phrases=Phrases() if reading.refusal_phrases is None else Phrases.read(reading.refusal_phrases),
        refusal_tokens=reading.tokens(),
        judged_tokens=reading.judged_tokens,
    )
    with keeping(folder):
        with progress() as report:
            model = where.load(report)
            pieces = Pieces.of(folder, model)
            with counting() as ledger:
                if (told := told_of_search(model, contrast, settings, pieces)) is not None:
                    told.follow(ledger)
                    announce(report, told)
                found = find(model, contrast, settings, progress=report, pieces=pieces)
        written = None if found.direction is None else found.direction.save(destination)
    pieces.remove()
    if form is Format.table:
        _print(found, top, written)
    elif form is Format.json:
        tables.document(_summary(found, written))
    else:
        for candidate in found.candidates:
            tables.line(candidate)


def _of_this_search(destination: Path, folder: Path) -> bool:
    """Whether a search that was killed before it could end has written that file: it is newer than what the search kept."""
    try:
        return destination.stat().st_mtime >= max(path.stat().st_mtime for path in folder.iterdir())
    except (OSError, ValueError):  # there is no such file or folder, or it is empty
        return False


def _print(finding: Finding, top: int, written: Path | None) -> None:
    console = out()
    if finding.refusal_tokens:
        said = ", ".join(f"{token.text!r} {token.share:.0%}" for token in finding.refusal_tokens)
        console.print(f"Refusals begin with: {said}", markup=False)
    counts = [
        {"split": split, "label": label, **numbers}
        for split, labels in finding.prompts.items()
        for label, numbers in labels.items()
    ]
    titles = {"split": "Split", "label": "Prompts", "given": "Given", "kept": "Kept"}
    tables.rows(counts, Format.table, titles, title="Prompts on which the model behaves as labelled")
    best = sorted(finding.candidates, key=_rank)[:top]
    if best:
        baseline = tables.shown(finding.baseline_induce)
        title = f"Candidates: the best {len(best)} of {len(finding.candidates)} (baseline score {baseline})"
        own = {name: name.replace("_", " ").capitalize() for c in best for name in c.get("scores", {})}
        shown = [{**c, **c.get("scores", {})} for c in best]
        known = {name: told for name, told in COLUMNS.items() if any(name in c for c in shown)}
        tables.rows(shown, Format.table, {**known, **own}, title=title)
    console.print(f"[bold]{finding.outcome}[/bold]: ", end="")
    console.print(finding.sentence, markup=False, soft_wrap=True)
    if finding.direction is not None:
        r = finding.direction
        console.print(
            f"mean projection: harmful {tables.shown(r.mean_harmful)}, "
            f"harmless {tables.shown(r.mean_harmless)}; "
            f"distance between the means {tables.shown(r.norm)}; split-half cosine "
            f"{tables.shown(finding.split_half_cosine)}",
            markup=False,
            soft_wrap=True,
        )
        for name, told in _more(r).items():
            console.print(f"{name.replace('_', ' ')}: {told}", markup=False, soft_wrap=True)
    console.print(
        f"saved to {written}" if written else "no direction, so no file was written",
        markup=False,
        soft_wrap=True,
    )


def _more(r: Direction) -> dict[str, Any]:
    """What the finder said beside its vector."""
    reports = {kind.report for kind in FINDER_KINDS.values()}
    return {name: _short(said) for name, said in r.extra.items() if name in reports}


def _short(said: Any) -> Any:
    """The same with three digits of each number."""
    if isinstance(said, dict):
        return {name: _short(value) for name, value in said.items()}
    if isinstance(said, list):
        return [_short(value) for value in said]
    return float(f"{said:.3g}") if isinstance(said, float) else said


def _rank(candidate: dict[str, Any]) -> tuple[int, float, float]:
    """Sort key: the selected candidate, then kept ones by ablation score (or what another rule chose by), then the others by
    induce score."""
    order = {"selected": 0, "kept": 1, "unevaluated": 2, "kl": 3, "auroc": 3, "induce": 4}
    own = -next(iter(candidate.get("scores", {}).values()), 0.0)
    score = candidate.get("ablation_score", 0.0) if "scores" not in candidate else own
    return order.get(candidate["status"], 5), score, -candidate.get("induce_score", float("-inf"))


def _summary(finding: Finding, written: Path | None) -> dict[str, Any]:
    r = finding.direction
    said: dict[str, Any] = {
        "outcome": finding.outcome,
        "outcome_sentence": finding.sentence,
        "rule": finding.rule,
        "removed": dict(finding.removed),
        "prompts": finding.prompts,
        "refusal_tokens": [{"id": t.id, "text": t.text, "share": t.share} for t in finding.refusal_tokens],
        "candidates": list(finding.candidates),
        "openings": [{"text": text, "count": count} for text, count in finding.openings],
        "timings": [
            {"stage": stage, "seconds": seconds, **finding.work.get(stage, {})} for stage, seconds in finding.timings
        ],
    }
    if finding.response_prefix:
        said["response_prefix"] = finding.response_prefix
    if finding.phrases.added:
        said["refusal_phrases"] = finding.phrases.describe()
    if r is not None:
        said["direction"] = {
            **r.describe(),
            "split_half_cosine": finding.split_half_cosine,
            "file": str(written),
            **_more(r),
        }
    return said
