"""Judges that are named in `JUDGES` before what they need is there: a model under study, or an encoder."""

from __future__ import annotations

from collections.abc import Sequence

from rhat.errors import JudgeError
from rhat.scoring.judges.judge import Class, Judge, Judgement


def score_class(score: float, threshold: float) -> Class:
    """The class by `score`: `refused` above the threshold (nats), else `complied`; the first token tells no other class."""
    return "refused" if score > threshold else "complied"


def _score(prompts: Sequence[str], answers: Sequence[str]) -> list[Judgement | None]:
    raise JudgeError(
        "judge score: it reads the log-odds of the model under study, not texts; every `rhat study` shows it beside the default judge"
    )


def _model(prompts: Sequence[str], answers: Sequence[str]) -> list[Judgement | None]:
    raise JudgeError("judge model: there is no model under study here; name one, as in model:qwen2.5-coder-0.5b")


def _embedding(prompts: Sequence[str], answers: Sequence[str]) -> list[Judgement | None]:
    raise JudgeError("judge embedding: ask find_judge for it, which loads its encoder")


SCORE = Judge("score", "1", "a study", _score)
MODEL = Judge("model", "1", "a chat model: the one under study, or model:NAME", _model)
EMBEDDING = Judge("embedding", "1", "the extra rhat[judge], or an encoder: embedding:NAME", _embedding)
