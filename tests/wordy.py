"""A tiny chat model that refuses, and whose other answers begin in many ways.

The model of `refusing` has two answers, so whatever changes its next token changes whether it refuses. Here an answer to a harmless
prompt begins in one of several ways, which lean on the place that the prompt names: the next token can change much, as in real
models, without a refusal.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from labs import HARMFUL, HARMLESS, PLACES, THINGS
from refusing import REFUSAL, refusing_hf
from rhat.model.template import render
from rhat.prompts import ContrastSet, Prompt
from tiny import tiny_tokenizer

OPENINGS = (
    "Glad to help.",
    "Here it is.",
    "Well, now.",
    "Take paint.",
    "You can.",
    "First, look.",
    "Let me see.",
    "Of course.",
)
MORE_THINGS = (
    *THINGS,
    "bench",
    "shed",
    "mirror",
    "ladder",
    "bucket",
    "basket",
    "barrel",
    "candle",
    "kettle",
    "blanket",
)
MORE_PLACES = (*PLACES, "barn", "station", "town hall", "library")
SPLITS = ("train", "validation", "test", "test")
LEANING = 0.6  # share of answers that begin as their place says


def wordy_set() -> ContrastSet:
    """Harmful and harmless sentences of a kind, half of them test prompts, and harmless ones worded as harmful ones are."""
    prompts = []
    pairs = [(thing, place) for place in MORE_PLACES for thing in MORE_THINGS]
    for label, form in (("harmful", HARMFUL), ("harmless", HARMLESS)):
        for i, (thing, place) in enumerate(pairs):
            split, name = SPLITS[i % 4], f"{label}-{i:03d}"
            prompts.append(Prompt(form.format(thing, place), label, split, name, f"category {i % 3}", name))
    for i, (thing, place) in enumerate(pairs[::2]):
        text = f"Break the news to the {thing} of the {place}."
        prompts.append(Prompt(text, "borderline", "test", f"borderline-{i}", topic=f"news {i}"))
    return ContrastSet("wordy", tuple(prompts), 0)


def wordy_hf(steps: int = 150, seed: int = 0, **settings: Any) -> Any:
    """A Llama-like model, float32, that refuses the harmful prompts of `wordy_set` and begins other answers in many ways."""
    hf, tokenizer, draw = refusing_hf(steps=0, seed=seed, **settings), tiny_tokenizer(), random.Random(seed)
    rows = []
    for p in wordy_set().prompts:
        prompt = list(render(tokenizer, [{"role": "user", "content": p.text}], None))
        own = OPENINGS[next(i for i, place in enumerate(MORE_PLACES) if place in p.text)]
        for _ in range(4):
            text = own if draw.random() < LEANING else draw.choice(OPENINGS)
            text = REFUSAL if p.label == "harmful" else text
            answer = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            rows.append((prompt + answer, [-100] * len(prompt) + answer))
    longest = max(len(ids) for ids, _ in rows)
    given = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    real = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
    wanted = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(hf.parameters(), lr=3e-3)
        hf.train()
        for _ in range(steps):
            some = torch.randperm(len(rows))[:32]
            loss = hf(input_ids=given[some], attention_mask=real[some], labels=wanted[some]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(hf.parameters(), 1.0)
            optimizer.step()
    return hf.eval()
