"""How long the two gauges will take on this machine, told before they begin."""

from __future__ import annotations

from rhat.directions import Direction
from rhat.gauges.inversion import ORDERS
from rhat.gauges.making import GAUGES, SIDES
from rhat.gauges.measure import LABELS
from rhat.gauges.pair import RANDOMS, TRAINED
from rhat.gauges.settings import GaugeSettings
from rhat.model.chat import ChatModel
from rhat.model.work import Work
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import LONG, Answers, Expected, survey_work
from rhat.selection.settings import FindSettings
from rhat.selection.told import Told, told_of


def gauges_work(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: GaugeSettings,
    find_settings: FindSettings | None = None,
    answers: Answers = LONG,
) -> dict[str, Work]:
    """What each stage will compute."""
    given = Expected(model, prompts, direction.layer, answers)
    found = survey_work(given, find_settings or FindSettings.read_as(direction))
    layer = direction.layer if settings.layer is None else settings.layer
    for label in SIDES:
        some = prompts.select(label, "train", TRAINED)  # type: ignore[arg-type]
        given.scored(2, some, stop=layer, head=False)
        given.scored(1, some, stop=direction.layer, head=False)
    found["two directions"] = given.lap()
    for label in LABELS:
        some = given.some(label, settings.sizes.tested(label))
        given.answered(1 + (len(GAUGES) + 1) * (label in SIDES), some, settings.judged_tokens, direction.layer)
        for question in ORDERS:
            asked = [f"{question}\n\n{p.text}" for p in some]
            given.scored(1, asked)
            given.scored(int(label in SIDES), asked, stop=direction.layer, head=False)  # kept: what is below the edits
            given.scored((len(GAUGES) + RANDOMS) * (label in SIDES), asked, direction.layer)
        given.scored(1, some, stop=layer, head=False)
        given.scored(2, some, stop=direction.layer, head=False)
    found["answers and judgements"] = given.lap()
    return found


def told_of_gauges(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: GaugeSettings,
    find_settings: FindSettings | None = None,
    pieces: Pieces | None = None,
) -> Told | None:
    """How long it will take, if that is known."""
    return told_of(
        model, prompts, lambda answers: gauges_work(model, prompts, direction, settings, find_settings, answers), pieces
    )
