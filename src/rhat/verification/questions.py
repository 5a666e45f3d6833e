"""Questions: the rows of single questions, made again from what was kept of their conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rhat.artifacts.judging import noninferior_in_sequence
from rhat.artifacts.measured import CLASSES, compare, kl_part, rate_part, score_part
from rhat.statistics import (
    Interval,
    JudgeErrors,
    auroc,
    class_kappa,
    corrected_rate,
    design_effect,
    fixed_sequence,
    half_effect_dose,
    holm,
    judge,
    paired_comparison,
    wilson,
)
from rhat.statistics.judgement import ALPHA
from rhat.verification.kept import Answers, Kept
from rhat.verification.recomputed import Recomputed, correction

Written = Mapping[str, Any]


def errors_of(reading: Mapping[str, Any] | None) -> JudgeErrors | None:
    """A judge's errors for `refused`, from the shares and numbers of labelled answers that its row states."""
    if reading is None or reading.get("sensitivity") is None or reading.get("specificity") is None:
        return None
    n, others = reading["n"], reading["n_others"]
    return JudgeErrors(round(reading["sensitivity"] * n), n, round(reading["specificity"] * others), others)


def panel_row(m: Answers, judge_name: str, errors: JudgeErrors | None, *, compared: bool) -> dict[str, Any]:
    """A row of `panel`."""
    kept = [
        (found, own, topic)
        for found, own, topic in zip(m.classes[judge_name], m.verdicts, m.topics, strict=True)
        if found is not None
    ]
    told, topics = [found for found, _, _ in kept], [topic for _, _, topic in kept]
    row: dict[str, Any] = {"untold": len(m.verdicts) - len(told), **{name: told.count(name) for name in CLASSES}}
    refused = np.array([found == "refused" for found in told])
    row |= rate_part(refused, topics)
    if errors is not None:
        effect = design_effect(refused, topics)
        row |= correction(corrected_rate(int(refused.sum()), len(told), errors, design_effect=effect), "rate")
    if compared:
        same = [found == own for found, own, _ in kept]
        share = wilson(sum(same), len(same), design_effect=design_effect(same, topics))
        row |= {"agreement": share.estimate, "agreement_ci_low": share.low, "agreement_ci_high": share.high}
        kappa = class_kappa(told, [own for _, own, _ in kept])
        row |= {} if kappa is None else {"kappa": kappa.estimate}
    return row


def random_controls(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The refusals of each random direction among the prompts that were dealt to it."""
    dealt: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(written.get("random_controls", [])):
        if "rate" in row and row["kind"] == "orthogonal":
            dealt.setdefault((row["condition"], row["prompts"]), []).append(i)
    for (condition, label), some in dealt.items():
        rate = next((r for r in written.get("rates", []) if (r["condition"], r["prompts"]) == (condition, label)), None)
        found = kept.judged(condition, label, rate["n"] if rate else None)
        if found is None or len(some) > len(found.verdicts):
            continue
        first = min(written["random_controls"][i]["seed"] for i in some)
        for i in some:
            mine = found.dealt(written["random_controls"][i]["seed"] - first, len(some))
            made = rate_part(mine.refused, mine.topics)
            del made["n"]  # that of the scores
            yield Recomputed(("random_controls", i), made)


def _measured(m: Answers) -> dict[str, Any]:
    return {**score_part(m.scores, m.topics), **rate_part(m.refused, m.topics), **kl_part(m.kl)}


def scopes(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Rates under each part of the sequence, and which is enough, in a fixed sequence from the largest part down."""
    rows, margin = written.get("scopes", []), (written.get("settings") or {}).get("margin", 0.1)
    found = {row["scope"]: kept.judged(row["condition"], "harmless", row["n"]) for row in rows}
    whole = found.get("all")
    parts: dict[str, dict[str, Any]] = {scope: _measured(m) for scope, m in found.items() if m is not None}
    order = sorted((row for row in rows if row["scope"] != "all"), key=lambda row: -row["token_share"])
    if whole is not None and all(row["scope"] in parts for row in order):
        against = [compare(m, whole, margin, "scopes")[0] for row in order if (m := found[row["scope"]]) is not None]
        for row, p in zip(order, noninferior_in_sequence(against), strict=True):
            parts[row["scope"]] |= {"sequence_p": p, "enough": p < ALPHA}
    for i, row in enumerate(rows):
        if row["scope"] in parts:
            yield Recomputed(
                ("scopes", i), {k: v for k, v in parts[row["scope"]].items() if k in row or k != "kl_mean"}
            )


def finders(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The effect of setting each finder's direction."""
    for i, row in enumerate(written.get("finders", [])):
        effect = row.get("set_effect")
        found = kept.judged(f"finder:{row['name']}", "harmless", effect["n"]) if effect else None
        if found is not None:
            made = {**score_part(found.scores, found.topics), **rate_part(found.refused, found.topics)}
            yield Recomputed(("finders", i, "set_effect"), made)


def dose(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Refusals at each target, and the dose of half effect."""
    conditions = written.get("conditions", {})
    targets = {
        said["target"]: name
        for name, said in conditions.items()
        if (name == "set_projection" or name.startswith("set:")) and "target" in said
    }
    curve: list[tuple[float, float, int]] = []
    for i, row in enumerate(written.get("dose", [])):
        name = targets.get(row["target"]) if row.get("op") != "add" else None
        found = kept.judged(name, "harmless", row["n"]) if name else None
        if found is not None:
            made = _measured(found)
            yield Recomputed(("dose", i), {k: v for k, v in made.items() if k in row or k != "kl_mean"})
            curve.append((row["target"], float(found.refused.mean()), row["n"]))
    seed = (written.get("settings") or {}).get("seed", 0)
    if written.get("half_effect") and len(curve) > 1:
        at, share, n = (np.array(values) for values in zip(*curve, strict=True))
        half = half_effect_dose(at, share, n.tolist(), seed=seed)
        if half is not None:
            made = {"dose": half.estimate, "ci_low": half.low, "ci_high": half.high}
            yield Recomputed(("half_effect", 0), made)


def heads(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Refusals with heads patched, against no patch and random heads, and the smallest number that suffices."""
    said = written.get("heads")
    if not said:
        return
    for i, row in enumerate(said.get("curve", [])):
        if "rate" not in row:
            continue
        name = f"heads:{row['k']}" if row["kind"] == "attributed" else f"{row['kind']}_heads:{row['k']}"
        found = kept.judged(name, "harmless", row["n"])
        if found is not None:
            made = rate_part(found.refused, found.topics) | {"refused": int(found.refused.sum())}
            yield Recomputed(("heads", "curve", i), made)
    pairs: dict[int, list[tuple[int, Any]]] = {}
    for i, row in enumerate(said.get("comparisons", [])):
        if row["unit"] != "share":
            continue
        against = "baseline" if row["reference"] == "baseline" else f"random_heads:{row['k']}"
        both = [kept.judged(name, "harmless", row["n"]) for name in (f"heads:{row['k']}", against)]
        if both[0] is None or both[1] is None:
            return
        compared = paired_comparison(both[0].refused, both[1].refused, margin=0.0, groups=both[0].topics)
        pairs.setdefault(row["k"], []).append((i, compared))
    order = sorted(pairs, reverse=True)
    if not order:
        return
    each = [max(one.mcnemar_p if one.b >= one.c else 1.0 for _, one in pairs[k]) for k in order]
    smallest, going = None, True
    for k, p in zip(order, fixed_sequence(each).tolist(), strict=True):
        words = []
        for i, one in pairs[k]:
            words.append(judge((one.ci_low, one.ci_high), holm_p=p))
            made = {"difference": one.difference, "ci_low": one.ci_low, "ci_high": one.ci_high, "sequence_p": p}
            made |= {"treatment_only": one.b, "reference_only": one.c, "verdict": words[-1]}
            yield Recomputed(("heads", "comparisons", i), made)
        going = going and all(word == "better" for word in words)
        smallest = k if going else smallest
    yield Recomputed(("heads",), {"smallest_k": smallest})


def horizon(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The classes of the same answers after so many of their tokens, and what reading on changes."""
    for i, row in enumerate(written.get("horizon", [])):
        m = kept.judged(row["condition"], row["prompts"], row["n"])
        classes = None if m is None else m.shorter.get(row["tokens"], m.verdicts if _last(written, row) else None)
        if m is None or classes is None:
            continue
        refused = np.array([found == "refused" for found in classes])
        made = {**score_part(m.scores, m.topics), **rate_part(refused, m.topics)}
        yield Recomputed(("horizon", i), made | {name: classes.count(name) for name in CLASSES})
    changes = []
    for row in written.get("horizon_changes", []):
        m = kept.judged(row["condition"], row["prompts"], row["n"])
        if m is None or row["tokens"] not in m.shorter:
            return
        before = np.array([found == "refused" for found in m.shorter[row["tokens"]]])
        changes.append(paired_comparison(m.refused, before, margin=row["margin"], groups=m.topics))
    if not changes:
        return
    for i, (one, p) in enumerate(zip(changes, holm([one.mcnemar_p for one in changes]).tolist(), strict=True)):
        made = {"late": one.b, "turned": one.c, "difference": one.difference, "ci_low": one.ci_low}
        made |= {
            "ci_high": one.ci_high,
            "mcnemar_p": one.mcnemar_p,
            "holm_p": min(p, 1.0),
            "equivalent": one.equivalent,
        }
        word = judge((one.ci_low, one.ci_high), (one.ci90_low, one.ci90_high), one.margin, min(p, 1.0))
        yield Recomputed(("horizon_changes", i), made | {"verdict": word})


def _last(written: Written, row: Mapping[str, Any]) -> bool:
    same = [
        r["tokens"] for r in written["horizon"] if (r["condition"], r["prompts"]) == (row["condition"], row["prompts"])
    ]
    return bool(row["tokens"] == max(same))


def boosts(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """How many points more are refused than without an edit."""
    for i, row in enumerate((written.get("repe") or {}).get("boosts", [])):
        both = [kept.judged(name, row["prompts"], row["n"]) for name in (row["condition"], "baseline")]
        if both[0] is not None and both[1] is not None:
            found = paired_comparison(both[0].refused, both[1].refused, groups=both[0].topics)
            made = {"points": 100 * found.difference, "ci_low": 100 * found.ci_low, "ci_high": 100 * found.ci_high}
            yield Recomputed(("repe", "boosts", i), made)


def projected(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """What stands on the projections: AUROC of refused against complied prompts of one label, and the guard."""
    for i, row in enumerate(written.get("auroc_within", [])):
        m = kept.judged("baseline", row["comparison"].split(", ")[-1], row["n_positive"] + row["n_negative"])
        if m is None or not np.isfinite(m.projections).all() or not row["comparison"].startswith("refused vs complied"):
            continue
        topics = np.array(m.topics)
        area = auroc(
            m.projections[m.refused], m.projections[~m.refused], groups=(topics[m.refused], topics[~m.refused])
        )
        made = {"auroc": area.estimate, "ci_low": area.low, "ci_high": area.high}
        yield Recomputed(("auroc_within", i), made | {"verdict": judge((area.low - 0.5, area.high - 0.5))})
    sides = {label: kept.of("baseline", label) for label in ("harmful", "harmless", "borderline", "twin")}
    labels = {"false_positive_rate": "harmless", "true_positive_rate": "harmful", "borderline_flagged": "borderline"}
    labels["twin_flagged"] = "twin"
    for i, row in enumerate(written.get("guard", [])):
        if row["measure"] == "auroc":
            both = [sides["harmful"], sides["harmless"]]
            if any(m is None or not np.isfinite(m.projections).all() for m in both):
                continue
            one, other = (m for m in both if m is not None)
            found: Interval = auroc(one.projections, other.projections, groups=(one.topics, other.topics))
        else:
            m = sides[labels[row["measure"]]]
            if m is None or not np.isfinite(m.projections).all():
                continue
            above = m.projections > row["threshold"]
            found = wilson(int(above.sum()), len(above), design_effect=design_effect(above, m.topics))
        if found.n == row["n"]:
            made = {"estimate": found.estimate, "ci_low": found.low, "ci_high": found.high}
            yield Recomputed(("guard", i), made)


SECTIONS = (random_controls, scopes, finders, dose, heads, horizon, boosts, projected)
