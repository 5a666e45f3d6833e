"""What is measured: over-refusal, on harmless requests with alarming words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rhat.guard import calibrate, evaluate_projections, relax, strengthen
from rhat.guard.conditional import Conditional
from rhat.interventions import ablate, set_projection
from rhat.lab import Asked, Lab, Measurement
from rhat.lab.rows import compared, rate_row, score_row
from rhat.questions.over_refusal.rows import Rows
from rhat.questions.projections.measure import within
from rhat.selection.survey import SIDES

FALSE_POSITIVES = 0.05  # what the threshold is calibrated for, on the calibration split


def over_refusal(lab: Lab) -> Rows:
    """Borderline prompts: baseline, set to the harmful mean, set to the harmless mean, ablate; and their projections."""
    d = lab.direction
    prompts = lab.test("borderline", lab.sizes.headline)
    if not prompts:
        return Rows()
    doings = {
        "baseline": None,
        "set_projection": set_projection(d),
        "set_harmless_mean": set_projection(d, d.mean_harmless),
        "ablate": ablate(d),
    }
    measured = list(lab.measure_each(doings, "borderline", len(prompts), stage="over_refusal").values())
    baseline = measured[0]
    values = d.project(lab.activations(prompts, [d.layer])[:, 0]).numpy()
    groups = {"all": np.ones(len(values), dtype=bool), "refused": baseline.refused, "complied": ~baseline.refused}
    rows = []
    for group, inside in groups.items():
        some = values[inside]
        if len(some) >= 2:
            rows.append({"group": group, "mean": float(some.mean()), "sd": float(some.std(ddof=1)), "n": len(some)})
    return Rows.of(
        {
            "rates": [rate_row(m) for m in measured],
            "scores": [score_row(m) for m in measured],
            **compared([(m, baseline) for m in measured[1:]], lab.margin, "over_refusal"),
            "borderline_projections": rows,
            "auroc_within": within(lab, "borderline"),
        }
    )


def guard(lab: Lab) -> Rows:
    """Calibrate on the calibration split, measure on test prompts, and intervene only where the guard says so.

    guard:strengthen sets the projection to the harmful mean for prompts above the threshold; guard:relax sets it to the
    harmless mean for prompts at or under it. Where the gate stays shut the baseline's answer stands.
    """
    if not (lab.prompts.select("harmful", "calibration") and lab.prompts.select("harmless", "calibration")):
        return Rows()
    d = lab.direction
    calibration = calibrate(lab.model, d, lab.prompts, FALSE_POSITIVES)
    projected = {label: d.project(lab.testing[label][:, d.layer]).numpy() for label in ("harmful", "harmless")}
    borderline = lab.test("borderline", lab.sizes.headline)
    if borderline:
        projected["borderline"] = d.project(lab.activations(borderline, [d.layer])[:, 0]).numpy()
    tested = evaluate_projections(
        calibration.threshold,
        projected["harmful"],
        projected["harmless"],
        projected.get("borderline"),
        topics={label: lab.topics(label, len(values)) for label, values in projected.items()},
    )
    part: dict[str, Any] = {
        "guard": [
            {"measure": name, **values, "threshold": calibration.threshold, "target_fpr": FALSE_POSITIVES}
            for name, values in tested.items()
            if name != "threshold"
        ],
        "rates": [],
    }
    pairs = []
    gates = {"guard:strengthen": strengthen(d, calibration.threshold), "guard:relax": relax(d, calibration.threshold)}
    for name, label in (
        ("guard:strengthen", "harmful"),
        ("guard:strengthen", "harmless"),
        ("guard:strengthen", "borderline"),
        ("guard:relax", "borderline"),
    ):
        if label not in projected:
            continue
        m, baseline = _gated(lab, name, gates[name], label, projected[label])
        part["rates"].append(rate_row(m))
        pairs.append((m, baseline))
        lab.progress("guard", len(part["rates"]), 4)
    return Rows.of(part | compared(pairs, lab.margin, "over_refusal"))


def _gated(
    lab: Lab, name: str, gate: Conditional, label: str, projections: np.ndarray
) -> tuple[Measurement, Measurement]:
    """Answers under a conditional intervention: the edited one where the gate opens, the baseline's elsewhere."""
    n = min(len(projections), len(lab.test(label, lab.sizes.headline)))
    baseline = lab.measure("baseline", None, label, n)
    target = lab.direction.mean_harmful if name == "guard:strengthen" else lab.direction.mean_harmless
    always = "set_projection" if name == "guard:strengthen" else "set_harmless_mean"
    edited = lab.measure(always, set_projection(lab.direction, target), label, n)
    n = len(baseline.verdicts)
    opens = gate.opens_at(projections[:n])

    def either(at_edited: Sequence[Any], at_baseline: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(e if o else b for e, b, o in zip(at_edited, at_baseline, opens, strict=True))

    mixed = Measurement(
        name,
        label,
        baseline.prompt_ids,
        np.where(opens, edited.scores, baseline.scores),
        either(edited.verdicts, baseline.verdicts),
        None,
        either(edited.texts, baseline.texts) if edited.texts and baseline.texts else (),
        (),
        {judge: either(found, baseline.panel[judge]) for judge, found in edited.panel.items()},
        either(edited.hashes, baseline.hashes),
        topics=baseline.topics,
    )
    description = {
        "op": "set_projection",
        "direction": "rhat",
        "sites": [str(lab.direction.site)],
        "target": target,
        "when": gate.when,
        "threshold": gate.threshold,
    }
    return lab.record(mixed, description), baseline


def over_refusal_cost(a: Asked) -> None:
    """Four conditions on borderline prompts."""
    some = a.head("borderline")
    a.given.answered(4, some, a.tokens)
    a.given.scored(2, some, stop=a.given.layer, head=False)


def guard_cost(a: Asked) -> None:
    """Projections of calibration prompts, and setting on harmful ones."""
    x = a.given
    a.testing()
    for label in SIDES:
        x.scored(1, x.some(label, None, "calibration", kept=False), stop=x.layer, head=False)
    x.scored(1, a.head("borderline"), stop=x.layer, head=False)
    for label in SIDES:
        a.measured("baseline", label)
        a.measured("set_projection", label, x.layer)
