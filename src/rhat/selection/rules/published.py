"""The rules of Arditi et al. 2024, appendix C, and the relaxed one: scores are measured lazily, and the choice is that of all."""

from __future__ import annotations

from math import inf
from typing import Any

from rhat.selection.choice import Choice, choose, choose_relaxed
from rhat.selection.rules.inducing import Induce
from rhat.selection.search import Field


def published(given: Field) -> Choice:
    """The published rules; where they leave no candidate, the relaxed rule, and the choice says so. Arditi et al. 2024, appendix C.

    Induce first, then ablation for those that pass, then KL in order of ablation score until one passes: the choice is
    the same as with every score known, because the rules are a conjunction. Early stopping among induce and ablation scores is
    not exact but nearly: a given candidate is wrongly dropped with a probability below 0.05 % a look, and the best of 100 in a
    race with one of 0.5 % where all are alike, by simulation.
    """
    induce = inducing(given)
    rule, survivors = induce.survivors(given.open)
    given.lap("induce scores")
    _score(given, survivors)
    if rule == "published":
        settings = given.settings
        limits = {"kl_max": settings.kl_max, "induce_min": settings.induce_min, "skip_last": settings.skip_last}
        choice = choose(given.table, n_layers=given.n_layers, **limits)
        if choice.candidate is not None:
            induce.kept()
            return choice
        induce.finish(given.open, "induce scores, the rest")  # KL removed all that the published induce rule kept
        _score(given, [c for c in given.open if c["induce_rise_low"] > 0 and "ablation_score" not in c], lap=False)
    return _relaxed(given, induce)


def relaxed(given: Field) -> Choice:
    """The relaxed rule, whatever the published ones leave: adding a candidate need only raise refusal scores."""
    induce = Induce(given, 0)
    induce.run(given.open, "induce scores")
    given.lap("induce scores")
    _score(given, [c for c in given.open if c["induce_rise_low"] > 0])
    return _relaxed(given, induce)


def inducing(given: Field) -> Induce:
    """Induce scores, stopped early unless every score is asked for."""
    return Induce(given, 0 if given.settings.all_kl else given.settings.early_stopping)


def _relaxed(given: Field, induce: Induce) -> Choice:
    settings = given.settings

    def choice() -> Choice:
        return choose_relaxed(
            given.table, n_layers=given.n_layers, kl_max=settings.kl_max, skip_last=settings.skip_last
        )

    if (best := choice().candidate) is not None:
        induce.complete(best)  # that of the chosen one is told over every prompt
    induce.kept()
    return choice()


def _score(given: Field, survivors: list[dict[str, Any]], lap: bool = True) -> None:
    """Ablation scores and KL, as far as the choice needs them: of those that are not clearly behind, until one passes by KL."""
    finalists, left = given.race_ablation(survivors), survivors
    if lap:
        given.lap("ablation scores")
    while True:
        given.score_kl(finalists)
        left = [c for c in left if "kl" not in c]
        passed = any(c.get("kl", inf) <= given.settings.kl_max for c in finalists)
        if not left or (passed and not given.settings.all_kl):
            break
        finalists = given.race_ablation(left)  # KL removed those ahead
    if lap:
        given.lap("KL")
