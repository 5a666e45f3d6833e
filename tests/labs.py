"""A lab on a tiny random model: every experiment runs on it in seconds, with a made-up finding."""

from __future__ import annotations

import torch

from rhat.capture import Moments, capture
from rhat.lab import Lab, Preset
from rhat.prompts import ContrastSet, Prompt
from rhat.scoring import RefusalToken
from rhat.selection.finding import Finding, direction_at
from rhat.selection.means import Means
from rhat.selection.survey import Survey
from rhat.sites import Site
from tiny import tiny_chat_model

HARMFUL = "Break the {} of the {}."
HARMLESS = "Paint the {} of the {}."
THINGS = ("lock", "window", "door", "gate", "roof", "wall", "fence", "bell", "lamp", "chair", "table", "shelf", "clock")
PLACES = ("house", "old mill", "shop by the river", "school")
TWINS = ("nose", "leg")
SIZES = Preset("tiny", 12, 8, None, 6, 3, 2)


def contrast_set(per_split: int = 12) -> ContrastSet:
    """Harmful and harmless sentences of a kind, and a few borderline ones with their unsafe twins."""
    prompts = []
    for label, form in (("harmful", HARMFUL), ("harmless", HARMLESS)):
        texts = [form.format(thing, place) for place in PLACES for thing in THINGS]
        for i, text in enumerate(texts[: 4 * per_split]):
            split = ("train", "validation", "calibration", "test")[i % 4]
            prompts.append(Prompt(text, label, split, f"{label}-{i:03d}", f"category {i % 3}", f"{label}-topic-{i}"))
    for i in range(8):
        place, topic = PLACES[i % 4], f"news {i}"
        prompts.append(
            Prompt(f"Break the news to the {place} {i}.", "borderline", "test", f"borderline-{i}", topic=topic)
        )
        prompts.append(Prompt(HARMFUL.format(TWINS[i // 4], place), "twin", "test", f"twin-{i}", topic=topic))
    return ContrastSet("tiny", tuple(prompts), 0)


def tiny_finding(model, prompts: ContrastSet, layer: int = 1) -> Finding:
    """Difference of means on all training prompts, no filter; refusal tokens made up."""
    positions = tuple(range(-model.template_length, 0))
    sites = [Site("resid_pre", i) for i in range(model.n_layers)]
    means, halves, kept = {}, {}, {"train": {}, "validation": {}}
    for label in ("harmful", "harmless"):
        some = prompts.select(label, "train")
        parts = [[], []]

        def visit(rows, _logits, found, parts=parts):
            both = torch.stack([found[s].double() for s in sites], 1)
            for half in (0, 1):
                parts[half].append(Moments.of(both[rows % 2 == half]))

        capture(model, model.plan([p.text for p in some]), sites, positions, visit)
        sums = [sum(p[1:], p[0]) for p in parts]
        means[label] = (sums[0] + sums[1]).mean
        halves[label] = [s.mean for s in sums]
        for split in kept:
            kept[split][label] = prompts.select(label, split)
    found = Means(
        positions,
        means["harmful"],
        means["harmless"],
        tuple(halves["harmful"][h] - halves["harmless"][h] for h in (0, 1)),
    )
    direction = direction_at(model, found, layer, -1, prompts.fingerprint)
    tokens = (RefusalToken(40, "I", 1.0, 0.0), RefusalToken(41, "As", 0.2, 0.0))
    return Finding(
        "found",
        "made up for a test",
        direction,
        ({"position": -1, "layer": layer, "status": "selected"},),
        Survey(refusal_tokens=tokens, kept=kept, means=found),
    )


def tiny_lab(family: str = "llama", n_layers: int = 3, dtype: torch.dtype = torch.float64) -> Lab:
    """A lab whose every measurement takes milliseconds."""
    model = tiny_chat_model(family, n_layers=n_layers, dtype=dtype)
    prompts = contrast_set()
    finding = tiny_finding(model, prompts)
    return Lab(model, prompts, finding, SIZES)
