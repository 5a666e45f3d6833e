"""Tuning: the dose and the place of a control on validation prompts, with the same effort for every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rhat.lab import Lab
from rhat.lab.matching import Maker
from rhat.lab.rows import kl_part
from rhat.scoring import refusals

Row = dict[str, Any]
DOSES = (0.1, 0.2, 0.4, 0.8)  # where the grid of every place begins
WIDER = 4  # doses that are added at most, one at a time, while the best lies at the edge of its grid
FINALISTS = 8  # settings that are judged by generation: half for their scores, half for their little damage


def tuned(lab: Lab, places: Mapping[Any, Maker], n: int, stage: str) -> tuple[Row, list[Row]]:
    """The best setting on kept harmless validation prompts, and every setting tried: rows of `place`, `dose`, scores and rates.

    The best has the highest refusal rate by generation; of several the one that does the least damage, for where answers are refused
    alike, the first token's score goes on rising with damage. The grid is widened until the best has a larger and a
    smaller dose beside it; `inside` says whether it came to that.
    """
    rows: list[Row] = []
    _score(lab, rows, [(place, dose) for place in places for dose in DOSES], places, n, stage)
    for row in _finalists(rows):
        _rate(lab, row, places, n)
    for step in range(WIDER + 1):
        best = best_of(rows)
        beyond = _beyond(rows, best)
        best = best | {"inside": beyond is None}
        if beyond is None or step == WIDER:
            break
        _score(lab, rows, [(best["place"], beyond)], places, n, stage)
        _rate(lab, rows[-1], places, n)
    return best, rows


def best_of(rows: list[Row]) -> Row:
    """The setting of the highest rate; of several, of the least damage."""
    rated = [row for row in rows if "validation_rate" in row]
    return max(rated, key=lambda row: (row["validation_rate"], -row["kl_mean"]))


def _finalists(rows: list[Row]) -> list[Row]:
    """Half by score, for refusals; half, of those that lean to refuse, by little damage."""
    by_score = sorted(rows, key=lambda row: row["validation_score"], reverse=True)
    few = by_score[: FINALISTS // 2]
    gentle = sorted(
        (row for row in by_score[len(few) :] if row["validation_score"] > 0), key=lambda row: row["kl_mean"]
    )
    few += gentle[: FINALISTS - len(few)]
    return few + [row for row in by_score if row not in few][: FINALISTS - len(few)]


def _beyond(rows: list[Row], best: Row) -> float | None:
    """The next dose where the best is the largest or the smallest of its place, none where it lies inside."""
    doses = [row["dose"] for row in rows if row["place"] == best["place"]]
    if best["dose"] == max(doses):
        return float(2 * best["dose"])
    return float(best["dose"] / 2) if best["dose"] == min(doses) else None


def _score(
    lab: Lab, rows: list[Row], settings: list[tuple[Any, float]], places: Mapping[Any, Maker], n: int, stage: str
) -> None:
    treatments = [places[place](dose) for place, dose in settings]
    found = lab.score_conditions(treatments, "harmless", n, "validation", kl=True, stage=stage)
    for (place, dose), (scores, kl) in zip(settings, found, strict=True):
        rows.append({"place": place, "dose": dose, "validation_score": float(scores.mean()), **kl_part(kl)})


def _rate(lab: Lab, row: Row, places: Mapping[Any, Maker], n: int) -> None:
    """The refusal rate by generation: by score alone a broken model can win, whose first token is a refusal's."""
    prompts = lab.prompts_of("harmless", n, "validation")
    tokens = lab.model.tokenize([p.text for p in prompts])
    edits = lab.edits(places[row["place"]](row["dose"]))
    said = refusals(lab.model, tokens, edits, max_new_tokens=lab.judged_tokens, stop_early=False).completions
    found = lab.read(prompts, [completion.text for completion in said])
    row["validation_rate"] = found.count("refused") / len(found)
