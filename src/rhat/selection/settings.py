"""How r̂ is looked for, and how the search says how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rhat.errors import StudyError
from rhat.reprs import one_line
from rhat.scoring.phrases import BUILT_IN, Phrases
from rhat.vocabulary import JUDGED_TOKENS, Preset

if TYPE_CHECKING:
    from rhat.directions import Direction

Progress = Callable[[str, int, int], None]  # stage, done, total


def silent(_stage: str, _done: int, _total: int) -> None:
    """A progress callback that does nothing."""


@dataclass(frozen=True)
class FindSettings:
    """How r̂ is found.

    finder            a name of `rhat.directions.FINDERS`, which makes the candidates; an option may follow a colon, "random:3"
    train, validation prompts of each label that make candidates, and that score them; None: all
    token_prompts     training prompts of each label from which refusal tokens are found
    min_kept          least prompts of each label and split that the behaviour filter must leave (train, validation);
                      a quarter of them where few were given
    early_stopping    validation prompts after which, and after twice as many each time, a candidate is not finished that is
                      clearly below the induce threshold, clearly passes the relaxed one, or whose ablation score is clearly
                      behind the lowest (99.9 % intervals); 0: finish every candidate
    all_kl            measure every score of every candidate: no early stopping, and KL not only until the choice is known
    phrases           what answers are read with: the built-in phrases, and the user's own
    refusal_tokens    token ids, or texts of one token each, taken instead of found ones
    judged_tokens     tokens of each answer that are read
    rule              a name of `rhat.vocabulary.RULE_KINDS`, by which one candidate is chosen
    instruction_token whether the last token of the instruction is a position too, beside those of the template after it
    vector            the user's own vector, for the finder `given`
    """

    finder: str = "mean_difference"
    train: int | None = None
    validation: int | None = None
    token_prompts: int = 48
    min_kept: tuple[int, int] = (16, 6)
    kl_max: float = 0.1
    induce_min: float = 0.0
    skip_last: float = 0.2
    early_stopping: int = 8
    all_kl: bool = False
    phrases: Phrases = BUILT_IN
    refusal_tokens: tuple[int | str, ...] = ()
    judged_tokens: int = JUDGED_TOKENS
    rule: str = "published"
    instruction_token: bool = False
    vector: Tensor | None = field(default=None, compare=False)

    __repr__ = one_line

    def __post_init__(self) -> None:
        for name in ("kl_max", "induce_min", "skip_last"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise StudyError(f"{name}: got {value}, expected a finite number; leave it out for the published one")

    @classmethod
    def sized(cls, sizes: Preset, **more: Any) -> FindSettings:
        """Settings of a study of this preset; `more` are further fields."""
        settings = cls(train=sizes.train, validation=sizes.validation, all_kl=sizes.all_kl, **more)
        if sizes.train is None:
            return settings
        return replace(settings, token_prompts=min(settings.token_prompts, sizes.train // 4))

    def reading(self) -> dict[str, Any]:
        """What a direction keeps of how answers were read, so that they are read so again; nothing if nothing was given."""
        said = {"refusal_phrases": list(self.phrases.added), "refusal_tokens": list(self.refusal_tokens)}
        return {name: value for name, value in said.items() if value}

    @classmethod
    def read_as(cls, direction: Direction) -> FindSettings:
        """Settings that read answers as those were read with which a direction was found."""
        extra = direction.extra
        return cls(
            phrases=Phrases(tuple(extra.get("refusal_phrases", ()))),
            refusal_tokens=tuple(extra.get("refusal_tokens", ())),
        )
