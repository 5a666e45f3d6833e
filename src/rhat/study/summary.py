"""The run as a whole: the header of results.json, and what needs every experiment."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat import results as contract
from rhat.artifacts import examples
from rhat.artifacts.categories import category_rates
from rhat.artifacts.claims import fingerprint, primary_claims
from rhat.artifacts.header import ScoreAgreement
from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import APART
from rhat.artifacts.rows import Comparison
from rhat.lab import Lab
from rhat.lab.rows import undecided
from rhat.prompts import ContrastSet
from rhat.selection.finding import Finding
from rhat.selection.settings import FindSettings
from rhat.statistics import agreement
from rhat.study.config import StudyConfig
from rhat.study.judging import judge_readings
from rhat.study.manifest import manifest
from rhat.study.scored import threshold_of


def header(config: StudyConfig, model: Any, prompts: ContrastSet, finding: Finding) -> dict[str, Any]:
    """What is known once r̂ is found, or is not."""
    made: dict[str, Any] = head(model, finding) | {
        "prompts_fingerprint": prompts.fingerprint,
        "claims_fingerprint": fingerprint(config.margin),
        "settings": config.settings(),
        "manifest": manifest(config),
        "conditions": {},
        "prompts": _prompt_rows(prompts, finding, config),
        "refusal_tokens": [{"id": t.id, "text": t.text, "share": t.share} for t in finding.refusal_tokens],
    }
    if finding.openings and finding.outcome == "no_refusal":
        made["openings"] = [{"text": text, "count": count} for text, count in finding.openings]
    if finding.candidates:
        made["candidates"] = [dict(c) for c in finding.candidates]
        made["selection"] = {
            "rule": finding.rule,
            "kl_max": FindSettings.kl_max,
            "induce_min": FindSettings.induce_min,
            "last_layer": max(0, int((1 - FindSettings.skip_last) * model.n_layers) - 1),
            "removed": dict(finding.removed),
        }
    return made


def head(model: Any, finding: Finding) -> dict[str, Any]:
    """What every results.json begins with: the outcome, the model, and r̂ where there is one."""
    made: dict[str, Any] = {
        "schema_version": contract.SCHEMA_VERSION,
        "outcome": finding.outcome,
        "outcome_sentence": finding.sentence,
        "model": model.describe(),
    }
    d = finding.direction
    if d is not None:
        made["direction"] = {
            "site": str(d.site),
            "layer": d.layer,
            "position": d.position,
            "norm": d.norm,
            "method": d.method,
            "harmful_mean": d.mean_harmful,
            "harmless_mean": d.mean_harmless,
            **({"found_on": d.model.get("name", "unknown")} if "used_on" in d.extra else {}),
        }
        for key, name in (("mean_harmful_all", "harmful_mean_all"), ("score_threshold", "score_threshold")):
            if key in d.extra:
                made["direction"][name] = d.extra[key]
    return made


def _prompt_rows(prompts: ContrastSet, finding: Finding, config: StudyConfig) -> list[dict[str, Any]]:
    rows = []
    for label, splits in prompts.counts().items():
        for split, given in splits.items():
            if not given:
                continue
            row: dict[str, Any] = {"split": split, "label": label, "given": given}
            counts = finding.prompts.get(split, {}).get(label, {})
            if counts.get("given", given) < given:
                row["used"] = counts["given"]
            if "kept" in counts:
                row["kept"] = counts["kept"]
            if split == "test" and config.sizes.tested(label) < given:
                row["used"] = config.sizes.tested(label)
            rows.append(row)
    return rows


def finish(results: dict[str, Any], lab: Lab) -> None:
    """What needs every experiment: adjusted p values and verdicts, the primary claims, the agreement of the two scorers."""
    results["conditions"] = dict(lab.conditions)
    if compared := [Comparison.of(row) for row in results.get("comparisons", [])]:
        judged_rows = adjust(compared)
        results["comparisons"] = [row.plain() for row in judged_rows]
        results["power"] = undecided(results.get("power", []), judged_rows)
        if claims := primary_claims(judged_rows):
            results["primary"] = [claim.plain() for claim in claims]
    if results.get("rates"):
        judge_readings(results, lab)
        kinds = {p.id: p.category for p in lab.prompts.prompts}
        for name, rows in (
            ("category_rates", category_rates(lab.measurements.values(), kinds)),
            ("examples", _examples(lab)),
        ):
            if rows:
                results[name] = [row.plain() for row in rows]
    if lab.finding.refusal_tokens and (agreed := score_agreement(lab)):
        results["score_agreement"] = agreed.plain()


def _examples(lab: Lab) -> list[examples.Example]:
    """The first harmless test prompts, under each condition that was measured on them."""
    texts = {p.id: p.text for p in lab.prompts.prompts if p.label == "harmless"}
    both = [lab.measurements.get((name, "harmless")) for name in examples.CONDITIONS]
    measured = [m for m in both if m is not None and m.texts and m.verdicts]
    return [
        examples.Example.of(
            {"prompt_id": m.prompt_ids[i], "prompt": texts[m.prompt_ids[i]], "condition": m.condition}
            | {"answer": m.texts[i], "verdict": m.verdicts[i]}
        )
        for i in range(min((len(m.texts) for m in measured), default=0))[: examples.MANY]
        for m in measured
    ]


def score_agreement(lab: Lab) -> ScoreAgreement | None:
    """How far phrases and log-odds agree on refused or not, over every condition measured by generation."""
    threshold = threshold_of(lab)
    rows, all_phrases, all_odds = [], [], []
    for (condition, label), m in lab.measurements.items():
        if not m.verdicts or condition.startswith(APART):
            continue
        odds = m.scores > threshold
        all_phrases.append(m.refused)
        all_odds.append(odds)
        one = agreement(m.refused, odds)
        row = {"condition": condition, "prompts": label, "agreement": one.share.estimate, "n": one.n}
        if one.kappa is not None:
            row["kappa"] = one.kappa.estimate
        rows.append(row)
    if not rows:
        return None
    total = agreement(np.concatenate(all_phrases), np.concatenate(all_odds))
    if total.kappa is None:
        return None
    return ScoreAgreement.of(
        {
            "agreement": total.share.estimate,
            "kappa": total.kappa.estimate,
            "n": total.n,
            "threshold": threshold,
            "conditions": rows,
        }
    )
