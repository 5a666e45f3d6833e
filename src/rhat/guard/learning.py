"""Learn, then test: which of many settings keep their claims, from answers that are there already (arXiv 2110.01052)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from rhat.errors import StatisticsError
from rhat.guard.certificate import Claim, Measure, Setting, Side
from rhat.reprs import one_line
from rhat.statistics import design_effect, fewest_to_bound, fixed_sequence, share_below_p, wilson

MEASURES: dict[str, Measure] = {"borderline": "over_refusal", "harmful": "lost_harmful", "twin": "lost_twin"}
"""What is claimed of prompts of each label, in the order of tables."""


@dataclass(frozen=True, eq=False)
class Answers:
    """One set of prompts of a label, answered once without an edit and once under each target.

    projections  of the prompts, read without an edit
    refused      whether the model alone refuses
    edited       the same under each target, by its alpha
    topics       of the prompts; those of one topic are not independent
    """

    projections: Float[np.ndarray, " n"]
    refused: Bool[np.ndarray, " n"]
    edited: Mapping[float, Bool[np.ndarray, " n"]]
    topics: tuple[str, ...]

    __repr__ = one_line

    def under(self, setting: Setting) -> NDArray[np.bool_]:
        """Whether each prompt is refused under a setting: the edited answer where the gate opens, else the model's own."""
        if setting.side == "never" or setting.alpha is None:
            return self.refused
        above = self.projections > setting.threshold
        opens = above if setting.side == "above" else ~above
        return np.where(opens, self.edited[setting.alpha], self.refused)

    def counted(self, label: str, setting: Setting) -> NDArray[np.bool_]:
        """The prompts that count against the claim on their label: refused ones if borderline, else refusals lost."""
        under = self.under(setting)
        return under if label == "borderline" else self.refused & ~under


Part = Mapping[str, Answers]
"""Answers by label: borderline, harmful, and twin where there are any."""


def settings_of(learn: Part, targets: Mapping[float, float], steps: int = 20) -> tuple[Setting, ...]:
    """No edit, and each target (by alpha) on both sides of thresholds that are quantiles of the learning prompts' projections."""
    values = np.concatenate([answers.projections for answers in learn.values()])
    cuts = list(dict.fromkeys(np.quantile(values, np.linspace(0, 1, steps + 1), method="inverted_cdf").tolist()))
    sides: tuple[tuple[Side, list[float]], ...] = (("below", cuts[1:]), ("above", cuts[:-1]))
    return (
        Setting(),
        *(
            Setting(side, cut, alpha, target)
            for alpha, target in targets.items()
            for side, some in sides
            for cut in some
        ),
    )


def claim(label: str, answers: Answers, setting: Setting, limits: Mapping[Measure, float]) -> Claim:
    """What these prompts say of the claim on their label."""
    measure = MEASURES[label]
    counted = answers.counted(label, setting)
    count, n, limit = int(counted.sum()), len(counted), limits[measure]
    effect = design_effect(counted, answers.topics)
    sure = label != "borderline" and setting.side == "never"  # without an edit no refusal can be lost
    p = 0.0 if sure else share_below_p(count, n, limit, effect)
    return Claim(measure, limit, count, wilson(count, n, design_effect=effect), float(answers.refused.mean()), p)


def claims(part: Part, setting: Setting, limits: Mapping[Measure, float]) -> tuple[Claim, ...]:
    """The claims on every label that the part has."""
    return tuple(claim(label, part[label], setting, limits) for label in MEASURES if label in part)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Settings in the order in which they were tested, and what came of it.

    order  numbers of the settings, the most promising on the learning prompts first
    p      adjusted p value of each, in that order: the largest so far
    chosen number of the certified setting with the lowest over-refusal; of the first of the order where none is certified
    passed how many are certified
    """

    order: tuple[int, ...]
    p: Float[np.ndarray, " settings"]
    chosen: int
    passed: int

    __repr__ = one_line


def learn_then_test(
    settings: Sequence[Setting], learn: Part, test: Part, limits: Mapping[Measure, float], confidence: float = 0.95
) -> Outcome:
    """Order the settings on `learn`, then test them in that order on `test` until one fails (fixed sequence).

    A setting's null is that any of its claims is broken; its p value is the largest of theirs (intersection–union, Berger 1982). The
    chance that any certified setting is false is at most 1 − confidence, whatever the dependence between settings. So it may be
    chosen among the certified ones freely: by the share of borderline prompts refused in both parts, then by refusals lost.

    Raises:
        StatisticsError: if `test` has too few prompts of a label for any setting to pass.
    """
    check_enough({label: len(answers.refused) for label, answers in test.items()}, limits, confidence)
    learned = [claims(learn, setting, limits) for setting in settings]
    promise = [(max(c.p for c in found), *_worth(found)) for found in learned]
    order = sorted(range(len(settings)), key=promise.__getitem__)
    p = np.ones(len(settings))
    seen = [_worth(found) for found in learned]
    for place, i in enumerate(order):
        found = claims(test, settings[i], limits)
        p[place] = max(c.p for c in found)
        if p[place] > 1 - confidence:
            break
        seen[i] = _worth([*found, *learned[i]])
    adjusted = fixed_sequence(p)
    passed = int((adjusted <= 1 - confidence).sum())
    chosen = min(order[:passed], key=seen.__getitem__) if passed else order[0]
    return Outcome(tuple(order), adjusted, chosen, passed)


def check_enough(counts: Mapping[str, int], limits: Mapping[Measure, float], confidence: float) -> None:
    """Raise StatisticsError where too few prompts are there for a claim to be shown even if none counts against it."""
    for label, n in counts.items():
        fewest = fewest_to_bound(limits[MEASURES[label]], confidence)
        if n < fewest:
            raise StatisticsError(
                f"certificate: got {n} {label} prompts for the test, expected at least {fewest} to show a share below "
                f"{100 * limits[MEASURES[label]]:.3g} % at {100 * confidence:.3g} % confidence; give more prompts or a wider limit"
            )


def _worth(found: Sequence[Claim]) -> tuple[float, int]:
    """Lower is better: the share of borderline prompts refused, then refusals lost."""
    refused = [c for c in found if c.measure == "over_refusal"]
    share = sum(c.count for c in refused) / sum(c.share.n for c in refused)
    return share, sum(c.count for c in found if c.measure != "over_refusal")
