"""The audit: a vector from anywhere, its dose, and what it does to refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rhat.artifacts.header import Timing
from rhat.artifacts.judging import adjust
from rhat.artifacts.rows import Comparison, Power
from rhat.auditing.added import Added, added, at_equal_kl
from rhat.auditing.rows import Audit, Dose, Effect, LayerCosine, Moved, Rank, Vector
from rhat.auditing.settings import SEARCHED, AuditSettings
from rhat.auditing.verdict import FAMILIES, judged
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.interventions import AnyIntervention, Intervention
from rhat.lab import Dealt, Lab, Measurement
from rhat.lab.matching import Matched
from rhat.lab.rows import compared, rate_part, rate_row, score_row
from rhat.model.chat import ChatModel
from rhat.model.work import counting
from rhat.prompts import ContrastSet, Label
from rhat.scoring.keeping import Keeping
from rhat.scoring.pieces import Pieces
from rhat.selection.given_direction import finding_for
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.survey import Clock
from rhat.statistics.permutation import among
from rhat.vectors import adopt

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
    stages, work = list(lab.finding.timings), dict(lab.finding.work)
    clock.lap("finding")
    some = added(lab, vector)
    n = min(SEARCHED, len(lab.finding.kept["validation"]["harmless"]))
    strength = None if settings.strength is None else settings.strength * vector.norm
    doses, target = at_equal_kl(lab, some, settings.kl, n, strength)
    same = [_dose_of(lab, name, doing, n) for name, doing in _same_dose(some, doses).items()]
    clock.lap("doses of equal KL")
    measured = _answers(lab, some, doses)
    clock.lap("answers")
    effects = _effects(lab, some, doses, measured)
    clock.lap("random directions")
    comparisons, power = _comparisons(measured, settings.margin)
    stages += [(name, seconds) for name, seconds in clock.stages if name != "finding"]
    found = Audit(
        sentence="",
        sentences=(),
        verdict="undecided",
        rhat_version=_version(),
        model=lab.model.describe(),
        vector=_vector(vector, file),
        direction=_vector(lab.direction),
        prompts_fingerprint=prompts.fingerprint,
        seed=settings.seed,
        margin=settings.margin,
        kl=target,
        n_searched=n,
        along=vector.cosine(lab.direction),
        chance=model.d_model**-0.5,
        family=FAMILIES,
        cosines=_cosines(lab, vector),
        doses=[*(_dose(one, match) for one, match in zip(some, doses, strict=True)), *same],
        rates=[rate_row(m) for by_name in measured.values() for m in by_name.values()],
        scores=[score_row(m) for by_name in measured.values() for m in by_name.values()],
        comparisons=comparisons,
        power=power,
        moved=_moved(measured),
        effects=effects,
        ranks=_ranks(effects, comparisons),
        timings=[Timing.of({"stage": name, "seconds": s, **(work | clock.work).get(name, {})}) for name, s in stages],
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
    if None in direction.means:
        direction, finding = adopt(model, prompts, direction, find_settings, progress=progress, pieces=pieces)
    else:
        finding = finding_for(model, prompts, direction, find_settings, progress=progress, pieces=pieces)
    if finding.direction is None or finding.means is None:
        raise StudyError(f"nothing to audit: {finding.sentence}")
    done = executor or SerialExecutor()
    return Lab(
        model.with_response_prefix(finding.response_prefix),
        prompts,
        replace(finding, direction=direction),
        settings.sizes,
        settings.seed,
        settings.margin,
        progress,
        done if pieces is None else Keeping(done, pieces),
        judged_tokens=settings.judged_tokens,
    )


def _same_dose(some: Sequence[Added], doses: Sequence[Matched]) -> dict[str, Intervention]:
    """The vector at its dose with its part along r̂ taken out, where anything is left."""
    dose = doses[0].dose
    return {f"{one.condition}_same_dose": one.at(one.share * dose) for one in some if one.condition == "cleaned"}


def _answers(lab: Lab, some: Sequence[Added], doses: Sequence[Matched]) -> dict[Label, dict[str, Measurement]]:
    """label → condition → its answers to test prompts; each prompt gets one of the random directions."""
    doings: dict[str, AnyIntervention | Dealt | None] = {"baseline": None}
    dealt = []
    for one, match in zip(some, doses, strict=True):
        if one.condition == "random":
            dealt.append(one.at(match.dose))
        else:
            doings[one.condition] = one.at(match.dose)
    doings |= {"random": Dealt(tuple(dealt)), **_same_dose(some, doses)}
    found = {}
    for label in LABELS:
        if lab.test(label):
            found[label] = lab.measure_each(doings, label, lab.sizes.tested(label), stage=f"answers, {label}")
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
        doings = [one.at(match.dose) for one, match in random]
        found = lab.score_each(doings, label, n, stage=f"random directions, {label}")
        for (one, _), (scores, _kl) in zip(random, found, strict=True):
            effect = float((scores - base).mean())
            rows.append(Effect(condition="random", seed=one.seed, prompts=label, effect=effect, n=n))
    return rows


def _comparisons(
    measured: Mapping[Label, Mapping[str, Measurement]], margin: float
) -> tuple[list[Comparison], list[Power]]:
    """The family of the verdict and that of the controls, each adjusted by itself."""
    families = {
        "audit": (
            ("vector", "baseline"),
            ("vector", "random"),
            ("cleaned_same_dose", "baseline"),
            ("cleaned", "baseline"),
        ),
        "audit_controls": (("rhat", "baseline"), ("random", "baseline"), ("vector", "cleaned")),
    }
    rows: list[Comparison] = []
    power: list[Power] = []
    for question, pairs in families.items():
        there = [(some[a], some[b]) for some in measured.values() for a, b in pairs if a in some and b in some]
        both = compared(there, margin, question)
        rows += both["comparisons"]
        power += both["power"]
    rows = adjust(rows)
    open_ones = {row.names for row in rows if row.verdict == "undecided"}
    return rows, [row for row in power if row.names in open_ones]


def _moved(measured: Mapping[Label, Mapping[str, Measurement]]) -> list[Moved]:
    rows = []
    for label, by_name in measured.items():
        base = by_name["baseline"].refused
        for name, m in by_name.items():
            if name == "baseline":
                continue
            now, no_more = rate_part(m.refused & ~base, m.topics), rate_part(~m.refused & base, m.topics)
            row: dict[str, Any] = {"condition": name, "prompts": label, "n": now["n"]}
            for field, part in (("refused_now", now), ("answered_now", no_more)):
                row |= {field: part["rate"], f"{field}_low": part["ci_low"], f"{field}_high": part["ci_high"]}
            rows.append(Moved.of(row))
    return rows


def _ranks(effects: Sequence[Effect], comparisons: Sequence[Comparison]) -> list[Rank]:
    """Ranks of the vector, cleaned or not, in the direction in which each moves the refusals of these prompts."""
    rows = []
    for row in effects:
        if row.condition in ("rhat", "random"):
            continue
        names = (row.condition, "baseline", row.prompts)
        by_answers = next((c.difference for c in comparisons if c.names == names), 0.0)
        sign = float(np.sign(by_answers or row.effect)) or 1.0
        others = [e.effect for e in effects if e.condition == "random" and e.prompts == row.prompts]
        found = among(sign * row.effect, sign * np.array(others))
        side = "refusal" if sign > 0 else "answers"
        rows.append(
            Rank(
                condition=row.condition,
                prompts=row.prompts,
                towards=side,
                rank=found.rank,
                p=found.p,
                n_controls=found.n,
            )
        )
    return rows


def _cosines(lab: Lab, vector: Direction) -> list[LayerCosine]:
    rows = []
    for layer in range(lab.model.n_layers):
        own = layer == lab.direction.layer
        there = lab.direction if own else lab.layer_direction(layer)
        if there is not None:
            rows.append(LayerCosine(layer=layer, cosine=vector.cosine(there), own=own))
    return rows


def _dose(one: Added, match: Matched) -> Dose:
    return Dose(
        condition=one.condition,
        seed=one.seed,
        site=f"resid_pre.{one.layer}",
        dose=match.dose,
        kl_mean=match.kl,
        close=match.close,
    )


def _dose_of(lab: Lab, name: str, doing: Intervention, n: int) -> Dose:
    """A dose that was not searched for, and the KL that it makes."""
    _, kl = lab.score(doing, "harmless", n, "validation", kl=True)
    assert kl is not None
    site = f"resid_pre.{doing.layer}"
    return Dose(condition=name, site=site, dose=doing.value, kl_mean=float(kl.mean()), close=True)


def _vector(vector: Direction, file: str | None = None) -> Vector:
    return Vector(file=file, site=str(vector.site), length=vector.norm, method=vector.method)


def _version() -> str:
    from rhat import __version__

    return __version__
