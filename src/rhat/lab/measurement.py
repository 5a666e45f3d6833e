"""A measurement: one condition on one set of prompts; and what is done to a model in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rhat.interventions import AnyIntervention
from rhat.prompts import Prompt
from rhat.reprs import one_line
from rhat.scoring.tasks import Answers
from rhat.sites import Site

Label = str
Treatment = AnyIntervention | Mapping[Site, Any] | None  # an intervention, ready edits, or nothing
KL_PROMPTS = 256  # so many prompts' baseline logits are held, whatever the number of prompts


@dataclass(frozen=True, eq=False)
class RotatedControls:
    """Each prompt gets one of several controls: prompt i gets intervention i mod len(treatments)."""

    treatments: tuple[Treatment, ...]

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Measurement:
    """One condition on one set of prompts, prompt by prompt.

    scores are refusal scores (nats); verdicts are the answers' classes, by the default judge; kl is KL(base ‖ edited) of the next token, of the first KL_PROMPTS prompts at most.
    panel holds the classes by each further judge, None where it cannot tell; hashes are salted, of the answers;
    shorter holds the classes after so many tokens, where they were asked for.
    topics are those of the prompts, by which intervals and tests take them as clusters; none: every prompt is on its own.
    """

    condition: str
    label: Label
    prompt_ids: tuple[str, ...]
    scores: np.ndarray
    verdicts: tuple[str, ...] = ()
    kl: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    panel: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    hashes: tuple[str, ...] = ()
    shorter: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    topics: tuple[str, ...] = ()

    __repr__ = one_line

    @property
    def refused(self) -> np.ndarray:
        """True where the completion refuses."""
        return np.array([v == "refused" for v in self.verdicts], dtype=bool)

    def first(self, n: int) -> Measurement:
        """The same of the first n prompts (subsets of test prompts are nested)."""
        return replace(
            self,
            prompt_ids=self.prompt_ids[:n],
            scores=self.scores[:n],
            verdicts=self.verdicts[:n],
            kl=None if self.kl is None else self.kl[:n],
            texts=self.texts[:n],
            tokens=self.tokens[:n],
            panel={judge: found[:n] for judge, found in self.panel.items()},
            hashes=self.hashes[:n],
            shorter={length: found[:n] for length, found in self.shorter.items()},
            topics=self.topics[:n],
        )


def topics_of(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """The topic of each prompt; one that names none has a topic of its own."""
    return tuple(p.topic or p.id for p in prompts)


def put_together(
    condition: str,
    label: Label,
    prompts: Sequence[Prompt],
    answers: Sequence[tuple[Answers, int]],
    scores: np.ndarray,
    kl: np.ndarray | None,
) -> Measurement:
    """A measurement from each prompt's answer: the answers of a group, and which of them it is."""
    first = answers[0][0] if answers else None

    def each(values: Callable[[Answers], Sequence[Any]]) -> tuple[Any, ...]:
        return tuple(values(group)[at] for group, at in answers)

    return Measurement(
        condition,
        label,
        tuple(p.id for p in prompts),
        scores,
        each(lambda group: group.verdicts),
        kl,
        tuple(completion.text for completion in each(lambda group: group.completions)),
        tuple((*completion.block, *completion.tokens) for completion in each(lambda group: group.completions)),
        {judge: each(lambda group, judge=judge: group.panel[judge]) for judge in (first.panel if first else ())},  # type: ignore[misc]
        each(lambda group: group.hashes),
        {n: each(lambda group, n=n: group.shorter[n]) for n in (first.shorter if first else ())},  # type: ignore[misc]
        topics_of(prompts),
    )
