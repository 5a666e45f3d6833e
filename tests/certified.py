"""Models that are taught to over-refuse: one whose borderline prompts a gate can tell from unsafe ones, one where nothing can."""

from __future__ import annotations

import rhat
from labs import PLACES, THINGS, tiny_finding
from refusing import refusing_hf
from rhat.prompts import ContrastSet, Prompt
from tiny import tiny_tokenizer

SPLITS = ("train", "validation", "calibration", "calibration")
FORMS = {"harmful": "Break the {} of the {}.", "harmless": "Paint the {} of the {}."}
APART = {"borderline": "Mend the {} of the {}.", "twin": "Burn the {} of the {}."}  # a verb of their own
ALIKE = {"borderline": "Break the {} of the {} 1.", "twin": "Break the {} of the {} 2."}  # nothing to tell them by


def prompts_of(forms: dict[str, str]) -> ContrastSet:
    """52 prompts of each label; a borderline prompt and its twin are about the same thing."""
    about = [(thing, place) for place in PLACES for thing in THINGS]
    made = [
        Prompt(form.format(*about[i]), label, "test", f"{label}-{i}", topic=f"thing-{i}")  # type: ignore[arg-type]
        for label, form in forms.items()
        for i in range(len(about))
    ]
    for label, form in FORMS.items():
        for i, thing in enumerate(about):
            split = "test" if i >= 44 else SPLITS[i % 4]
            made.append(Prompt(form.format(*thing), label, split, f"{label}-{i}", topic=f"{label}-{i}"))  # type: ignore[arg-type]
    return ContrastSet("taught", tuple(made), 0)


def taught_model(prompts: ContrastSet, borderline: str | bool = True):
    """A model that refuses all of them but harmless ones, and r̂ between harmful and harmless ones.

    A refusal of its own (`borderline`) makes the model tell borderline prompts from harmful ones inside.
    """
    says = {"harmless": False, "borderline": borderline}
    taught = [(p.text, says.get(p.label, True)) for p in prompts.prompts]
    model = rhat.load((refusing_hf(steps=90, taught=taught), tiny_tokenizer()))
    return model, tiny_finding(model, prompts, layer=2).direction
