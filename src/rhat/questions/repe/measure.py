"""What is measured: how big is the boost, beside representation engineering's control (Zou et al. 2023)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import lat, random_direction
from rhat.interventions import Intervention, set_projection
from rhat.interventions.intervention import DirectionEdit
from rhat.lab import Lab, Measurement
from rhat.lab.rows import compared, kl_part, rate_row, score_part, score_row
from rhat.model.edits import Edit, first_layer
from rhat.model.positions import Scope
from rhat.questions.repe.rows import Boost, Rows
from rhat.scoring import refusals
from rhat.sites import Site
from rhat.statistics import paired_comparison
from rhat.vocabulary import OPERATORS

PUBLISHED = {
    "value": 8.0,
    "model": "Vicuna-13B",
    "source": "Zou et al. 2023, Representation Engineering (arXiv 2310.01405)",
}
FINALISTS = 8  # settings of the highest validation scores that are judged by generation
SHARES = (0.1, 0.2, 0.4, 0.8)  # coefficients, in units of the length of the raw difference at r̂'s layer


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


def _edits(
    lab: Lab, vectors: Tensor, span: tuple[int, int], coefficient: float, scope: str = "all", op: str = "add"
) -> dict[Site, Edit]:
    return {
        Site("resid_post", layer): DirectionEdit(
            OPERATORS[op], vectors[layer].to(lab.model.device), coefficient, Scope.parse(scope)
        )
        for layer in range(span[0], span[1] + 1)
    }


def repe(lab: Lab) -> Rows:
    """RepE control: x + c v_l over a range of layers, the best setting chosen on validation prompts, then tested.

    Validation prompts are harmless and kept by the filter; test prompts are the headline ones.
    """
    vectors = reading_vectors(lab)
    n_val = min(32, len(lab.finding.kept["validation"]["harmless"]))
    table = []
    settings = [(span, share * lab.direction.norm) for span in _ranges(lab) for share in SHARES]
    doings = [_edits(lab, vectors, span, coefficient) for span, coefficient in settings]
    found = lab.score_each(doings, "harmless", n_val, "validation", kl=True, stage="repe")
    for (span, coefficient), (scores, kl) in zip(settings, found, strict=True):
        table.append(
            {
                "layers": list(span),
                "coefficient": coefficient,
                "validation_score": float(scores.mean()),
                **kl_part(kl),
            }
        )
    best = _best(lab, vectors, table, n_val)
    span = (best["layers"][0], best["layers"][1])
    baseline = lab.measure("baseline", None, "harmless", lab.sizes.headline)
    n = len(baseline.verdicts)
    chosen = lab.measure(
        "repe_add",
        _edits(lab, vectors, span, best["coefficient"]),
        "harmless",
        n,
        describe={
            "op": "repe_add",
            "direction": "lat",
            "coefficient": best["coefficient"],
            "sites": [f"resid_post.{layer}" for layer in range(span[0], span[1] + 1)],
        },
    )
    rivals = {
        "repe_add": chosen,
        "set_projection": lab.measure("set_projection", set_projection(lab.direction), "harmless", n),
    }
    return Rows.of(
        {
            "repe": {
                "best": best,
                "table": table,
                "boosts": [_boost(m, baseline, lab.margin) for m in rivals.values()],
                "published": PUBLISHED,
            },
            "rates": [rate_row(chosen)],
            "scores": [score_row(chosen)],
            **compared([(chosen, baseline), (chosen, rivals["set_projection"])], lab.margin, "repe"),
            "factorial": factorial(lab, vectors),
        }
    )


def _boost(m: Measurement, baseline: Measurement, margin: float) -> Boost:
    """How many points more of the prompts are refused than without an edit."""
    boost = paired_comparison(m.refused, baseline.refused, margin=margin, groups=m.topics)
    ends = {"points": 100 * boost.difference, "ci_low": 100 * boost.ci_low, "ci_high": 100 * boost.ci_high}
    return Boost.of({"condition": m.condition, "prompts": m.label, "n": boost.n} | ends)


def _best(lab: Lab, vectors: Tensor, table: list[dict[str, Any]], n: int) -> dict[str, Any]:
    """The setting of the highest refusal rate on validation prompts, among the few of the highest scores.

    By score alone a broken model can win: its first token is a refusal's, and what follows is not.
    """
    prompts = lab.prompts_of("harmless", n, "validation")
    tokens = lab.model.tokenize([p.text for p in prompts])
    few = sorted(table, key=lambda row: row["validation_score"], reverse=True)[:FINALISTS]
    for done, row in enumerate(few):
        edits = _edits(lab, vectors, (row["layers"][0], row["layers"][1]), row["coefficient"])
        said = refusals(lab.model, tokens, edits, max_new_tokens=lab.judged_tokens, stop_early=False).completions
        found = lab.read(prompts, [completion.text for completion in said])
        row["validation_rate"] = found.count("refused") / len(found)
        lab.progress("repe finalists", done + 1, len(few))
    return max(few, key=lambda row: (row["validation_rate"], row["validation_score"]))


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
    doings: list[dict[Site, Edit]] = []
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
                        doings.append(edits)
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
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["scope"], first_layer(doings[i])))
    found = lab.score_each([doings[i] for i in order], "harmless", n, kl=True, stage="factorial")
    for i, (scores, kl) in zip(order, found, strict=True):
        rows[i] |= {**score_part(scores, lab.topics("harmless", n)), **kl_part(kl)}
    return rows
