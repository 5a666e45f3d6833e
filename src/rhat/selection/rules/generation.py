"""The rule by generation: which candidate does best what is claimed of r̂, in judged answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rhat.model.edits import Edits
from rhat.scoring import tasks
from rhat.scoring.reading import Judging
from rhat.selection.choice import Choice, chosen
from rhat.selection.rules.published import inducing
from rhat.selection.search import Field, place_of

SHORT = 8  # candidates that are answered with


def generation(given: Field) -> Choice:
    """The candidate with which judged answers to validation prompts do best; of equals the one with the lower ablation score.

    What counts is the mean of two shares: harmless prompts that are refused while it is added at its own layer, and harmful prompts
    that are complied with while it is ablated; a degenerate answer is neither, so damage counts against it. Answered with are
    the 8 candidates of lowest ablation score among those that pass the published induce rule (or, where none does, the
    relaxed one). Greedy answers, read by the default judge.

    Table: `scores` with `generated`, `refused_added` and `complied_ablated`. Stored: the last two, 0 or 1 a prompt.
    """
    induce = inducing(given)
    _, survivors = induce.survivors(given.open)
    induce.kept()
    given.lap("induce scores")
    given.score_ablation(survivors)
    given.lap("ablation scores")
    short = sorted(survivors, key=lambda c: c["ablation_score"])[:SHORT]
    refused = _answered(given, "harmless", given.added(short), "refused")
    complied = _answered(given, "harmful", given.ablated(short), "complied")
    given.more |= {"refused_added": {}, "complied_ablated": {}}
    for candidate, said, done in zip(short, refused, complied, strict=True):
        shares = {"refused_added": float(said.mean()), "complied_ablated": float(done.mean())}
        candidate["scores"] = {"generated": sum(shares.values()) / 2, **shares}
        given.more["refused_added"][place_of(candidate)] = said
        given.more["complied_ablated"][place_of(candidate)] = done
    given.lap("answers")
    return _best(given, short, {place_of(c) for c in survivors})


def generation_cost(expected: Any, settings: Any, harmful: Any, harmless: Any) -> None:
    """Induce scores of all candidates (half of the prompts, where stopping early), some ablation scores, and the answers."""
    layers = range(1, max(2, int((1 - settings.skip_last) * expected.model.n_layers)))
    share = 1.0 if settings.all_kl or not settings.early_stopping else 0.5
    for layer in layers:
        expected.scored(share * expected.model.template_length, harmless, layer)
    expected.scored(0.07 * expected.model.template_length * len(layers), harmful)
    for some in (harmful, harmless):
        expected.answered(SHORT, some, settings.judged_tokens)


def _best(given: Field, short: Sequence[dict[str, Any]], survivors: set[tuple[int, int]]) -> Choice:
    rank = {place_of(c): (-c["scores"]["generated"], i) for i, c in enumerate(short)}
    statuses = list(given.statuses)
    for i, candidate in enumerate(given.table):
        place = place_of(candidate)
        if statuses[i] == "kept" and place not in rank:
            statuses[i] = "unevaluated" if place in survivors else "induce"
    kept = [i for i, status in enumerate(statuses) if status == "kept"]
    best = min(kept, key=lambda i: rank[place_of(given.table[i])], default=None)
    return chosen(given.table, best, statuses, "generation", ("zero_norm", "layer", "induce"))


def _answered(given: Field, label: str, conditions: Sequence[Edits], wanted: str) -> list[np.ndarray]:
    """Of each condition, 1 for each prompt whose answer is of the wanted class, else 0; in the prompts' order."""
    if not conditions:
        return []
    scorer, plan, settings = given.scorer, given.plans[label], given.settings
    texts = tuple(p.text for p in given.validation[label])
    asked = tasks.Answering(
        max_new_tokens=settings.judged_tokens,
        stop_early=False,
        phrases=settings.phrases,
        judging=Judging(texts, ("",) * len(texts), settings.phrases),
    )
    shards = scorer.executor.split(len(plan.batches))
    groups = tasks.groups(plan, shards, {}, own=[[edits] for edits in conditions])

    def tell(done: int, total: int) -> None:
        scorer.progress(f"answers, {label}", done, total)

    parts = scorer.executor.map(
        tasks.answer, scorer.model, asked, groups, sizes=[len(g.rows) for g in groups], progress=tell
    )
    found = np.zeros((len(conditions), len(plan)))
    for part in parts:
        n = len(part.rows) // len(conditions)
        for at, (row, verdict) in enumerate(zip(part.rows, part.verdicts, strict=True)):
            found[at // n, row] = verdict == wanted
    return list(found)
