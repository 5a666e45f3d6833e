"""What is measured: how big is the boost, beside representation engineering's control (Zou et al. 2023)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import lat, random_direction
from rhat.interventions import Intervention, set_projection
from rhat.interventions.intervention import DirectionEdit
from rhat.lab import Asked, Lab, Measurement
from rhat.lab.matching import Maker, matched_doses
from rhat.lab.rows import compared, drift_row, kl_part, rate_row, score_part, score_row
from rhat.lab.tuning import DOSES, FINALISTS, tuned
from rhat.model.edits import Edit, first_layer
from rhat.model.positions import Scope
from rhat.questions.repe.rows import Boost, Rows
from rhat.sites import Site
from rhat.statistics import paired_comparison
from rhat.vocabulary import OPERATORS

PUBLISHED = {
    "value": 8.0,
    "model": "Vicuna-13B",
    "source": "Zou et al. 2023, Representation Engineering (arXiv 2310.01405)",
}


def reading_vectors(lab: Lab) -> Float[Tensor, "layer d_model"]:
    """The LAT reading vector of resid_post of every layer but the last, from kept training prompts, unit length.

    resid_post.l is resid_pre of the layer above it.
    """
    return torch.stack(
        [
            lat(lab.training["harmful"][:, layer + 1], lab.training["harmless"][:, layer + 1], seed=lab.seed)
            for layer in range(lab.model.n_layers - 1)
        ]
    )


def _ranges(lab: Lab) -> list[tuple[int, int]]:
    n, own = lab.model.n_layers - 1, min(lab.direction.layer, lab.model.n_layers - 2)
    width = max(1, n // 5)
    ranges = [(own, own), (max(0, own - width), own), (own, min(n - 1, own + width)), (n // 4, 3 * n // 4), (0, n - 1)]
    return sorted(set(ranges))


def _places(lab: Lab, vectors: Tensor) -> dict[tuple[int, int], Maker]:
    """RepE control at each range of layers: x + dose · length_l · v_l, where length_l is that of the raw difference at resid_post.l.

    Residual streams grow with depth: one coefficient for all layers is large in the first and small in the last.
    """
    lengths = _lengths(lab)

    def at(span: tuple[int, int]) -> Maker:
        def made(dose: float) -> dict[Site, Edit]:
            return {
                Site("resid_post", layer): DirectionEdit(
                    OPERATORS["add"], vectors[layer].to(lab.model.device), dose * lengths[layer], Scope("all")
                )
                for layer in range(span[0], span[1] + 1)
            }

        return made

    return {span: at(span) for span in _ranges(lab)}


def _lengths(lab: Lab) -> list[float]:
    """The length of the raw difference of means at resid_post of every layer but the last, at r̂'s position."""
    at = lab.means.positions.index(lab.direction.position)
    return [float(lab.means.candidates[layer + 1, at].norm()) for layer in range(lab.model.n_layers - 1)]


def _set_at(lab: Lab) -> Maker:
    """Setting with its target moved: the harmless mean plus 2 · `dose` gaps of the means; 0.5 is the published target."""
    d = lab.direction
    return lambda dose: Intervention("set_projection", d.unit, d.layer, d.mean_harmless + 2 * dose * lab.gap)


def repe(lab: Lab) -> Rows:
    """RepE control and setting, both tuned on validation prompts with the same effort, then tested, and compared at equal damage.

    Validation prompts are harmless and kept by the filter; test prompts are the headline ones. Setting as published is tested too.
    """
    vectors = reading_vectors(lab)
    n_val = min(32, len(lab.finding.kept["validation"]["harmless"]))
    places = _places(lab, vectors)
    best, table = tuned(lab, places, n_val, "repe")
    target, targets = tuned(lab, {"set": _set_at(lab)}, n_val, "setting, tuned")
    [equal] = matched_doses(
        lab,
        [places[best["place"]]],
        [best["dose"]],
        max(target["kl_mean"], 1e-6),
        "harmless",
        n_val,
        stage="repe, equal damage",
    )
    span = best["place"]
    treatments: dict[str, Any] = {
        "repe_add": places[span](best["dose"]),
        "set_tuned": _set_at(lab)(target["dose"]),
        "repe_equal_damage": places[span](equal.dose),
    }
    sites = [f"resid_post.{layer}" for layer in range(span[0], span[1] + 1)]
    about = {
        name: {"op": "repe_add", "direction": "lat", "coefficient": _coefficient(lab, span, dose), "sites": sites}
        for name, dose in (("repe_add", best["dose"]), ("repe_equal_damage", equal.dose))
    }
    n = lab.sizes.headline
    known = {"baseline": None, "set_projection": set_projection(lab.direction)}
    measured = lab.measure_conditions(known, "harmless", n, kl=True, stage="repe, beside")
    measured |= lab.measure_conditions(treatments, "harmless", n, kl=True, describe=about, stage="repe, tested")
    m = measured
    pairs = [("repe_add", "baseline"), ("repe_add", "set_projection"), ("repe_equal_damage", "set_tuned")]
    settings = [_setting(lab, row) for row in table]
    return Rows.of(
        {
            "repe": {
                "best": _setting(lab, best),
                "table": settings,
                "targets": [_target(lab, row) for row in targets],
                "target": _target(lab, target),
                "boosts": [_boost(m[name], m["baseline"], lab.margin) for name in m if name != "baseline"],
                "published": PUBLISHED,
            },
            "rates": [rate_row(m[name]) for name in treatments],
            "scores": [score_row(m[name]) for name in treatments],
            "drift": [drift_row(m[name]) for name in treatments],
            **compared([(m[one], m[other]) for one, other in pairs], lab.margin, "repe"),
            "factorial": factorial(lab, vectors),
        }
    )


def _coefficient(lab: Lab, span: tuple[int, int], dose: float) -> float:
    lengths = _lengths(lab)[span[0] : span[1] + 1]
    return dose * sum(lengths) / len(lengths)


def _setting(lab: Lab, row: dict[str, Any]) -> dict[str, Any]:
    """A row of `repe.table` from one of `tuned`."""
    kept: dict[str, Any] = {
        key: row[key] for key in ("dose", "validation_score", "validation_rate", "kl_mean", "inside") if key in row
    }
    return {"layers": list(row["place"]), "coefficient": _coefficient(lab, row["place"], row["dose"]), **kept}


def _target(lab: Lab, row: dict[str, Any]) -> dict[str, Any]:
    """A row of `repe.targets` from one of `tuned`."""
    kept: dict[str, Any] = {
        key: row[key] for key in ("validation_score", "validation_rate", "kl_mean", "inside") if key in row
    }
    return {"target": _set_at(lab)(row["dose"]).value, "dose": 2 * row["dose"], **kept}  # type: ignore[union-attr]


def _boost(m: Measurement, baseline: Measurement, margin: float) -> Boost:
    """How many points more of the prompts are refused than without an edit."""
    boost = paired_comparison(m.refused, baseline.refused, margin=margin, groups=m.topics)
    ends = {"points": 100 * boost.difference, "ci_low": 100 * boost.ci_low, "ci_high": 100 * boost.ci_high}
    return Boost.of({"condition": m.condition, "prompts": m.label, "n": boost.n} | ends)


def factorial(lab: Lab, vectors: Float[Tensor, "layer d_model"]) -> list[dict[str, Any]]:
    """What makes the difference: direction × operator × layers × scope × dose, by log-odds on harmless test prompts.

    Dose is in units of the gap of the means. Setting puts the projection at the harmless mean on the direction plus the
    dose; adding adds the dose. "around" edits five layers, each with the direction of its own.
    """
    n = min(32, lab.sizes.sweep)
    own = lab.direction.layer
    around = [layer for layer in range(own - 2, own + 3) if 0 < layer < lab.model.n_layers]
    units: dict[str, dict[int, Tensor]] = {"rhat": {}, "lat": {}, "random": {}}
    for layer in {own, *around}:
        d = lab.layer_direction(layer)
        if d is not None:
            units["rhat"][layer] = d.unit
        units["lat"][layer] = vectors[layer - 1].float()
        units["random"][layer] = random_direction(lab.model.d_model, lab.seed * 1000 + 900 + layer, lab.direction.unit)
    at = lab.means.positions.index(lab.direction.position)
    rows: list[dict[str, Any]] = []
    treatments: list[dict[Site, Edit]] = []
    for name, by_layer in units.items():
        for op in ("set_projection", "add"):
            for where, span in (("own", [own]), ("around", around)):
                for scope in ("all", "last_prompt_token"):
                    for dose in (0.5, 1.0):
                        edits: dict[Site, Edit] = {}
                        for layer in span:
                            if layer not in by_layer:
                                continue
                            unit = by_layer[layer]
                            value = dose * lab.gap / (1 if op == "set_projection" else len(span))
                            if op == "set_projection":
                                value += float(lab.means.harmless[layer, at].float() @ unit)
                            edits |= Intervention(op, unit, layer, value, scope=Scope(scope)).edits(lab.model)
                        treatments.append(edits)
                        rows.append(
                            {
                                "direction": name,
                                "op": op,
                                "layers": str(own) if where == "own" else f"{span[0]}-{span[-1]}",
                                "scope": scope,
                                "dose": dose,
                            }
                        )
    # All tokens together, then last tokens, and those of a layer side by side: neighbours alike are run in one pass.
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["scope"], first_layer(treatments[i])))
    found = lab.score_conditions([treatments[i] for i in order], "harmless", n, kl=True, stage="factorial")
    for i, (scores, kl) in zip(order, found, strict=True):
        rows[i] |= {**score_part(scores, lab.topics("harmless", n)), **kl_part(kl)}
    return rows


def repe_cost(a: Asked) -> None:
    """Doses at five places and of setting on validation prompts, finalists by generation, the best ones, and the factorial."""
    x, places, wider = a.given, 5, 2  # ranges of layers; doses by which a grid is usually widened
    a.training()
    few = x.some("harmless", 32, "validation")
    x.scored(1, few)
    x.scored(places * len(DOSES) + wider, few, x.layer // 2)
    x.scored(len(DOSES) + wider, few, x.layer)
    for _ in range(FINALISTS + wider):
        x.answered(1, few, a.tokens)
    for _ in range(len(DOSES) + wider):
        x.answered(1, few, a.tokens, x.layer)
    x.scored(2, few, x.layer // 2)
    a.measured("baseline", "harmless")
    a.measured("set_projection", "harmless", x.layer)
    for name in ("repe_add", "set_tuned", "repe_equal_damage"):
        a.measured(name, "harmless")
    some = a.sweep("harmless", min(32, a.sizes.sweep))
    x.scored(1, some)
    x.scored(24, some, x.layer - 1)
    x.at_last_tokens(24, some, x.layer - 1)
