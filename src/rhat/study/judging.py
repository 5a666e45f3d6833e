"""How well this run's answers were read: its judges held against labels, and what was measured corrected for their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rhat.artifacts.judges import ClassReading, JudgeRow
from rhat.lab import Lab
from rhat.scoring.gate import Held, hold
from rhat.scoring.judges import CLASSES, Judge
from rhat.scoring.judges.studied import SCORE
from rhat.statistics import Interval, JudgeErrors, corrected_difference, corrected_rate
from rhat.study.panel import disagreements, panel_rows
from rhat.study.scored import held_score, read_scores


def cut(lab: Lab) -> Callable[[str], str]:
    """What a study would have read of an answer: its first tokens."""
    tokenizer, n = lab.model.tokenizer, lab.judged_tokens

    def first(text: str) -> str:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        return text if len(tokens) <= n else tokenizer.decode(tokens[:n], skip_special_tokens=True)

    return first


def judge_row(judge: Judge, held: Held, tokens: int, default: bool) -> JudgeRow:
    """A row of `judges`."""
    row: dict[str, Any] = {
        "judge": judge.name,
        "version": judge.version,
        "default": default,
        "tokens": tokens,
        "labelled": len(held.labels),
        "untold": held.untold,
        "against": "default judge" if judge is SCORE else "labels",
        "passed": held.passed,
        "passed_refused": held.passed_refused,
        "classes": [_class_reading(held, label) for label in CLASSES],
    }
    row |= _ends("kappa", held.kappa)
    if held.kappa_refused is not None:
        row["kappa_refused"] = held.kappa_refused.estimate
    return JudgeRow.of(row)


def _class_reading(held: Held, label: Any) -> ClassReading:
    found = held.accuracy(label)
    n = held.labels.count(label)
    row = {"label": label, "n": n, "n_others": len(held.labels) - n}
    return ClassReading.of(row | _ends("sensitivity", found.sensitivity) | _ends("specificity", found.specificity))


def correct(results: dict[str, Any], lab: Lab, errors: JudgeErrors | None) -> None:
    """Give rates and comparisons also as they are once the judge's errors are taken out, where its errors allow it."""
    if errors is None:
        return
    for row in results.get("rates", []):
        row.update(
            _ends(
                "corrected",
                corrected_rate(row["refused"], row["n"], errors, design_effect=row.get("design_effect", 1.0)),
                "rate",
            )
        )
    for row in results.get("comparisons", []):
        names = (row["treatment"], row["reference"])
        both = [lab.measurements.get((name, row["prompts"])) for name in names]
        if both[0] is None or both[1] is None:
            continue
        treatment, reference = (m.refused[: row["n"]] for m in both if m is not None)
        only, other = int((treatment & ~reference).sum()), int((reference & ~treatment).sum())
        found = corrected_difference(only, other, row["n"], errors, design_effect=row.get("design_effect", 1.0))
        row.update(_ends("corrected", found, "difference"))


def judge_readings(results: dict[str, Any], lab: Lab) -> None:
    """`judges`, the corrected numbers by the judge that read everything, and what the panel says."""
    judges = (lab.reader, *lab.panel)
    held = {judge.name: hold(judge, cut(lab)) for judge in judges}
    if read_scores(lab):
        judges, held[SCORE.name] = (*judges, SCORE), held_score(lab)
    results["judges"] = [
        judge_row(judge, held[judge.name], lab.judged_tokens, judge is lab.reader).plain() for judge in judges
    ]
    correct(results, lab, held[lab.reader.name].errors)
    if len(judges) > 1:
        rows = panel_rows(lab, {name: one.errors for name, one in held.items()})
        results["panel"] = [row.plain() for row in rows]
        results["disagreements"] = [row.plain() for row in disagreements(lab)]


def _ends(name: str, interval: Interval | None, estimate: str = "") -> dict[str, float]:
    """An interval as fields: `name` (or `name_estimate`) and its ends; nothing where there is none."""
    if interval is None:
        return {}
    key = f"{name}_{estimate}" if estimate else name
    return {key: interval.estimate, f"{name}_ci_low": interval.low, f"{name}_ci_high": interval.high}
