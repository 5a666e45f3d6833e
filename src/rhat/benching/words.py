"""What a bench and a calibrated dose are called, and say, in plain sentences."""

from __future__ import annotations

from rhat.benching.rows import CalibratedDose
from rhat.display import wording
from rhat.display.wording import count, interval, number
from rhat.vocabulary import OPERATORS, PROMPTINGS, RULE_KINDS

TOWARDS = {"refusal": "towards refusal", "answers": "towards answers"}
DOING = {"induce": "Inducing refusal", "remove": "Removing refusal", "over-refusal": "Over-refusal"}


def dose_sentence(d: CalibratedDose) -> str:
    """What a calibration found, read from its fields alone."""
    unit = f" {d.unit}" if d.unit else ""
    head = (
        f"{d.op} with {d.parameter} {_number(d.dose)}{unit} [{_number(d.dose_ci_low)}, {_number(d.dose_ci_high)}] at {d.sites}, "
        f"{TOWARDS[d.towards]}, changes the next token by a KL of {number(d.kl_mean, 3)} nats "
        f"{interval(d.ci_low, d.ci_high, digits=3)} on average over {count(d.n, f'{d.prompts} {d.split} prompt')}"
    )
    if d.within:
        return f"{head}; {number(d.kl, 3)} were asked for."
    return f"{head}; {number(d.kl, 3)} were asked for, and it is not within 10 % of that."


def _number(value: float) -> str:
    """A dose with three significant digits and a true minus sign."""
    digits = f"{value:.3g}"
    return (f"{float(digits):g}" if "e" in digits else digits).replace("-", "−")


def called(condition: str) -> str:
    """A condition without its KL, in words."""
    part, _, name = condition.partition("@")[0].partition(":")
    if part == "baseline":
        return "No edit"
    if part == "control":
        return "Random directions"
    if part == "finder":
        return wording.finder(name)
    if part == "rule" and name in RULE_KINDS:
        return f"Chosen by {RULE_KINDS[name].label}"
    if part == "operator" and name in OPERATORS:
        return f"r̂: {wording.inside(OPERATORS[name].label)}"
    return PROMPTINGS[name].label if name in PROMPTINGS else name.replace("_", " ")
