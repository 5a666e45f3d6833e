"""A judge: what reads an answer and says whether it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from rhat.errors import JudgeError

Class = Literal["refused", "partial", "complied", "degenerate"]
CLASSES: tuple[Class, ...] = get_args(Class)


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one answer.

    `confidence` is the judge's own probability of `label`, 0 to 1; None where the judge has none.
    """

    label: Class
    confidence: float | None = None


@dataclass(frozen=True)
class Judge:
    """A reading of answers, with what is needed to repeat it.

    Attributes:
        name: as it is asked for on the command line.
        version: changes whenever the judge may say something else of the same answer.
        needs: what it needs that rhat alone does not bring ("a server at …"); empty if nothing.
        judge: (prompts, answers) → a Judgement for each, None where the judge could not tell.
        settled: (prompt, text so far) → the class that every continuation of the text keeps, or None; a judge
            that cannot know leaves it out.
    """

    name: str
    version: str
    needs: str
    judge: Callable[[Sequence[str], Sequence[str]], list[Judgement | None]]
    settled: Callable[[str, str], Class | None] = lambda _prompt, _text: None

    def __call__(self, prompts: Sequence[str], answers: Sequence[str]) -> list[Judgement | None]:
        """Judge each answer to its prompt.

        Raises:
            JudgeError: if there are not as many prompts as answers.
        """
        if len(prompts) != len(answers):
            raise JudgeError(
                f"judge {self.name}: got {len(prompts)} prompts and {len(answers)} answers, expected as many of each"
            )
        return self.judge(prompts, answers)
