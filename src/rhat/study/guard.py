"""Guard: the threshold on the projection, tested; and interventions that are conditional on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.guard import calibrate, evaluate_projections, relax, strengthen
from rhat.guard.conditional import Conditional
from rhat.interventions import set_projection
from rhat.study.lab import Lab, Measurement
from rhat.study.rows import compare, rate_row

FALSE_POSITIVES = 0.05  # what the threshold is calibrated for, on the calibration split


def guard(lab: Lab) -> dict[str, Any]:
    """Calibrate on the calibration split, measure on test prompts, and intervene only where the guard says so.

    guard:strengthen sets the projection to the harmful mean for prompts above the threshold; guard:relax sets it to the
    harmless mean for prompts at or under it. Where the gate stays shut the baseline's answer stands.
    """
    if not (lab.prompts.select("harmful", "calibration") and lab.prompts.select("harmless", "calibration")):
        return {}
    d = lab.direction
    calibration = calibrate(lab.model, d, lab.prompts, FALSE_POSITIVES)
    projected = {label: d.project(lab.testing[label][:, d.layer]).numpy() for label in ("harmful", "harmless")}
    borderline = lab.test("borderline", lab.sizes.headline)
    if borderline:
        projected["borderline"] = d.project(lab.activations(borderline, [d.layer])[:, 0]).numpy()
    tested = evaluate_projections(
        calibration.threshold, projected["harmful"], projected["harmless"], projected.get("borderline")
    )
    part: dict[str, Any] = {
        "guard": [
            {"measure": name, **values, "threshold": calibration.threshold, "target_fpr": FALSE_POSITIVES}
            for name, values in tested.items()
            if name != "threshold"
        ],
        "rates": [],
        "comparisons": [],
        "power": [],
    }
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
        row, power = compare(m, baseline, lab.margin, "over_refusal")
        part["rates"].append(rate_row(m))
        part["comparisons"].append(row)
        part["power"] += [power] if "prompts_needed" in power else []
        lab.progress("guard", len(part["rates"]), 4)
    return part


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
    mixed = Measurement(
        name,
        label,
        baseline.prompt_ids,
        np.where(opens, edited.scores, baseline.scores),
        tuple(e if o else b for e, b, o in zip(edited.verdicts, baseline.verdicts, opens, strict=True)),
        None,
        tuple(e if o else b for e, b, o in zip(edited.texts, baseline.texts, opens, strict=True)),
    )
    lab.conditions[name] = {
        "op": "set_projection",
        "direction": "rhat",
        "sites": [str(lab.direction.site)],
        "target": target,
        "when": gate.when,
        "threshold": gate.threshold,
    }
    lab.measurements[name, label] = mixed
    return mixed, baseline
