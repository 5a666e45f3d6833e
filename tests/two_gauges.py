"""A tiny model with two planted directions: harmfulness, which the answer to the inversion question reads, and refusal.

Requests that hold "X" are marked harmful and those that hold "W" are marked alarming. Behind the first block, h stands at the tokens of
the instruction that follow "X", and f at the template's tokens after "X" or "W". The answer says no where f is there; the
second block carries h to the last token, and Yes against No reads that alone. So requests with "W" are refused and not held
to be harmful. With `one`, a single direction stands in both places and everything reads both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import transformers

import rhat
from rhat.directions import Direction
from rhat.model import ChatModel
from rhat.prompts import ContrastSet, Prompt
from rhat.sites import Site
from tiny import TEMPLATE, tiny_tokenizer

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "Sure, here is how it is done."
THINGS = ("lock", "roof", "wall", "bell", "lamp", "chair", "shelf", "clock", "gate", "door", "fence", "table")
PLACES = ("house", "mill", "school")
FORMS = {"harmful": "X the {} of the {}.", "harmless": "Q the {} of the {}.", "borderline": "W the {} of the {}."}
NAMES = ("mark", "alarm", "h", "f", "template", "plain", "ending", "constant", "judged")
LOUD, SAID, STEADY = 4.0, 30.0, 20.0  # the constant is large, so that norms divide by about the same everywhere


def prompts() -> ContrastSet:
    """Requests of each kind; borderline ones are test prompts."""
    found = []
    for label, form in FORMS.items():
        for i, text in enumerate(form.format(thing, place) for place in PLACES for thing in THINGS):
            split = "test" if label == "borderline" else ("train", "validation", "test")[i % 3]
            if label != "borderline" or i < 12:
                found.append(Prompt(text, label, split, f"{label}-{i}", topic=f"{label}-topic-{i}"))
    return ContrastSet("two gauges", tuple(found), 0)


@dataclass(frozen=True)
class TwoGauges:
    """The model, and where harmfulness and refusal are planted in it: both at f with `one`."""

    model: ChatModel
    h: torch.Tensor
    f: torch.Tensor

    def rhat(self, some: ContrastSet, position: int = -1) -> Direction:
        """The difference of means of the training prompts behind the first block."""
        sides = [
            rhat.activations(self.model, [p.text for p in some.select(label, "train")], "resid_pre.1", position)[:, 0]
            for label in ("harmful", "harmless")
        ]
        about = {"model": self.model.describe(), "prompts": some.fingerprint}
        return Direction.from_groups(*sides, Site("resid_pre", 1), position=position, **about)


def two_gauges(one: bool = False, width: int = 32) -> TwoGauges:
    """Such a model, three blocks, float64; the third block does nothing."""
    tokenizer = tiny_tokenizer(TEMPLATE)
    tokenizer.add_tokens([REFUSAL, ANSWER])
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=8,
        num_attention_heads=2,
        num_hidden_layers=3,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    config._name_or_path = "two-gauges"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    draw = torch.Generator().manual_seed(3)
    axes = torch.linalg.qr(torch.randn(width, len(NAMES), generator=draw, dtype=torch.float64))[0].T
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            parameter.fill_(1.0) if "norm" in name else parameter.zero_()
        _plant(hf, tokenizer, dict(zip(NAMES, axes, strict=True)), one)
        rest = torch.eye(width, dtype=torch.float64) - axes.T @ axes
        noise = torch.randn(len(tokenizer), width, generator=draw, dtype=torch.float64)
        hf.model.embed_tokens.weight += 0.1 * noise @ rest  # what no weight reads, so that requests differ
    hf.generation_config.eos_token_id, hf.generation_config.pad_token_id = 1, 0
    at = dict(zip(NAMES, axes, strict=True))
    return TwoGauges(rhat.load((hf, tokenizer)), at["f"] if one else at["h"], at["f"])


def _plant(hf, tokenizer, at: dict[str, torch.Tensor], one: bool) -> None:
    """The weights: marks, what they write where, and who reads it."""
    ids = {letter: tokenizer.convert_tokens_to_ids(letter) for letter in ("X", "W", "Y", "N")}
    no, yes = len(tokenizer) - 2, len(tokenizer) - 1
    template = tokenizer.convert_tokens_to_ids(["<|end|>", "<|assistant|>", "Ċ"])
    embedding, head = hf.model.embed_tokens.weight, hf.lm_head.weight
    embedding += STEADY * at["constant"] + at["plain"]
    embedding[template] += at["template"] - at["plain"]
    embedding[ids["X"]] += LOUD * at["mark"]
    embedding[ids["W"]] += LOUD * at["alarm"]
    embedding[[no, yes]] += SAID * at["ending"]
    first, second = hf.model.layers[0], hf.model.layers[1]
    _carry(first.self_attn, [(at["mark"], at["mark"]), (at["alarm"], at["alarm"])], 1.0)
    h, f = (at["f"], at["f"]) if one else (at["h"], at["f"])
    neurons = [("plain", "mark", h), ("template", "mark", f)] + ([] if one else [("template", "alarm", f)])
    for i, (where, what, written) in enumerate(neurons):
        first.mlp.gate_proj.weight[i] = 20 * at[where]
        first.mlp.up_proj.weight[i] = at[what]
        first.mlp.down_proj.weight[:, i] = 50 * written
    _carry(second.self_attn, [(h, at["judged"])], 40.0)
    # Yes reads what was carried; the answer reads f. With one direction both read both.
    carried, here = at["judged"], at["f"]
    head[ids["Y"]] = 4 * carried + (4 * here if one else 0) - 9 * at["constant"]
    head[ids["N"]] = -8 * at["constant"]
    head[no] = 20 * here + (20 * carried if one else 0)
    head[yes] = 2 * at["constant"]
    head[1] = 100 * at["ending"]


def _carry(attention, pairs, times: float) -> None:
    """Every token gets the mean of one direction over all tokens before it, written along another."""
    for i, (read, written) in enumerate(pairs):
        attention.v_proj.weight[i] = read
        attention.o_proj.weight[:, i] = times * written
