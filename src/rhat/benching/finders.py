"""The finders of a bench: every one at r̂'s layer and position."""

from __future__ import annotations

from rhat.benching.entries import ROWS, Bench, Entry, Left, Offered, unit_of
from rhat.directions.finders import FINDERS, check_finder, finder_named
from rhat.errors import ContrastError, StudyError
from rhat.selection.borderline import refused_borderline
from rhat.selection.search import Scorer
from rhat.selection.vectors import Groups


def finders(bench: Bench) -> list[Offered]:
    """The direction of each finder, on the same kept training activations; left out where what it needs is not there."""
    found: list[Offered] = []
    for written in bench.settings.finders or FINDERS:
        if written == "mean_difference":
            continue  # the reference, which is there anyway
        try:
            found.append(_found(bench, written))
        except (ContrastError, StudyError) as error:
            found.append(Left("finder", written, str(error)))
    return found


def _found(bench: Bench, written: str) -> Offered:
    kind, lab = check_finder(written), bench.lab
    needs = () if kind is None else kind.needs
    if "vector" in needs:
        return Left("finder", written, "needs a vector of the user's own; `rhat audit` compares one with r̂")
    kept, other = lab.finding.kept["train"], kind is not None and kind.positive == "borderline"
    positive = kept["harmful"][:ROWS]
    if other:
        scorer = Scorer(lab.model, lab.executor, lab.tokens, lab.progress)
        refused = refused_borderline(scorer, lab.prompts, lab.finding.kept, lab.means)
        positive = refused["train"]["harmful"][:ROWS]
    groups = Groups.of(written, {"harmful": positive, "harmless": kept["harmless"][:ROWS]}, kept["harmful"][:ROWS])
    harmful, harmless = bench.rows
    rows = (bench.read(positive) if other else harmful, harmless, *([harmful] if groups.harmful else []))
    vector = finder_named(written, groups.given(rows))(rows[0], rows[1])
    seen = ("borderline", "twin") if other and not lab.prompts.select("borderline", "train") else ()
    return Entry("finder", written, unit_of(vector), lab.direction.layer, seen=seen)
