"""The audit: a vector from anywhere, its dose, and what it does to refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rhat.artifacts.files import made_by
from rhat.auditing.added import Added, added, at_equal_kl
from rhat.auditing.making import Made, cosines_of, dose_row, rows_of, vector_row
from rhat.auditing.rows import Audit, Dose, Effect
from rhat.auditing.settings import SEARCHED, AuditSettings
from rhat.auditing.verdict import FAMILIES, judged
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor
from rhat.interventions import AnyIntervention, Intervention
from rhat.lab import Lab, Measurement, RotatedControls
from rhat.lab.around import FINDING, lab_around, stage_timings
from rhat.lab.matching import Matched
from rhat.model.chat import ChatModel
from rhat.model.work import counting
from rhat.prompts import ContrastSet, Label
from rhat.scoring.pieces import Pieces
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.survey import Clock

LABELS: tuple[Label, ...] = ("harmful", "harmless", "borderline")


@counting()
def audit(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    vector: Direction,
    settings: AuditSettings | None = None,
    *,
    file: str | None = None,
    find_settings: FindSettings | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> Audit:
    """What adding `vector` does to refusal, beside the vector without its part along r̂, r̂ itself, and random directions.

    Each is added at every token at a dose at which it changes the next token as much, by KL on harmless validation prompts, as the
    others do. Refusals are those that the default judge reads in answers to test prompts; the comparisons of `audit.family` are
    adjusted together. `direction` is r̂; `pieces` keep what is done.

    Raises:
        DirectionError: if either does not fit the model.
        StudyError: if the model hardly refuses, or the prompts have none of a split that is needed.
    """
    settings = settings or AuditSettings()
    vector.check_fits(model)
    clock = Clock()
    lab = _lab(model, prompts, direction, settings, find_settings, progress, executor, pieces)
    clock.lap(FINDING)
    measured = _measured(lab, vector, settings, clock)
    found = Audit.of(
        {
            "sentence": "",
            "sentences": (),
            "verdict": "undecided",
            "rhat_version": made_by(),
            "model": lab.model.describe(),
            "vector": vector_row(vector, file),
            "direction": vector_row(lab.direction),
            "prompts_fingerprint": prompts.fingerprint,
            "seed": settings.seed,
            "margin": settings.margin,
            "along": vector.cosine(lab.direction),
            "chance": model.d_model**-0.5,
            "family": FAMILIES,
            "cosines": cosines_of(lab, vector),
            "timings": stage_timings(lab, clock),
            **rows_of(measured, settings.margin),
        }
    )
    return found.changed(**judged(found))


def _lab(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: AuditSettings,
    find_settings: FindSettings | None,
    progress: Progress,
    executor: Executor | None,
    pieces: Pieces | None,
) -> Lab:
    """The model with r̂, what is known of its refusals, and the prompts.

    Raises:
        StudyError: if it hardly refuses.
    """
    return lab_around(
        model,
        prompts,
        direction,
        settings.sizes,
        purpose="audit",
        seed=settings.seed,
        margin=settings.margin,
        judged_tokens=settings.judged_tokens,
        find_settings=find_settings,
        progress=progress,
        executor=executor,
        pieces=pieces,
    )


def _measured(lab: Lab, vector: Direction, settings: AuditSettings, clock: Clock) -> Made:
    """Doses, answers, and what each random direction does by itself."""
    some = added(lab, vector)
    n = min(SEARCHED, len(lab.finding.kept["validation"]["harmless"]))
    strength = None if settings.strength is None else settings.strength * vector.norm
    doses, target = at_equal_kl(lab, some, settings.kl, n, strength)
    same = [_dose_of(lab, name, treatment, n) for name, treatment in _same_dose(some, doses).items()]
    clock.lap("doses of equal KL")
    answers = _answers(lab, some, doses)
    clock.lap("answers")
    effects = _effects(lab, some, doses, answers)
    clock.lap("random directions")
    rows = [*(dose_row(one, match) for one, match in zip(some, doses, strict=True)), *same]
    return Made(target, n, rows, answers, effects)


def _same_dose(some: Sequence[Added], doses: Sequence[Matched]) -> dict[str, Intervention]:
    """The vector at its dose with its part along r̂ taken out, where anything is left."""
    dose = doses[0].dose
    return {f"{one.condition}_same_dose": one.at(one.share * dose) for one in some if one.condition == "cleaned"}


def _answers(lab: Lab, some: Sequence[Added], doses: Sequence[Matched]) -> dict[Label, dict[str, Measurement]]:
    """label → condition → its answers to test prompts; each prompt gets one of the random directions."""
    treatments: dict[str, AnyIntervention | RotatedControls | None] = {"baseline": None}
    dealt = []
    for one, match in zip(some, doses, strict=True):
        if one.condition == "random":
            dealt.append(one.at(match.dose))
        else:
            treatments[one.condition] = one.at(match.dose)
    treatments |= {"random": RotatedControls(tuple(dealt)), **_same_dose(some, doses)}
    found = {}
    for label in LABELS:
        if lab.test(label):
            found[label] = lab.measure_conditions(treatments, label, lab.sizes.tested(label), stage=f"answers, {label}")
    if not found:
        raise StudyError(f"{lab.prompts.name}: got no test prompts; give more prompts of each label")
    return found


def _effects(
    lab: Lab, some: Sequence[Added], doses: Sequence[Matched], measured: Mapping[Label, Mapping[str, Measurement]]
) -> list[Effect]:
    """Mean change of the refusal score on the prompts of sweeps: of each random direction by itself, and of the others."""
    rows = []
    random = [(one, match) for one, match in zip(some, doses, strict=True) if one.condition == "random"]
    for label, by_name in measured.items():
        base = by_name["baseline"].scores[: lab.sizes.sweep]
        n = len(base)
        for name in ("vector", "cleaned_same_dose", "cleaned", "rhat"):
            if name in by_name:
                effect = float((by_name[name].scores[:n] - base).mean())
                rows.append(Effect(condition=name, prompts=label, effect=effect, n=n))
        treatments = [one.at(match.dose) for one, match in random]
        found = lab.score_conditions(treatments, label, n, stage=f"random directions, {label}")
        for (one, _), (scores, _kl) in zip(random, found, strict=True):
            effect = float((scores - base).mean())
            rows.append(Effect(condition="random", seed=one.seed, prompts=label, effect=effect, n=n))
    return rows


def _dose_of(lab: Lab, name: str, treatment: Intervention, n: int) -> Dose:
    """A dose that was not searched for, and the KL that it makes."""
    _, kl = lab.score(treatment, "harmless", n, "validation", kl=True)
    assert kl is not None
    site = f"resid_pre.{treatment.layer}"
    return Dose(condition=name, site=site, dose=treatment.value, kl_mean=float(kl.mean()), close=True)
