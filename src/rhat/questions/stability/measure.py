"""What is measured: is it one direction? Split halves, other draws, what is left after ablating it, and r̂ found again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.interventions import Intervention, ablate, combine, set_projection
from rhat.lab import Asked, Lab
from rhat.lab.resampling import resampled
from rhat.lab.rows import score_part
from rhat.prompts import resplit
from rhat.questions.stability.effects import effect_part, pipeline_part, split_part
from rhat.questions.stability.rows import Rows
from rhat.scoring.keeping import Keeping
from rhat.selection.cost import search_work, total
from rhat.selection.finding import find
from rhat.selection.settings import FindSettings
from rhat.selection.survey import SIDES
from rhat.statistics import judge, mean_interval

DRAWS = 20
ROUNDS = 3
SAMPLES = 20  # of the topics that r̂ was found on
RIVALS = 8  # candidates that win on some sample and whose KL the search did not need: what is usual


def stability(lab: Lab) -> Rows:
    """Split-half cosines, cosines with r̂ of directions from bootstrap draws, and refits after ablation."""
    layer = lab.direction.layer
    sides = [lab.training[label][:, layer].double() for label in ("harmful", "harmless")]
    halves, draws = [], []
    for i in range(DRAWS):
        generator = torch.Generator().manual_seed(lab.seed * 1000 + i)
        orders = [torch.randperm(len(side), generator=generator) for side in sides]
        a, b = (sides[0][orders[0][h::2]].mean(0) - sides[1][orders[1][h::2]].mean(0) for h in (0, 1))
        halves.append(_cosine(a, b))
        picks = [torch.randint(len(side), (len(side),), generator=generator) for side in sides]
        draws.append(_cosine(sides[0][picks[0]].mean(0) - sides[1][picks[1]].mean(0), lab.direction.unit.double()))
    return Rows.of({"stability": {"split_half": halves, "seeds": draws, "refits": _refits(lab)}})


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _refits(lab: Lab) -> list[dict[str, Any]]:
    """Ablate every direction found so far, find the difference of means again at the same place, and test it.

    induce: setting the new direction to its harmful mean, nothing ablated; prevent: ablating it and those before.
    """
    d, n = lab.direction, lab.sizes.sweep
    found: list[Float[Tensor, " d_model"]] = [d.unit]
    rows = [_tested(lab, 0, d.unit, d.norm, d.mean_harmful, found, n)]
    texts = {label: lab.finding.kept["train"][label][:128] for label in ("harmful", "harmless")}
    for step in range(1, ROUNDS + 1):
        ablation = combine([Intervention("ablate", u, d.layer, where="all layers") for u in found])
        edits = ablation.edits(lab.model)
        harmful, harmless = (
            lab.activations(texts[label], [d.layer], edits=edits)[:, 0].double().mean(0)
            for label in ("harmful", "harmless")
        )
        raw = harmful - harmless
        for unit in found:  # what rounding left of the ablated ones
            raw = raw - (raw @ unit.double()) * unit.double()
        unit = (raw / raw.norm()).float()
        found.append(unit)
        rows.append(_tested(lab, step, unit, float(raw.norm()), float(harmful @ unit.double()), found, n))
        lab.progress("stability", step, ROUNDS)
    return rows


def _tested(
    lab: Lab, step: int, unit: Tensor, norm: float, target: float, found: list[Tensor], n: int
) -> dict[str, Any]:
    layer = lab.direction.layer
    before, _ = lab.score(None, "harmless", n)
    induced, _ = lab.score(Intervention("set_projection", unit, layer, target), "harmless", n)
    more = mean_interval(induced - before, groups=lab.topics("harmless", n))
    ablation = combine([Intervention("ablate", u, layer, where="all layers") for u in found])
    prevented, _ = lab.score(ablation, "harmful", n)
    return {
        "round": step,
        "cosine_to_first": _cosine(unit.double(), lab.direction.unit.double()),
        "norm": norm,
        "induce": score_part(induced, lab.topics("harmless", n)),
        "prevent": score_part(prevented, lab.topics("harmful", n)),
        "verdict": judge((more.low, more.high)),
    }


def stability_cost(a: Asked) -> None:
    """Rounds of ablating what was found and finding again."""
    x = a.given
    a.training()
    x.scored(1 + ROUNDS, a.sweep())
    x.scored(1 + ROUNDS, a.sweep(), x.layer)
    x.scored(1 + ROUNDS, a.sweep("harmful"))
    for label in SIDES:
        x.scored(ROUNDS, x.some(label, 128, "train"), stop=x.layer, head=False)


def pipeline(lab: Lab) -> Rows:
    """r̂ found again on samples of its training and validation topics, each set on harmless test prompts, by generation."""
    d, n = lab.direction, lab.sizes.sweep
    found = resampled(lab, SAMPLES)
    treatments = {f"resampled:{r.seed}": Intervention("set_projection", r.unit, r.layer, r.target) for r in found}
    said = {name: {"direction": "resampled"} for name in treatments}
    alone = replace(lab, panel=())  # the same lab, but that no further judge reads so many answers
    measured = alone.measure_conditions(treatments, "harmless", n, describe=said, stage="pipeline")
    own = lab.measure("set_projection", set_projection(d), "harmless", n)
    baseline = lab.measure("baseline", None, "harmless", n)
    rows = [
        {
            "seed": r.seed,
            "layer": r.layer,
            "position": r.position,
            "cosine": _cosine(r.unit.double(), d.unit.double()),
            "norm": r.norm,
            "target": r.target,
            "effect": effect_part(m),
        }
        for r, m in zip(found, measured.values(), strict=True)
    ]
    counts = {
        "samples": SAMPLES,
        "found": len(found),
        "same_place": sum((r.layer, r.position) == (d.layer, d.position) for r in found),
        "reselected": lab.finding.scored is not None,
    }
    return Rows.of({"resamples": rows, "pipeline": counts | pipeline_part(own, baseline, list(measured.values()))})


def seeds(lab: Lab) -> Rows:
    """r̂ found anew on other splits of the same prompts, and the headline conditions with it on the test prompts of each."""
    if lab.splits == 1:
        return Rows()
    rows = [_split(lab, lab.direction, 0)]
    given = FindSettings.read_as(lab.direction)
    settings = replace(FindSettings.sized(lab.sizes, judged_tokens=lab.judged_tokens), phrases=given.phrases)
    settings = replace(settings, refusal_tokens=given.refusal_tokens)
    who = lab.executor
    searching = (who.executor, who.pieces) if isinstance(who, Keeping) else (who, None)  # a search keeps its own pieces
    for k in range(1, lab.splits):
        prompts = resplit(lab.prompts, lab.prompts.seed + k)
        finding = find(lab.model, prompts, settings, progress=lab.progress, executor=searching[0], pieces=searching[1])
        there = replace(lab, prompts=prompts, finding=finding, panel=(), measurements={}, conditions={}, _plans={})
        rows.append(_split(there, lab.direction, k))
        for m in there.measurements.values():
            lab.record(m, there.conditions[m.condition])
        lab.progress("seeds", k, lab.splits - 1)
    return Rows.of({"splits": rows})


def _split(lab: Lab, own: Direction, k: int) -> dict[str, Any]:
    """A row of `splits`; on one without a direction nothing is measured."""
    d, prefix = lab.finding.direction, f"split:{k}:" if k else ""
    row: dict[str, Any] = {"split": k, "seed": lab.prompts.seed, "outcome": lab.finding.outcome}
    if d is None:
        return row
    row |= {"layer": d.layer, "position": d.position, "cosine": _cosine(d.unit.double(), own.unit.double())}
    for label, name, treatment in (("harmless", "set_projection", set_projection(d)), ("harmful", "ablate", ablate(d))):
        baseline = lab.measure(f"{prefix}baseline", None, label, lab.sizes.headline)
        row |= split_part(baseline, lab.measure(prefix + name, treatment, label, lab.sizes.headline))
    return row


def seeds_cost(a: Asked) -> None:
    """A search and four conditions on each of the other splits; the study's own are measured in any case."""
    x, others = a.given, a.splits - 1
    if others < 1:
        return
    done = total(search_work(x, FindSettings.sized(a.sizes, judged_tokens=a.tokens)))
    x.total += done.times(others)
    for label in SIDES:
        for _ in range(2 * others):
            x.answered(1, a.head(label), a.tokens)
        a.measured("baseline", label)
    a.measured("set_projection", "harmless", x.layer)
    a.measured("ablate", "harmful")


def pipeline_cost(a: Asked) -> None:
    """One pass over training prompts, KL of the few candidates that other samples choose, and an answer to each direction."""
    x = a.given
    for label in SIDES:
        x.scored(1, x.some(label, None, "train"), stop=x.layer, head=False)
    x.scored(RIVALS, x.some("harmless", a.sizes.validation, "validation"))
    x.answered(SAMPLES, a.sweep(), a.tokens, x.layer)
    a.measured("set_projection", "harmless", x.layer)
    a.measured("baseline", "harmless")
