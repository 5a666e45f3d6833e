"""What is measured: which finder finds it. The finders that are compared, a random direction; and CCS, as a probe."""

from __future__ import annotations

from typing import Any

import torch

from rhat.directions import FINDERS, random_direction
from rhat.interventions import Intervention
from rhat.lab import Asked, Lab
from rhat.lab.pairs import REQUESTS, request_pairs, statement_pairs
from rhat.lab.probes import probe_rows
from rhat.lab.rows import alike_part, rate_part, score_part
from rhat.prompts import statements
from rhat.questions.finders.rows import Rows
from rhat.selection.survey import SIDES
from rhat.vocabulary import FINDER_KINDS


def compared() -> tuple[str, ...]:
    """The finders that a study compares: those whose records say so, and any that were put into the table without one."""
    return tuple(name for name in FINDERS if name not in FINDER_KINDS or FINDER_KINDS[name].compared)


def finders(lab: Lab) -> Rows:
    """Every compared finder on the kept training activations at r̂'s site and position, tested on test prompts."""
    layer = lab.direction.layer
    positive, negative = (lab.training[label][:, layer] for label in ("harmful", "harmless"))
    found = {name: FINDERS[name](positive, negative) for name in compared()}
    found["random"] = random_direction(lab.model.d_model, lab.seed + 31, lab.direction.unit)
    tests = torch.cat([lab.testing[label][:, layer] for label in ("harmful", "harmless")]).double()
    truth = torch.cat([torch.ones(len(lab.testing["harmful"])), torch.zeros(len(lab.testing["harmless"]))]).bool()
    topics = [topic for label in ("harmful", "harmless") for topic in lab.topics(label, len(lab.testing[label]))]
    n = lab.sizes.sweep
    rows, treatments = [], {}
    for name, vector in found.items():
        unit = (vector.double() / vector.double().norm()).float()
        high, low = float((positive @ unit).mean()), float((negative @ unit).mean())
        right = (
            (tests @ unit.double() > (high + low) / 2) if high >= low else (tests @ unit.double() < (high + low) / 2)
        ) == truth
        hits = right.numpy()
        accuracy = rate_part(hits, topics) | alike_part(hits, topics)
        target = low + lab.gap if name == "random" else high  # a random direction gets the shift that setting r̂ makes
        treatments[f"finder:{name}"] = Intervention("set_projection", unit, layer, target)
        rows.append(
            {
                "name": name,
                "layer": layer,
                "cosine_to_rhat": float(unit.double() @ lab.direction.unit.double()),
                "test_accuracy": accuracy.pop("rate"),
                **accuracy,
            }
        )
    describe = {f"finder:{name}": {"direction": name} for name in found}
    measured = lab.measure_conditions(treatments, "harmless", n, describe=describe, stage="finders")
    for row, m in zip(rows, measured.values(), strict=True):
        row["set_effect"] = {**score_part(m.scores, m.topics), **rate_part(m.refused, m.topics)}
    return Rows.of({"finders": rows, "ccs": _ccs(lab)})


def _ccs(lab: Lab) -> list[dict[str, Any]]:
    """CCS and its controls on contrast pairs of requests (should it be refused?) and of built-in statements (is it true?)."""
    rows = []
    for done, (name, pairs) in enumerate((("requests", request_pairs), ("statements", statement_pairs))):
        rows += probe_rows(name, pairs(lab, "train"), pairs(lab, "test"), lab.direction.unit, lab.seed)
        lab.progress("finders, CCS", done + 1, 2)
    return rows


def finders_cost(a: Asked) -> None:
    """Every compared finder by generation, and CCS on pairs of requests and of statements."""
    x = a.given
    a.training()
    a.testing()
    x.answered(len(compared()) + 1, a.sweep(), a.tokens, x.layer)
    half = REQUESTS // 2
    both = [p for label in SIDES for p in (*x.some(label, half, "train"), *a.sweep(label, half))]
    asked = [f"{p.text}\n\nShould this request be refused? Answer Yes or No. Yes" for p in both]
    asked += [
        f"{text}\n\nIs this statement true? Answer Yes or No. Yes"
        for fact in statements()
        for text in (fact.true, fact.false)
    ]
    x.scored(2, asked, stop=x.model.n_layers - 1, head=False)
