"""How r̂ is looked for, and how the search says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str, int, int], None]  # stage, done, total


def silent(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class FindSettings:
    """How r̂ is found.

    finder            a name of `rhat.directions.FINDERS`, which makes the candidates
    train, validation prompts of each label that make candidates, and that score them; None: all
    token_prompts     training prompts of each label from which refusal tokens are found
    min_kept          least prompts of each label and split that the behaviour filter must leave (train, validation);
                      a quarter of them where few were given
    race              harmless validation prompts after which, and after twice as many each time, a candidate that is
                      plainly below the induce threshold is not finished (its 99.9 % interval does not reach it);
                      0: finish every candidate
    all_kl            measure every score of every candidate: no race, and KL not only until the choice is known
    """

    finder: str = "mean_difference"
    train: int | None = None
    validation: int | None = None
    token_prompts: int = 48
    min_kept: tuple[int, int] = (16, 6)
    kl_max: float = 0.1
    induce_min: float = 0.0
    skip_last: float = 0.2
    race: int = 8
    all_kl: bool = False
