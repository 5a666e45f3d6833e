"""What is measured: how few heads induce refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rhat.heads import Attribution, Head, attribute, patch_heads
from rhat.lab import Lab, Measurement
from rhat.lab.rows import compared, rate_part, rate_row, score_part, score_row
from rhat.questions.heads.rows import HeadComparison, Rows
from rhat.statistics import holm, judge, mean_interval

KS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
HEADLINE_K = 6  # the number that the published result used
SHORTLIST = 24
GREEDY_STEPS = 8
GREEDY_PROMPTS = 16
CONFIRMED = (1, 3, 6, 12)  # k confirmed by generation on the sweep's prompts


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
    chosen = greedy(lab, found, ranked[:SHORTLIST])
    ks = [k for k in KS if k <= len(ranked)]
    sets: dict[tuple[int, str], list[Head]] = {}
    for k in ks:
        sets[k, "attributed"] = ranked[:k]
        sets[k, "random"] = random_heads(ranked[:k], lab, lab.seed)
        if k <= len(chosen):
            sets[k, "greedy"] = chosen[:k]
    found_scores = lab.score_each([_patch(lab, found, some) for some in sets.values()], "harmless", n, stage="heads")
    by_set = {key: scores for key, (scores, _) in zip(sets, found_scores, strict=True)}
    shown = {_name(k, kind): some for (k, kind), some in sets.items() if k in CONFIRMED and kind != "random"}
    confirmed = _confirm(lab, found, shown, n)
    comparisons = _comparisons(by_set, before)
    part: dict[str, Any] = {
        "position": found.position,
        "ranking": [{"layer": h[0], "head": h[1], "attribution": v} for h, v in found.ranking()],
        "curve": [{"k": 0, "kind": "attributed", **score_part(before)}, *_curve(lab, by_set, confirmed)],
        "comparisons": comparisons,
        "smallest_k": smallest_k(comparisons, "attributed"),
        "smallest_k_greedy": smallest_k(comparisons, "greedy"),
        "greedy": chosen,
    }
    return Rows.of({"heads": part} | _headline(lab, found, ranked))


def _curve(
    lab: Lab, by_set: dict[tuple[int, str], np.ndarray], confirmed: dict[str, Measurement]
) -> list[dict[str, Any]]:
    """Refusal with each set of heads patched; by generation too, where that was confirmed."""
    rows = []
    for (k, kind), scores in by_set.items():
        row = {"k": k, "kind": kind, **score_part(scores)}
        if kind == "random":
            row["seed"] = lab.seed
        m = confirmed.get(_name(k, kind))
        if m is not None:
            row |= rate_part(m.refused) | {"refused": int(m.refused.sum())}
        rows.append(row)
    return rows


def _comparisons(by_set: dict[tuple[int, str], np.ndarray], before: np.ndarray) -> list[HeadComparison]:
    """Each set of heads against the baseline and against as many random heads, Holm-adjusted together."""
    rows, p_values = [], []
    for (k, kind), scores in by_set.items():
        if kind == "random":
            continue
        for reference, against in (("baseline", before), ("random", by_set[k, "random"])):
            gap = mean_interval(scores - against)
            row: dict[str, Any] = {"k": k, "kind": kind, "reference": reference, "difference": gap.estimate}
            rows.append(row | {"ci_low": gap.low, "ci_high": gap.high, "unit": "log-odds", "n": gap.n})
            p_values.append(_p_value(scores - against))
    judged = []
    for row, p in zip(rows, holm(p_values), strict=True):
        p = float(min(p, 1.0))
        verdict = judge((row["ci_low"], row["ci_high"]), holm_p=p)
        judged.append(HeadComparison.of(row | {"holm_p": p, "verdict": verdict}))
    return judged


def smallest_k(rows: Sequence[HeadComparison], kind: str) -> int | None:
    """The smallest number of heads of a kind that is better than both references; None if none is."""
    of_kind = [row for row in rows if row.kind == kind]
    failing = {row.k for row in of_kind if row.verdict != "better"}
    return min({row.k for row in of_kind} - failing, default=None)


def _p_value(differences: np.ndarray) -> float:
    from scipy import stats

    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


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


def greedy(lab: Lab, found: Attribution, shortlist: list[Head]) -> list[Head]:
    """Heads taken one at a time from a shortlist, each time the one that raises the mean refusal score of harmless
    validation prompts most."""
    n = min(GREEDY_PROMPTS, len(lab.finding.kept["validation"]["harmless"]))
    chosen: list[Head] = []
    left = list(shortlist)
    for step in range(min(GREEDY_STEPS, len(shortlist))):
        doings = [_patch(lab, found, [*chosen, head]) for head in left]
        scores = [float(values.mean()) for values, _ in lab.score_each(doings, "harmless", n, "validation")]
        best = left[int(np.argmax(scores))]
        chosen.append(best)
        left.remove(best)
        lab.progress("greedy heads", step + 1, GREEDY_STEPS)
    return chosen


def _name(k: int, kind: str) -> str:
    """The condition of k patched heads."""
    return f"heads:{k}" if kind == "attributed" else f"{kind}_heads:{k}"


def _confirm(lab: Lab, found: Attribution, sets: dict[str, list[Head]], n: int) -> dict[str, Measurement]:
    """Refusals by generation with each of these sets of heads patched."""
    said = {"op": "patch_heads", "direction": "rhat", "scope": "last_prompt_token"}
    return lab.measure_each(
        {name: _patch(lab, found, some) for name, some in sets.items()},
        "harmless",
        n,
        describe={name: said | {"heads": [list(head) for head in some]} for name, some in sets.items()},
        stage="heads, by generation",
    )


def _headline(lab: Lab, found: Attribution, ranked: list[Head]) -> dict[str, Any]:
    """Six heads against six random ones and baseline, by generation on the headline prompts."""
    baseline = lab.measure("baseline", None, "harmless", lab.sizes.headline)
    n = len(baseline.verdicts)
    top = ranked[:HEADLINE_K]
    k = len(top)
    sets = {_name(k, "attributed"): top, _name(k, "random"): random_heads(top, lab, lab.seed)}
    patched, random_ = _confirm(lab, found, sets, n).values()
    return {
        "rates": [rate_row(patched), rate_row(random_)],
        "scores": [score_row(patched), score_row(random_)],
        **compared([(patched, random_), (patched, baseline)], lab.margin, "heads"),
    }
