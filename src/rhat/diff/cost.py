"""What a comparison will compute in both models, told before it begins."""

from __future__ import annotations

from collections.abc import Mapping

from rhat.diff.settings import MEAN_PROMPTS, DiffSettings
from rhat.directions import Direction
from rhat.model.chat import ChatModel
from rhat.model.work import Work
from rhat.prompts import LABELS, ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import LONG, Answers, Expected, search_work
from rhat.selection.settings import FindSettings
from rhat.selection.survey import SIDES
from rhat.selection.told import Told, told_of

NOTE = "; B is taken to be as fast as A, and loading is not counted"


def diff_work(
    model: ChatModel,
    prompts: ContrastSet,
    settings: DiffSettings,
    search: FindSettings,
    given: tuple[Direction | None, Direction | None] = (None, None),
    *,
    answers: Answers = LONG,
) -> dict[str, Work]:
    """What each stage will compute, both models taken to be like this one; lengths in weights are not counted."""
    expected = Expected(model, prompts, answers=answers)
    found: dict[str, Work] = {}
    for side, direction in zip("AB", given, strict=True):
        stages: Mapping[str, Work] = {} if direction is not None else search_work(expected, search)
        found |= {f"{side}: {stage}": work for stage, work in stages.items()}
        for label in LABELS:
            expected.answered(1, expected.some(label, settings.sizes.tested(label)), settings.judged_tokens)
        found[f"{side}: answers"] = expected.lap()
        for label in SIDES:
            expected.scored(1, expected.some(label, MEAN_PROMPTS, "train", kept=False))
        found[f"{side}: means"] = expected.lap()
        for _ in "AB":
            for label in LABELS:
                some = expected.some(label, settings.sizes.tested(label))
                expected.scored(1, some, stop=expected.layer, head=False)
            expected.answered(1, expected.some("harmless", settings.sizes.sweep), settings.judged_tokens)
        found[f"{side}: both r̂"] = expected.lap()
    return found


def told_of_diff(
    model: ChatModel,
    prompts: ContrastSet,
    settings: DiffSettings,
    search: FindSettings,
    given: tuple[Direction | None, Direction | None],
    pieces: Pieces | None,
) -> Told | None:
    """How long a comparison will take, if that is known."""
    return told_of(
        model,
        prompts,
        lambda answers: diff_work(model, prompts, settings, search, given, answers=answers),
        pieces,
        NOTE,
    )
