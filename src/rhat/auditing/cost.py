"""How long an audit will take on this machine, told before it begins."""

from __future__ import annotations

from rhat.auditing.measure import LABELS
from rhat.auditing.settings import SEARCHED, AuditSettings
from rhat.directions import Direction
from rhat.lab.matching import ROUNDS
from rhat.model.chat import ChatModel
from rhat.model.work import Work
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import LONG, Answers, Expected, survey_work
from rhat.selection.settings import FindSettings
from rhat.selection.told import Told, told_of

SEARCHES = ROUNDS - 1  # rounds that a search of doses usually takes
ADDED = 3  # the vector, the cleaned one, and r̂


def audit_work(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    vector: Direction,
    settings: AuditSettings,
    find_settings: FindSettings | None = None,
    answers: Answers = LONG,
) -> dict[str, Work]:
    """What each stage of an audit will compute."""
    given = Expected(model, prompts, direction.layer, answers)
    found = survey_work(given, find_settings or FindSettings.read_as(direction))
    sizes, lowest = settings.sizes, min(direction.layer, vector.layer)
    searched = given.some("harmless", SEARCHED, "validation")
    given.scored(1, searched)
    given.scored(1, searched, vector.layer)  # the same dose
    given.scored(SEARCHES * ADDED, searched, lowest)
    given.scored(SEARCHES * settings.randoms, searched, vector.layer)
    found["doses of equal KL"] = given.lap()
    for label in LABELS:
        given.answered(ADDED + 3, given.some(label, sizes.tested(label)), settings.judged_tokens, lowest)
    found["answers"] = given.lap()
    for label in LABELS:
        few = given.some(label, min(sizes.sweep, sizes.tested(label)))
        given.scored(1, few)
        given.scored(settings.randoms, few, vector.layer)
    found["random directions"] = given.lap()
    return found


def told_of_audit(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    vector: Direction,
    settings: AuditSettings,
    find_settings: FindSettings | None = None,
    pieces: Pieces | None = None,
) -> Told | None:
    """How long an audit will take, if that is known."""
    return told_of(
        model,
        prompts,
        lambda answers: audit_work(model, prompts, direction, vector, settings, find_settings, answers),
        pieces,
    )
