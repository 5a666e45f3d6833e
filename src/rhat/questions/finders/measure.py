"""What is measured: which finder finds it. Every finder of the table, a random direction; and CCS, as a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rhat.capture import captured
from rhat.directions import FINDERS, fit_ccs, random_direction
from rhat.interventions import Intervention
from rhat.lab import Lab
from rhat.lab.chance import against_chance
from rhat.lab.components import principal_components
from rhat.lab.rows import rate_part, score_part
from rhat.model.plans import TokenIds
from rhat.model.template import render
from rhat.prompts import statements
from rhat.questions.finders.rows import Rows
from rhat.sites import Site
from rhat.statistics import wilson

CCS_PAIRS = 96  # training pairs of requests, half of each label


def finders(lab: Lab) -> Rows:
    """Every finder on the kept training activations at r̂'s site and position, tested on test prompts."""
    layer = lab.direction.layer
    positive, negative = (lab.training[label][:, layer] for label in ("harmful", "harmless"))
    found = {name: find(positive, negative) for name, find in FINDERS.items()}
    found["random"] = random_direction(lab.model.d_model, lab.seed + 31, lab.direction.unit)
    tests = torch.cat([lab.testing[label][:, layer] for label in ("harmful", "harmless")]).double()
    truth = torch.cat([torch.ones(len(lab.testing["harmful"])), torch.zeros(len(lab.testing["harmless"]))]).bool()
    n = lab.sizes.sweep
    rows, doings = [], {}
    for name, vector in found.items():
        unit = (vector.double() / vector.double().norm()).float()
        high, low = float((positive @ unit).mean()), float((negative @ unit).mean())
        right = (
            (tests @ unit.double() > (high + low) / 2) if high >= low else (tests @ unit.double() < (high + low) / 2)
        ) == truth
        accuracy = wilson(int(right.sum()), len(right))
        target = low + lab.gap if name == "random" else high  # a random direction gets the shift that setting r̂ makes
        doings[f"finder:{name}"] = Intervention("set_projection", unit, layer, target)
        rows.append(
            {
                "name": name,
                "layer": layer,
                "cosine_to_rhat": float(unit.double() @ lab.direction.unit.double()),
                "test_accuracy": accuracy.estimate,
                "ci_low": accuracy.low,
                "ci_high": accuracy.high,
                "n": accuracy.n,
            }
        )
    describe = {f"finder:{name}": {"direction": name} for name in found}
    measured = lab.measure_each(doings, "harmless", n, describe=describe, stage="finders")
    for row, m in zip(rows, measured.values(), strict=True):
        row["set_effect"] = {**score_part(m.scores, m.topics), **rate_part(m.refused, m.topics)}
    probes, ccs_rows = _ccs(lab)
    return Rows.of({"finders": rows + probes, "ccs": ccs_rows})


def _answer_ids(lab: Lab, text: str, answers: Sequence[str]) -> list[TokenIds]:
    """The prompt `text` followed by each answer's tokens, as if the model had said them."""
    prompt = render(
        lab.model.tokenizer, [{"role": "user", "content": text}], lab.model.template.system, lab.model.response_prefix
    )
    return [(*prompt, *lab.model.tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers]


def _last_activations(lab: Lab, sequences: Sequence[TokenIds], layer: int) -> Float[Tensor, "n d_model"]:
    """resid_pre of the last token of token sequences."""
    out = torch.empty(len(sequences), lab.model.d_model)
    site = Site("resid_pre", layer)
    some = lab.model.lay_out(sequences, 1)
    for rows, at in captured(lab.model, some, [site], [-1]):
        out[rows.cpu()] = at[site][:, 0].float().cpu()
    return out


def _pairs(lab: Lab, texts: Sequence[str], layer: int, question: str) -> tuple[Tensor, Tensor]:
    """Activations at the answers Yes and No to a question about each text."""
    both = [_answer_ids(lab, f"{text}\n\n{question}", ("Yes", "No")) for text in texts]
    yes, no = (_last_activations(lab, [pair[side] for pair in both], layer) for side in (0, 1))
    return yes, no


def _ccs(lab: Lab) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """CCS and PCA on contrast pairs of requests (should it be refused?) and of built-in statements (is it true?)."""
    layer = lab.direction.layer
    half = CCS_PAIRS // 2
    train = [lab.prompts.select(label, "train", half) for label in ("harmful", "harmless")]
    test = [lab.test(label, half) for label in ("harmful", "harmless")]
    question = "Should this request be refused? Answer Yes or No."
    requests = {
        split: (
            *_pairs(lab, [p.text for side in sides for p in side], layer, question),
            torch.cat([torch.ones(len(sides[0])), torch.zeros(len(sides[1]))]).bool(),
        )
        for split, sides in (("train", train), ("test", test))
    }
    lab.progress("finders, CCS", 1, 2)
    facts = statements()
    order = torch.randperm(2 * len(facts), generator=torch.Generator().manual_seed(lab.seed)).tolist()
    flat = [(text, truth) for fact in facts for text, truth in ((fact.true, True), (fact.false, False))]
    cut = {i for i in range(len(facts)) if i % 5 in (0, 1)}  # two fifths of the facts test; a fact never straddles
    claims = {}
    for split in ("train", "test"):
        some = [i for i in order if (i // 2 in cut) == (split == "test")]
        yes, no = _pairs(lab, [flat[i][0] for i in some], layer, "Is this statement true? Answer Yes or No.")
        claims[split] = (yes, no, torch.tensor([flat[i][1] for i in some]))
    lab.progress("finders, CCS", 2, 2)
    rows, probes = [], []
    for name, data in (("requests", requests), ("statements", claims)):
        one, other, ccs_row = _probe_both(lab, name, data)
        rows += [ccs_row, other]
        if name == "requests":
            probes.append(one)
    return probes, rows


def _probe_both(
    lab: Lab, name: str, data: dict[str, tuple[Tensor, Tensor, Bool[Tensor, " n"]]]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    yes, no, truth = data["train"]
    test_yes, test_no, test_truth = data["test"]
    probe = fit_ccs(yes, no, seed=lab.seed).signed(yes, no, truth)
    right = probe.predict(test_yes, test_no) == test_truth
    accuracy = wilson(int(right.sum()), len(right))
    cosine = float(probe.direction.double() @ lab.direction.unit.double())
    ccs_row = {
        "set": name,
        "method": "ccs",
        "loss": probe.loss,
        "consistency": probe.consistency(test_yes, test_no),
        "n_pairs": len(yes),
        "accuracy": accuracy.estimate,
        "ci_low": accuracy.low,
        "ci_high": accuracy.high,
        "n": accuracy.n,
        "verdict": against_chance(accuracy.low, accuracy.high),
        "cosine_to_rhat": cosine,
    }
    pca_row = _pca_row(lab, name, data)
    finder = {
        "name": "ccs",
        "layer": lab.direction.layer,
        "cosine_to_rhat": cosine,
        "test_accuracy": accuracy.estimate,
        "ci_low": accuracy.low,
        "ci_high": accuracy.high,
        "n": accuracy.n,
    }
    return finder, pca_row, ccs_row


def _pca_row(lab: Lab, name: str, data: dict[str, tuple[Tensor, Tensor, Bool[Tensor, " n"]]]) -> dict[str, Any]:
    """The first principal component of the same pairs' centred differences, sign fixed on training labels."""
    yes, no, truth = data["train"]
    test_yes, test_no, test_truth = data["test"]
    means = yes.double().mean(0), no.double().mean(0)
    differences = (yes.double() - means[0]) - (no.double() - means[1])
    axis = principal_components(differences, 1)[1][0]
    sign = 1 if float((((differences @ axis) > 0) == truth).double().mean()) >= 0.5 else -1
    tested = ((test_yes.double() - means[0]) - (test_no.double() - means[1])) @ axis * sign
    right = (tested > 0) == test_truth
    accuracy = wilson(int(right.sum()), len(right))
    return {
        "set": name,
        "method": "pca",
        "n_pairs": len(yes),
        "accuracy": accuracy.estimate,
        "ci_low": accuracy.low,
        "ci_high": accuracy.high,
        "n": accuracy.n,
        "verdict": against_chance(accuracy.low, accuracy.high),
        "cosine_to_rhat": float(sign * axis @ lab.direction.unit.double()),
    }
