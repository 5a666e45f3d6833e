"""The two gauges: directions, what setting each does, and where every test prompt lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rhat.artifacts.files import made_by
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor
from rhat.gauges.inversion import ORDERS, judged_harmful
from rhat.gauges.making import (
    SIDES,
    Seen,
    Values,
    clouds_of,
    guard_on_both,
    guards_of,
    inversion_of,
    plane_of,
    shifts_of,
)
from rhat.gauges.pair import TRAINED, Pair, pair_of
from rhat.gauges.rows import Gauge, Gauges
from rhat.gauges.settings import GaugeSettings
from rhat.gauges.verdict import FAMILY, judged
from rhat.interventions import Intervention
from rhat.lab import Lab, RotatedControls
from rhat.lab.around import FINDING, lab_around, stage_timings
from rhat.lab.rows import rate_row
from rhat.model.chat import ChatModel
from rhat.model.work import counting
from rhat.prompts import ContrastSet, Label, Prompt
from rhat.scoring.pieces import Pieces
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.survey import Clock

LABELS: tuple[Label, ...] = ("harmful", "harmless", "borderline", "twin")


@counting()
def gauges(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: GaugeSettings | None = None,
    *,
    find_settings: FindSettings | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> Gauges:
    """Whether harmfulness and refusal are two directions: does setting one move what the other is for?

    The harmfulness direction is the difference of means of training prompts at the instruction's last token, the refusal direction
    that of prompts that behave as labelled at the template's last token, both at r̂'s layer (`direction` is r̂). Each is set to the
    other side's mean at every token, beside random directions; measured are the log-odds of Yes to the inversion question and refusals of judged
    answers, on test prompts, paired. Zhao et al. 2025, arXiv 2507.11878. `pieces` keep what is done.

    Raises:
        DirectionError: if r̂ does not fit the model.
        StudyError: if the model hardly refuses, r̂ was found at the instruction's last token, or the prompts lack a split.
    """
    settings = settings or GaugeSettings()
    clock = Clock()
    lab = lab_around(
        model,
        prompts,
        direction,
        settings.sizes,
        purpose="gauge",
        seed=settings.seed,
        judged_tokens=settings.judged_tokens,
        find_settings=find_settings,
        progress=progress,
        executor=executor,
        pieces=pieces,
    )
    clock.lap(FINDING)
    return gauges_of(lab, settings, clock)


def gauges_of(lab: Lab, settings: GaugeSettings, clock: Clock | None = None) -> Gauges:
    """The same in a lab that is there already; of its prompts as many as `settings` say.

    Raises:
        StudyError: if r̂ was found at the instruction's last token, or the prompts lack a split.
    """
    clock = clock or Clock()
    lab = replace(lab, sizes=settings.sizes, measurements={}, conditions={}, _plans={})
    pair = pair_of(lab, settings.layer)
    guard = _guard(lab, pair)
    clock.lap("two directions")
    seen: dict[str, Seen] = {label: _seen(lab, pair, label) for label in LABELS if lab.test(label)}
    if not seen:
        raise StudyError(f"{lab.prompts.name}: got no test prompts; give more prompts of each label")
    clock.lap("answers and judgements")
    found = Gauges.of(_fields(lab, pair, settings) | _rows(seen, guard) | {"timings": stage_timings(lab, clock)})
    return found.changed(**judged(found))


def _fields(lab: Lab, pair: Pair, settings: GaugeSettings) -> dict[str, Any]:
    """What the document says before its rows."""
    return {
        "sentence": "",
        "sentences": (),
        "verdict": "not_shown",
        "rhat_version": made_by(),
        "model": lab.model.describe(),
        "prompts_fingerprint": lab.prompts.fingerprint,
        "seed": settings.seed,
        "gauges": (_gauge("harmfulness", pair.harmfulness), _gauge("refusal", pair.refusal)),
        "cosine": pair.harmfulness.cosine(pair.refusal),
        "chance": lab.model.d_model**-0.5,
        "question": ORDERS,
        "family": FAMILY,
    }


def _rows(seen: Mapping[str, Seen], guard: tuple[Values, float]) -> dict[str, Any]:
    return {
        "inversion": inversion_of(seen),
        "shifts": shifts_of(seen),
        "rates": [rate_row(m) for s in seen.values() for m in s.answers.values()],
        "clouds": clouds_of(seen),
        "guards": guards_of(seen, guard),
        "plane": plane_of(seen),
    }


def _gauge(name: str, gauge: Direction) -> Gauge:
    return Gauge.of(
        {
            "name": name,
            "site": str(gauge.site),
            "position": gauge.position,
            "length": gauge.norm,
            "mean_harmful": gauge.mean_harmful,
            "mean_harmless": gauge.mean_harmless,
        }
    )


def _guard(lab: Lab, pair: Pair) -> tuple[Values, float]:
    """The guard on both gauges, fitted on the training prompts."""
    some = [lab.prompts.select(label, "train", TRAINED) for label in SIDES]  # type: ignore[arg-type]
    harmful, harmless = (_plane(lab, pair, of) for of in some)
    return guard_on_both(harmful, harmless)


def _plane(lab: Lab, pair: Pair, prompts: Sequence[Prompt]) -> Values:
    """α of prompts on both gauges, [n, 2]: 0 at the mean of harmless training prompts, 1 at that of harmful ones."""
    columns = []
    for gauge in (pair.harmfulness, pair.refusal):
        along = gauge.project(lab.activations(prompts, [gauge.layer], gauge.position)[:, 0]).numpy()
        columns.append((along - gauge.mean_harmless) / (gauge.mean_harmful - gauge.mean_harmless))
    return np.stack(columns, 1)


def _seen(lab: Lab, pair: Pair, label: Label) -> Seen:
    """All that is measured of the test prompts of a label; nothing is set on borderline prompts and twins."""
    n = lab.sizes.tested(label)
    prompts = lab.test(label, n)
    treatments: dict[str, Intervention | RotatedControls | None] = {"baseline": None}
    random: tuple[Intervention, ...] = ()
    if label in SIDES:
        random = pair.random_on(lab, label)
        treatments |= {**pair.set_on(label), "random": RotatedControls(random)}
    answers = lab.measure_conditions(treatments, label, n, stage=f"answers, {label}")
    r = lab.direction
    return Seen(
        tuple(p.id for p in prompts),
        lab.topics(label, n),
        answers,
        _judgements(lab, treatments, random, prompts, label),
        _plane(lab, pair, prompts),
        r.project(lab.activations(prompts, [r.layer], r.position)[:, 0]).numpy(),
    )


def _judgements(
    lab: Lab,
    treatments: Mapping[str, Intervention | RotatedControls | None],
    random: Sequence[Intervention],
    prompts: Sequence[Prompt],
    label: str,
) -> dict[str, Values]:
    """Condition → log-odds of Yes; of the random directions each prompt gets the one that it gets for its answer."""
    single = {name: treatment for name, treatment in treatments.items() if not isinstance(treatment, RotatedControls)}
    edits = [lab.edits(treatment) for treatment in (*single.values(), *random)]
    values = judged_harmful(lab, edits, prompts, stage=f"inversion question, {label}")
    found = dict(zip(single, values, strict=False))
    if random:
        drawn = np.stack(values[len(single) :])
        found["random"] = drawn[np.arange(len(prompts)) % len(random), np.arange(len(prompts))]
    return found
