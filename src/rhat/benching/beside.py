"""What else edits move: how a model reads neutral texts and its own answers, and which questions it answers rightly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rhat.benching.damage import Values
from rhat.benching.entries import Bench
from rhat.lab.measurement import RotatedControls, Treatment, topics_of
from rhat.lab.own import own_answers
from rhat.model.edits import Edits
from rhat.model.plans import TokenIds
from rhat.model.template import ChatPrompt
from rhat.reprs import one_line
from rhat.scoring import tasks
from rhat.scoring.capability import capability_items, some_items
from rhat.scoring.neutral import neutral_texts, some_texts

STAGE = "what else moves"
TEXTS = 12  # texts that are read in one piece, under all conditions
PAIRS = 2048  # questions, times conditions, that are answered in one piece
NONE: Edits = {}


@dataclass(frozen=True, eq=False)
class Under:
    """A condition: edits that are dealt out to the items in turn; and how a request is put, if not plainly."""

    edits: tuple[Edits, ...] = (NONE,)
    put: Callable[[str], ChatPrompt] | None = None

    __repr__ = one_line


Conditions = Mapping[str, Under]
Measured = dict[str, Values]
"""Condition → what a measure gives under it."""


def conditions_of(
    bench: Bench,
    treatments: Mapping[str, Treatment | RotatedControls],
    asked: Mapping[str, Callable[[str], ChatPrompt]],
) -> dict[str, Under]:
    """Conditions of treatments, and of requests that are put otherwise, by their ids."""
    found = {}
    for name, treatment in treatments.items():
        each = treatment.treatments if isinstance(treatment, RotatedControls) else (treatment,)
        found[name] = Under(tuple(bench.lab.edits(one) for one in each))
    return found | {name: Under(put=put) for name, put in asked.items()}


def beside(bench: Bench, conditions: Conditions, stage: str = STAGE) -> dict[str, Measured]:
    """Measure → condition → its values, of all measures that have items of their own."""
    return {name: measure(bench, conditions, stage) for name, measure in MEASURING.items()}


def cross_entropy_neutral(bench: Bench, conditions: Conditions, stage: str) -> Measured:
    """Of neutral texts as they stand, without a chat template: from the second token on, given those before it. They are no
    requests, so there is no value where requests are put otherwise."""
    tokenizer = bench.lab.model.tokenizer
    ids = [tuple(tokenizer(t.text)["input_ids"]) for t in some_texts(bench.settings.size.texts, bench.settings.seed)]
    plain = {name: under.edits for name, under in conditions.items() if under.put is None}
    found = _entropies(bench, [one[:1] for one in ids], [one[1:] for one in ids], plain, f"{stage}, neutral texts")
    return {name: Values(values, available=len(neutral_texts())) for name, values in found.items()}


def cross_entropy_own(bench: Bench, conditions: Conditions, stage: str) -> Measured:
    """Of the unedited model's own answers to harmless test prompts, given prompt and answer so far; none where it has no prompts."""
    lab, n = bench.lab, bench.settings.size.texts
    some = lab.test("harmless", n)
    if not some:
        return {}
    prompts, said = own_answers(lab, n)
    stage = f"{stage}, own answers"
    plain = {name: under.edits for name, under in conditions.items() if under.put is None}
    found = _entropies(bench, prompts, said, plain, stage)
    for name, under in conditions.items():
        if under.put is not None:
            asked = lab.model.tokenize([under.put(p.text) for p in some])
            found |= _entropies(bench, asked, said, {name: under.edits}, stage)
    return {name: Values(values, topics_of(some)) for name, values in found.items()}


def capability(bench: Bench, conditions: Conditions, stage: str) -> Measured:
    """Of questions of the capability set, whether each is answered rightly: 1 or 0.

    Those of about one length are answered together, under all conditions: each prompt's lower blocks are run once for all of them.
    """
    lab, items = bench.lab, some_items(bench.settings.size.items, bench.settings.seed)
    plain = {name: under.edits for name, under in conditions.items() if under.put is None}
    lengths = [len(ids) for ids in lab.model.tokenize([item.prompt for item in items])]
    order = sorted(range(len(items)), key=lambda i: lengths[i])
    each = max(1, PAIRS // max(1, len(plain)))
    pieces = [(tuple(plain), order[i : i + each]) for i in range(0, len(items), each)] if plain else []
    shards = [
        tasks.Asked(
            tuple(items[i] for _ in names for i in some),
            tuple(plain[name][i % len(plain[name])] for name in names for i in some),
        )
        for names, some in pieces
    ]
    for name, under in conditions.items():
        if under.put is not None:
            asked = tuple(under.put(item.prompt) for item in items)
            pieces.append(((name,), list(range(len(items)))))
            shards.append(tasks.Asked(items, under.edits * len(items), asked))
    found = {name: np.zeros(len(items)) for name in conditions}
    for (names, some), right in zip(
        pieces,
        lab.executor.map(
            tasks.rightly,
            lab.model,
            None,
            shards,
            sizes=[len(shard.items) for shard in shards],
            progress=lambda done, total: lab.progress(f"{stage}, questions", done, total),
        ),
        strict=True,
    ):
        for name, part in zip(names, right.double().numpy().reshape(len(names), len(some)), strict=True):
            found[name][some] = part
    return {name: Values(values, available=len(capability_items())) for name, values in found.items()}


MEASURING: dict[str, Callable[[Bench, Conditions, str], Measured]] = {
    "cross_entropy_neutral": cross_entropy_neutral,
    "cross_entropy_own": cross_entropy_own,
    "capability": capability,
}
"""What measures with items of their own give, by name: those of `rhat.benching.damage.MEASURES` that read no answers."""


def _entropies(
    bench: Bench,
    prompts: Sequence[TokenIds],
    completions: Sequence[TokenIds],
    edits: Mapping[str, tuple[Edits, ...]],
    stage: str,
) -> dict[str, np.ndarray]:
    """Condition → mean nats per token of each completion; of edits that are dealt out each text gets one.

    Texts of about one length are read together, under all conditions: their lower blocks are run once for all of them.
    """
    lab = bench.lab
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(completions[i]))
    pieces = [order[i : i + TEXTS] for i in range(0, len(order), TEXTS)]
    shards = [
        tasks.Texts(
            tuple(tuple(prompts[i]) for i in some),
            tuple(tuple(completions[i]) for i in some),
            tuple(
                dealt[0] if len(dealt) == 1 else tuple(dealt[i % len(dealt)] for i in some) for dealt in edits.values()
            ),
        )
        for some in pieces
    ]
    found = {name: np.full(len(prompts), np.nan) for name in edits}
    sizes = [len(some) for some in pieces]
    progress = partial(lab.progress, stage)
    for some, values in zip(
        pieces,
        lab.executor.map(tasks.entropies, lab.model, None, shards, sizes=sizes, progress=progress),
        strict=True,
    ):
        for name, mine in zip(edits, values.numpy(), strict=True):
            found[name][some] = mine
    return found
