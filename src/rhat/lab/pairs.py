"""Contrast pairs: a text with a question, answered Yes and No, and the activations at both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rhat.capture import captured
from rhat.lab import Lab
from rhat.model.plans import TokenIds
from rhat.model.template import render
from rhat.prompts import statements
from rhat.reprs import one_line
from rhat.sites import Site

REQUESTS = 96  # pairs of requests in each split, half of each label
ANSWERS = ("Yes", "No")


@dataclass(frozen=True, eq=False)
class Pairs:
    """resid_pre at the answers Yes and No to a question about each text, [n, layer, d]; layers from 1, for layer 0 sees the answer alone.

    truth   whether Yes is right
    groups  texts of one group (a topic, a fact) never stand on both sides of a fold
    """

    yes: Float[Tensor, "n layer d_model"]
    no: Float[Tensor, "n layer d_model"]
    truth: Bool[Tensor, " n"]
    groups: tuple[str, ...]

    __repr__ = one_line


def request_pairs(lab: Lab, split: str) -> Pairs:
    """Requests of both labels: should this be refused?"""
    half = REQUESTS // 2
    some = [
        p
        for label in ("harmful", "harmless")
        for p in lab.prompts.select(label, split, half)  # type: ignore[arg-type]
    ]
    question = "Should this request be refused? Answer Yes or No."
    truth = [p.label == "harmful" for p in some]
    return _pairs(lab, [p.text for p in some], question, truth, [p.topic or p.id for p in some])


def statement_pairs(lab: Lab, split: str) -> Pairs:
    """The built-in statements: is this true? Two fifths of the facts test; a fact, in its two forms, never straddles."""
    flat = [(fact.id, text, truth) for fact in statements() for text, truth in ((fact.true, True), (fact.false, False))]
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(lab.seed)).tolist()
    some = [flat[i] for i in order if (i // 2 % 5 in (0, 1)) == (split == "test")]
    question = "Is this statement true? Answer Yes or No."
    return _pairs(lab, [text for _, text, _ in some], question, [t for *_, t in some], [name for name, *_ in some])


def _pairs(lab: Lab, texts: Sequence[str], question: str, truth: Sequence[bool], groups: Sequence[str]) -> Pairs:
    both = [_answer_ids(lab, f"{text}\n\n{question}") for text in texts]
    yes, no = (_last_activations(lab, [pair[side] for pair in both]) for side in (0, 1))
    return Pairs(yes, no, torch.tensor(truth), tuple(groups))


def _answer_ids(lab: Lab, text: str) -> list[TokenIds]:
    """The prompt `text` followed by each answer's tokens, as if the model had said them."""
    model = lab.model
    said = [{"role": "user", "content": text}]
    prompt = render(model.tokenizer, said, model.template.system, model.response_prefix, model.template.thinking)
    return [(*prompt, *model.tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in ANSWERS]


def _last_activations(lab: Lab, sequences: Sequence[TokenIds]) -> Float[Tensor, "n layer d_model"]:
    """resid_pre of the last token of token sequences, of every layer but 0."""
    sites = [Site("resid_pre", layer) for layer in range(1, lab.model.n_layers)]
    out = torch.empty(len(sequences), len(sites), lab.model.d_model)
    for rows, at in captured(lab.model, lab.model.lay_out(sequences, 1), sites, [-1]):
        out[rows.cpu()] = torch.stack([at[site][:, 0].float().cpu() for site in sites], 1)
    return out
