"""The selection rules of a bench: the direction that each would choose, among differences of means at every layer and position."""

from __future__ import annotations

from dataclasses import replace

from rhat.benching.entries import Bench, Entry, Left, Offered
from rhat.benching.making import REFERENCE
from rhat.errors import ContrastError, StudyError
from rhat.selection.finding import direction_at
from rhat.selection.search import Scorer, search
from rhat.selection.settings import FindSettings
from rhat.vocabulary import RULE_KINDS

CHEAP = ("first_auroc",)
"""Rules that read activations alone: they are asked whatever the settings say."""


def rules(bench: Bench) -> list[Offered]:
    """What each rule chooses. That by which r̂ was found chose r̂; the others search, if the settings let them."""
    found: list[Offered] = []
    places: dict[tuple[int, int], str] = {}
    direction = bench.lab.direction
    for name in RULE_KINDS:
        if direction.extra.get("rule") == name and direction.method == "mean_difference":
            place: tuple[int, int] | None = (direction.layer, direction.position)
        elif bench.settings.searches or name in CHEAP:
            try:
                place = _chosen(bench, name)
            except (StudyError, ContrastError) as error:
                found.append(Left("rule", name, str(error)))
                continue
        else:
            found.append(Left("rule", name, "takes a search of its own: give --search, or --preset standard"))
            continue
        if place is None:
            found.append(Left("rule", name, "leaves no candidate"))
            continue
        found.append(_entry(bench, name, place, places))
    return found


def _entry(bench: Bench, name: str, place: tuple[int, int], places: dict[tuple[int, int], str]) -> Entry:
    """The candidate of a place; the first rule that chose it is measured for all of them."""
    at = direction_at(bench.lab.model, bench.lab.means, *place)
    same = REFERENCE if bench.is_reference(at.unit, at.layer) else places.get(place)
    entry = Entry("rule", name, at.unit, at.layer, same=same)
    places.setdefault(place, entry.condition)
    return entry


def _chosen(bench: Bench, name: str) -> tuple[int, int] | None:
    """Layer and position of the candidate that a rule chooses on the kept validation prompts."""
    lab = bench.lab
    scorer = Scorer(lab.model, lab.executor, lab.tokens, lab.progress)
    settings = replace(FindSettings(rule=name), phrases=lab.finding.phrases, judged_tokens=lab.judged_tokens)
    choice, _ = search(scorer, lab.means, lab.finding.kept["validation"], settings, lambda _stage: None)
    return None if choice.candidate is None else (choice.candidate["layer"], choice.candidate["position"])
