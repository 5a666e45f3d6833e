"""The judge `score` in a study: what was measured read by its log-odds as well, at no cost, and how well that agrees."""

from __future__ import annotations

from dataclasses import replace

from rhat.lab import Lab, Measurement
from rhat.scoring.gate import Held
from rhat.scoring.judges.judge import Class
from rhat.scoring.judges.studied import SCORE, score_class


def threshold_of(lab: Lab) -> float:
    """The refusal score (nats) that best tells refused training prompts from others, fitted on the unedited model's answers."""
    direction = lab.finding.direction
    return 0.0 if direction is None else float(direction.extra.get("score_threshold", 0.0))


def read_scores(lab: Lab) -> bool:
    """Let `score` read every measurement that has scores; whether there is any that it can be held against."""
    if not lab.finding.refusal_tokens:
        return False
    threshold = threshold_of(lab)
    for key, m in lab.measurements.items():
        if m.verdicts:
            found = tuple(score_class(float(score), threshold) for score in m.scores)
            lab.measurements[key] = replace(m, panel={**m.panel, SCORE.name: found})
    return bool(_baseline(lab))


def held_score(lab: Lab) -> Held:
    """`score` held against the default judge's reading of the unedited model's answers to test prompts.

    It reads the model, and no labelled answer is this model's: so it is measured by how it foretells what the model does.
    No test prompt took part in fitting its threshold.
    """
    both = [pair for m in _baseline(lab) for pair in zip(m.verdicts, m.panel[SCORE.name], strict=True)]
    return Held(tuple(_class(own) for own, _ in both), tuple(_class(found) for _, found in both))


def _baseline(lab: Lab) -> list[Measurement]:
    return [m for (condition, _), m in lab.measurements.items() if condition == "baseline" and SCORE.name in m.panel]


def _class(label: str | None) -> Class:
    return label  # type: ignore[return-value]
