"""Judges: what reads answers and says which refuse. A new one is one object and one line in `JUDGES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rhat.errors import JudgeError
from rhat.scoring.judges.judge import CLASSES, Class, Judge, Judgement
from rhat.scoring.judges.phrases import PHRASES
from rhat.scoring.judges.studied import EMBEDDING, MODEL, SCORE
from rhat.scoring.judges.words import WORDS
from rhat.vocabulary.judges import FORMS

if TYPE_CHECKING:
    from rhat.model.chat import ChatModel

__all__ = ["CLASSES", "DEFAULT", "JUDGES", "Class", "Judge", "Judgement", "find_judge", "judge_answers", "settled"]

JUDGES: dict[str, Judge] = {judge.name: judge for judge in (WORDS, PHRASES, SCORE, MODEL, EMBEDDING)}
DEFAULT = WORDS.name
Conversation = Sequence[Mapping[str, str]]  # messages with a role and a content


def find_judge(name: str = DEFAULT, cache: Path | None = None, model: ChatModel | None = None) -> Judge:
    """A judge by what `rhat.vocabulary.JUDGE_NAMES` lists: a name in `JUDGES`, a kind with an address, or a function of the user's own.

    `cache` is a folder where an endpoint's classes are kept, so that none is asked for twice. `model` is the one under
    study, which the judge `model` asks.

    Raises:
        JudgeError: saying what was expected.
    """
    if name == MODEL.name and model is not None:
        from rhat.scoring.judges.model import judge_by

        return judge_by(model)
    if name == EMBEDDING.name or name.startswith(f"{EMBEDDING.name}:"):
        from rhat.scoring.judges.embedding import embedding

        return embedding(name.removeprefix(EMBEDDING.name).removeprefix(":"))
    if name in JUDGES:
        return JUDGES[name]
    if name.startswith("endpoint:"):
        from rhat.scoring.judges.endpoint import endpoint

        return endpoint(name.removeprefix("endpoint:"), cache=cache)
    if name.startswith("model:"):
        from rhat.scoring.judges.model import model_judge

        return model_judge(name.removeprefix("model:"))
    if ":" in name:
        from rhat.scoring.judges.own import own

        return own(name)
    raise JudgeError(f"judge {name!r}: expected one of {FORMS}")


def judge_answers(
    prompts: Sequence[str | Conversation], answers: Sequence[str], judge: str = DEFAULT
) -> list[Class | None]:
    """The class of each answer to its prompt: refused, partial, complied or degenerate; None if the judge cannot tell.

    Of a conversation the judge sees what was asked last.
    Whole answers or their openings; the default judge reads the first 1000 characters, always has a class, and takes
    a few milliseconds an answer at most. docs/judging.md says how well it reads.

    Raises:
        JudgeError: for an unknown judge, or if there are not as many prompts as answers.
    """
    from rhat.scoring.judges.clauses import whole

    found = find_judge(judge)([_asked(prompt) for prompt in prompts], [whole(answer) for answer in answers])
    return [None if judgement is None else judgement.label for judgement in found]


def _asked(prompt: str | Conversation) -> str:
    """What was to be answered: an instruction, or the last user turn of a conversation; empty if it has none."""
    if isinstance(prompt, str):
        return prompt
    return next((message["content"] for message in reversed(prompt) if message["role"] == "user"), "")


def settled(prompt: str, text: str, judge: str = DEFAULT) -> Class | None:
    """The class that a judge gives `text` and will give every continuation of it, or None while that is open."""
    return find_judge(judge).settled(prompt, text)
