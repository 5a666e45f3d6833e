"""What is measured: how few heads induce refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rhat.heads import Attribution, Head, attribute, patch_heads
from rhat.lab import Asked, Lab, Measurement, RotatedControls
from rhat.lab.rows import compared, rate_part, rate_row, score_part, score_row
from rhat.questions.heads.rows import HeadComparison, Rows
from rhat.selection.survey import SIDES
from rhat.statistics import fixed_sequence, holm, judge, mean_interval, mean_p, paired_comparison

KS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
HEADLINE_K = 6  # the number that the published result used
SHORTLIST = 24
GREEDY_STEPS = 8
GREEDY_PROMPTS = 16
CONFIRMED = (1, 3, 6, 12)  # k tested by generation on the sweep's prompts, from the most down
DRAWS = 10  # draws of as many random heads of the same layers; by generation each prompt gets one of them


def heads(lab: Lab) -> Rows:
    """Attribute r̂ to heads, then patch the top k at the last prompt token into harmless runs, against random heads.

    Attribution and the choice of heads use training and validation prompts; the curve is on test prompts.
    """
    if not any(layer < lab.direction.layer for layer in lab.model.layout.with_heads):
        return Rows()
    texts = {label: [p.text for p in lab.finding.kept["train"][label][:128]] for label in ("harmful", "harmless")}
    found = attribute(lab.model, lab.direction, texts["harmful"], texts["harmless"])
    ranked = [head for head, _ in found.ranking()]
    n = lab.sizes.sweep
    before, _ = lab.score(None, "harmless", n)
    chosen = chosen_greedily(lab, found, ranked[:SHORTLIST])
    headline = _headline(lab, found, ranked)
    ks = [k for k in KS if k <= len(ranked)]
    tested = [k for k in CONFIRMED if k <= len(ranked)]
    sets: dict[tuple[int, str, int], list[Head]] = {(k, "attributed", 0): ranked[:k] for k in ks}
    sets |= {(k, "greedy", 0): chosen[:k] for k in ks if k <= len(chosen)}
    sets |= {(k, "random", i): some for k in tested for i, some in enumerate(_random_draws(ranked[:k], lab))}
    found_scores = lab.score_conditions(
        [_patch(lab, found, some) for some in sets.values()], "harmless", n, stage="heads"
    )
    by_set = {key: scores for key, (scores, _) in zip(sets, found_scores, strict=True)}
    shown = {_name(k, kind): some for (k, kind, _), some in sets.items() if k in tested and kind != "random"}
    dealt = {_name(k, "random"): _random_draws(ranked[:k], lab) for k in tested}
    confirmed = _confirm(lab, found, shown | dealt, n)
    baseline = lab.measure("baseline", None, "harmless", n)
    by_generation = _by_generation(confirmed, baseline, tested)
    part: dict[str, Any] = {
        "position": found.position,
        "ranking": [{"layer": h[0], "head": h[1], "attribution": v} for h, v in found.ranking()],
        "curve": [
            {"k": 0, "kind": "attributed", **score_part(before, lab.topics("harmless", n))},
            *_curve(lab, by_set, confirmed, tested),
        ],
        "comparisons": [*by_generation, *_comparisons(by_set, before, lab.topics("harmless", n))],
        "smallest_k": smallest_k(by_generation),
        "greedy": chosen,
    }
    return Rows.of({"heads": part} | headline)


def _curve(
    lab: Lab, by_set: dict[tuple[int, str, int], np.ndarray], confirmed: dict[str, Measurement], tested: Sequence[int]
) -> list[dict[str, Any]]:
    """Refusal with each set of heads patched; by generation too, where that was measured."""
    rows = []
    for (k, kind, draw), scores in by_set.items():
        row = {"k": k, "kind": kind, **score_part(scores, lab.topics("harmless", len(scores)))}
        if kind == "random":
            row["seed"] = lab.seed + draw
        elif m := confirmed.get(_name(k, kind)):
            row |= rate_part(m.refused, m.topics) | {"refused": int(m.refused.sum())}
        rows.append(row)
    for k in tested:
        random_ = confirmed[_name(k, "random")]
        dealt = random_.refused
        rows.append(
            {"k": k, "kind": "random", "draws": DRAWS, **rate_part(dealt, random_.topics), "refused": int(dealt.sum())}
        )
    return rows


def _by_generation(
    confirmed: dict[str, Measurement], baseline: Measurement, tested: Sequence[int]
) -> list[HeadComparison]:
    """The heads of largest attribution against no patch and against random heads, by refusals, from the most heads down.

    At each k the p of "refuses more than both" is the larger of the two exact ones, and k counts only if every larger k does.
    """
    rows, p_values = [], []
    for k in sorted(tested, reverse=True):
        treated = confirmed[_name(k, "attributed")].refused
        pair = []
        for reference, against in (("baseline", baseline.refused), ("random", confirmed[_name(k, "random")].refused)):
            found = paired_comparison(treated, against, margin=0.0, groups=baseline.topics[: len(treated)])
            row: dict[str, Any] = {"k": k, "kind": "attributed", "reference": reference, "difference": found.difference}
            row |= {"ci_low": found.ci_low, "ci_high": found.ci_high, "unit": "share", "n": found.n}
            rows.append(row | {"treatment_only": found.b, "reference_only": found.c})
            pair.append(found.mcnemar_p if found.b >= found.c else 1.0)
        p_values.append(max(pair))
    judged = []
    for i, p in enumerate(fixed_sequence(p_values).tolist()):
        for row in rows[2 * i : 2 * i + 2]:
            word = judge((row["ci_low"], row["ci_high"]), holm_p=p)
            judged.append(HeadComparison.of(row | {"sequence_p": p, "verdict": word}))
    return judged


def _comparisons(
    by_set: dict[tuple[int, str, int], np.ndarray], before: np.ndarray, topics: tuple[str, ...]
) -> list[HeadComparison]:
    """Each set of heads against the baseline and the mean of the random draws, by log-odds, Holm-adjusted together."""
    rows, p_values = [], []
    for (k, kind, _), scores in by_set.items():
        if kind == "random":
            continue
        drawn = [other for (j, name, _), other in by_set.items() if (j, name) == (k, "random")]
        references = [("baseline", before)] + ([("random", np.mean(drawn, axis=0))] if drawn else [])
        for reference, against in references:
            gap = mean_interval(scores - against, groups=topics)
            row: dict[str, Any] = {"k": k, "kind": kind, "reference": reference, "difference": gap.estimate}
            rows.append(row | {"ci_low": gap.low, "ci_high": gap.high, "unit": "log-odds", "n": gap.n})
            p_values.append(mean_p(scores - against, topics))
    judged = []
    for row, p in zip(rows, holm(p_values), strict=True):
        p = float(min(p, 1.0))
        verdict = judge((row["ci_low"], row["ci_high"]), holm_p=p)
        judged.append(HeadComparison.of(row | {"holm_p": p, "verdict": verdict}))
    return judged


def smallest_k(rows: Sequence[HeadComparison]) -> int | None:
    """The smallest number of heads that, like every larger one tested, refuses more than both references; None if none does."""
    found = None
    for k in sorted({row.k for row in rows}, reverse=True):
        if any(row.verdict != "better" for row in rows if row.k == k):
            break
        found = k
    return found


def _patch(lab: Lab, found: Attribution, some: list[Head]) -> Any:
    return patch_heads(found, some)


def random_heads(like: list[Head], lab: Lab, seed: int) -> list[Head]:
    """As many heads of each layer as `like` has, drawn with a seed among the layer's other heads where there are enough."""
    generator = torch.Generator().manual_seed(seed * 1000 + 77)
    picked: list[Head] = []
    for layer in sorted({head[0] for head in like}):
        taken = {h for la, h in like if la == layer}
        others = [h for h in range(lab.model.layout.n_heads) if h not in taken]
        pool = others if len(others) >= len(taken) else list(range(lab.model.layout.n_heads))
        order = torch.randperm(len(pool), generator=generator)[: len(taken)]
        picked += [(layer, pool[int(i)]) for i in order]
    return picked


def _random_draws(like: list[Head], lab: Lab) -> list[list[Head]]:
    return [random_heads(like, lab, lab.seed + draw) for draw in range(DRAWS)]


def chosen_greedily(lab: Lab, found: Attribution, shortlist: list[Head]) -> list[Head]:
    """Heads taken one at a time from a shortlist, each time the one that raises the mean refusal score of harmless
    validation prompts most."""
    n = min(GREEDY_PROMPTS, len(lab.finding.kept["validation"]["harmless"]))
    chosen: list[Head] = []
    left = list(shortlist)
    for step in range(min(GREEDY_STEPS, len(shortlist))):
        treatments = [_patch(lab, found, [*chosen, head]) for head in left]
        scores = [float(values.mean()) for values, _ in lab.score_conditions(treatments, "harmless", n, "validation")]
        best = left[int(np.argmax(scores))]
        chosen.append(best)
        left.remove(best)
        lab.progress("greedy heads", step + 1, GREEDY_STEPS)
    return chosen


def _name(k: int, kind: str) -> str:
    """The condition of k patched heads."""
    return f"heads:{k}" if kind == "attributed" else f"{kind}_heads:{k}"


def _confirm(
    lab: Lab, found: Attribution, sets: dict[str, list[Head] | list[list[Head]]], n: int
) -> dict[str, Measurement]:
    """Refusals by generation with each of these sets of heads patched; of several draws each prompt gets one in turn."""
    said = {"op": "patch_heads", "direction": "rhat", "scope": "last_prompt_token"}
    treatments: dict[str, Any] = {}
    describe: dict[str, Any] = {}
    for name, some in sets.items():
        if isinstance(some[0], list):
            treatments[name] = RotatedControls(tuple(_patch(lab, found, one) for one in some))
            describe[name] = said | {"direction": "random", "seed": lab.seed}
        else:
            treatments[name] = _patch(lab, found, some)
            describe[name] = said | {"heads": [list(head) for head in some]}
    return lab.measure_conditions(treatments, "harmless", n, describe=describe, stage="heads, by generation")


def _headline(lab: Lab, found: Attribution, ranked: list[Head]) -> dict[str, Any]:
    """Six heads against six random ones (of several draws) and baseline, by generation on the headline prompts."""
    baseline = lab.measure("baseline", None, "harmless", lab.sizes.headline)
    n = len(baseline.verdicts)
    top = ranked[:HEADLINE_K]
    k = len(top)
    sets: dict[str, Any] = {_name(k, "attributed"): top, _name(k, "random"): _random_draws(top, lab)}
    patched, random_ = _confirm(lab, found, sets, n).values()
    return {
        "rates": [rate_row(patched), rate_row(random_)],
        "scores": [score_row(patched), score_row(random_)],
        **compared([(patched, random_), (patched, baseline)], lab.margin, "heads"),
    }


def heads_cost(a: Asked) -> None:
    """Attribution on training prompts, greedy choice, the curve by log-odds, and the fewest by generation."""
    x = a.given
    for label in SIDES:
        x.scored(1, x.some(label, 128, "train"), stop=x.layer, head=False)
    layout = x.model.layout
    below = layout.n_heads * sum(layer < x.layer for layer in layout.with_heads)
    if not below:
        return
    short, tested = min(SHORTLIST, below), [k for k in CONFIRMED if k <= below]
    steps = [short - i for i in range(min(GREEDY_STEPS, short))]
    sets = sum(k <= below for k in KS) + sum(k <= len(steps) for k in KS) + DRAWS * len(tested)
    validation = x.some("harmless", GREEDY_PROMPTS, "validation")
    x.scored(1, validation)
    x.at_last_tokens(sum(steps), validation, x.layer // 2)
    x.scored(2, a.sweep())
    x.at_last_tokens(sets, a.sweep(), x.layer // 2)
    a.measured("baseline", "harmless")
    x.answered(2, a.head("harmless"), a.tokens, x.layer // 2)
    x.answered(3 * len(tested) - 3, a.sweep(), a.tokens, x.layer // 2)
