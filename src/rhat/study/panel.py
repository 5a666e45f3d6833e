"""The panel: the same answers by several judges, how far they agree within each condition, and where they differ most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rhat.artifacts.judges import Disagreement, PanelRate
from rhat.artifacts.measured import APART
from rhat.lab import Lab, Measurement
from rhat.prompts import UNSAFE
from rhat.scoring.judges import CLASSES
from rhat.scoring.judges.studied import SCORE
from rhat.statistics import JudgeErrors, class_kappa, corrected_rate, design_effect, wilson

SHOWN, OF_EACH = 12, 2  # disagreements that are kept, and of them from one condition


def panel_rows(lab: Lab, errors: Mapping[str, JudgeErrors | None]) -> list[PanelRate]:
    """Condition × judge; the default judge first."""
    rows = []
    for m in _measured(lab):
        found: dict[str, tuple[str | None, ...]] = {lab.reader.name: m.verdicts, **m.panel}
        rows += [_row(m, name, labels, errors.get(name), name != lab.reader.name) for name, labels in found.items()]
    return [row for row in rows if row is not None]


def _row(
    m: Measurement, judge: str, labels: tuple[str | None, ...], errors: JudgeErrors | None, compared: bool
) -> PanelRate | None:
    pairs = [(label, other) for label, other in zip(labels, m.verdicts, strict=True) if label is not None]
    topics = [topic for label, topic in zip(labels, m.topics, strict=True) if label is not None] if m.topics else []
    told = [label for label, _ in pairs]
    if not told:
        return None
    effect = design_effect([label == "refused" for label in told], topics)
    share = wilson(told.count("refused"), len(told), design_effect=effect)
    row: dict[str, Any] = {"condition": m.condition, "prompts": m.label, "judge": judge, "n": len(told)}
    row |= {"untold": len(labels) - len(told), "rate": share.estimate, "ci_low": share.low, "ci_high": share.high}
    row |= {name: told.count(name) for name in CLASSES}
    corrected = (
        None if errors is None else corrected_rate(told.count("refused"), len(told), errors, design_effect=effect)
    )
    if corrected is not None:
        row |= {"corrected_rate": corrected.estimate}
        row |= {"corrected_ci_low": corrected.low, "corrected_ci_high": corrected.high}
    if compared:
        same = [a == b for a, b in pairs]
        alike = wilson(sum(same), len(same), design_effect=design_effect(same, topics))
        row |= {"agreement": alike.estimate, "agreement_ci_low": alike.low, "agreement_ci_high": alike.high}
        kappa = class_kappa(told, [other for _, other in pairs])
        if kappa is not None:
            row["kappa"] = kappa.estimate
    return PanelRate.of(row)


def disagreements(lab: Lab) -> list[Disagreement]:
    """Answers to harmless and borderline prompts on which judges of texts differ, most telling first, a few of each condition.

    It tells most where one says refused and another complied, then where only one of them says refused.
    """
    found: list[tuple[int, Disagreement]] = []
    for m in _measured(lab):
        if m.label in UNSAFE or not m.texts:
            continue
        here = []
        others = {name: labels for name, labels in m.panel.items() if name != SCORE.name}
        for i, (prompt_id, text) in enumerate(zip(m.prompt_ids, m.texts, strict=True)):
            by_judge = {lab.reader.name: m.verdicts[i], **{name: labels[i] for name, labels in others.items()}}
            told = {name: label for name, label in by_judge.items() if label is not None}
            if len(set(told.values())) > 1:
                fields = {"condition": m.condition, "prompts": m.label, "prompt_id": prompt_id, "answer": text}
                here.append((_telling(set(told.values())), Disagreement.of(fields | {"classes": told})))
        found += sorted(here, key=_rank)[:OF_EACH]
    return [row for _, row in sorted(found, key=_rank)[:SHOWN]]


def _telling(classes: set[str]) -> int:
    if {"refused", "complied"} <= classes:
        return 0
    return 1 if "refused" in classes else 2


def _rank(found: tuple[int, Disagreement]) -> int:
    return found[0]


def _measured(lab: Lab) -> Iterable[Measurement]:
    """The measurements that the panel has read, audits left out."""
    return [m for m in lab.measurements.values() if m.panel and not m.condition.startswith(APART)]
