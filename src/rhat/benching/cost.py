"""How long a bench will take on this machine, told before it begins."""

from __future__ import annotations

from rhat.benching.answering import searched_for
from rhat.benching.beside import STAGE as BESIDE
from rhat.benching.beside_cost import beside_work
from rhat.benching.dosing import STAGE
from rhat.benching.entries import ROWS, surroundings
from rhat.benching.gauging import gauge_settings
from rhat.benching.measure import CANDIDATES
from rhat.benching.rules import CHEAP
from rhat.benching.settings import TASKS, BenchSettings, Task
from rhat.directions import Direction
from rhat.directions.finders import FINDERS
from rhat.gauges.cost import gauges_work
from rhat.model.chat import ChatModel
from rhat.model.work import Work
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import LONG, Answers, Expected, search_work, survey_work
from rhat.selection.settings import FindSettings
from rhat.selection.told import Told, told_of
from rhat.vocabulary import OPERATORS, PROMPTINGS, RULE_KINDS

SEARCHES = 4.0  # rounds that a search of doses usually takes, at the first KL
FURTHER = 2.5  # and at each further one


def bench_work(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: BenchSettings,
    find_settings: FindSettings | None = None,
    answers: Answers = LONG,
) -> dict[str, Work]:
    """What each stage of a bench will compute."""
    given = Expected(model, prompts, direction.layer, answers)
    finding = surroundings(settings, find_settings or FindSettings.read_as(direction))
    found = survey_work(given, finding)
    if settings.compares:
        found |= _compared_work(given, direction, settings, finding)
    if "gauges" in settings.only:
        found["gauges"] = _gauges_work(model, prompts, direction, settings, finding, answers)
    return found


def _compared_work(
    given: Expected, direction: Direction, settings: BenchSettings, finding: FindSettings
) -> dict[str, Work]:
    """What each stage that compares edits will compute."""
    found: dict[str, Work] = {}
    model, prompts, answers = given.model, given.prompts, given.answers
    size = settings.size
    for label in ("harmful", "harmless"):
        given.scored(1, given.some(label, min(ROWS, finding.train or ROWS), "train"), stop=direction.layer, head=False)
    found[CANDIDATES] = given.lap()
    for rule in _searched_rules(settings, direction):
        work = search_work(
            Expected(model, prompts, direction.layer, answers), FindSettings(rule=rule, validation=finding.validation)
        )
        known = survey_work(
            Expected(model, prompts, direction.layer, answers), FindSettings(validation=finding.validation)
        )
        found[CANDIDATES] += sum((one for name, one in work.items() if name not in known), Work())
    rounds = SEARCHES + FURTHER * (len(settings.kls) - 1)
    searched = dict.fromkeys(searched_for(TASKS[task]) for task in settings.tasks)
    for name in searched:
        some = given.some(TASKS[name].label, size.searched, "validation")
        given.scored(1, some)
        given.scored(rounds * (_edits(settings, direction, TASKS[name]) + size.randoms), some, direction.layer)
    found[STAGE] = given.lap()
    for task in (TASKS[one] for one in settings.tasks):
        conditions = 1 + (_edits(settings, direction, task) + 1) * len(settings.kls)
        for label in task.tested:
            some = given.some(label, settings.sizes.tested(label))
            given.scored(1, some)
            given.answered(conditions, some, settings.judged_tokens, direction.layer)
            if "baselines" in settings.only and task.side == "refusal":
                for _ in PROMPTINGS:
                    given.answered(1, some, settings.judged_tokens)
    found["answers"] = given.lap()
    if settings.refusals_only:
        return found
    return found | {
        BESIDE: beside_work(given, settings, {name: _edits(settings, direction, TASKS[name]) for name in searched})
    }


def _gauges_work(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: BenchSettings,
    finding: FindSettings,
    answers: Answers,
) -> Work:
    """What the gauges take beside the survey that the bench has made."""
    stages = gauges_work(model, prompts, direction, gauge_settings(settings), finding, answers)
    known = survey_work(Expected(model, prompts, direction.layer, answers), finding)
    return sum((work for name, work in stages.items() if name not in known), Work())


def _searched_rules(settings: BenchSettings, direction: Direction) -> list[str]:
    """The rules that will search for candidates."""
    if "rules" not in settings.only:
        return []
    own = direction.extra.get("rule") if direction.method == "mean_difference" else None
    return [name for name in RULE_KINDS if name != own and (settings.searches or name in CHEAP)]


def _edits(settings: BenchSettings, direction: Direction, task: Task) -> int:
    """How many edits are given doses in a task, random directions aside: the reference, and what the parts offer."""
    n = 1
    if "finders" in settings.only:
        n += len(settings.finders or [name for name in FINDERS if name not in ("mean_difference", "given", "category")])
    if "rules" in settings.only:
        n += len(_searched_rules(settings, direction))
    if "operators" in settings.only:
        own = direction.method == "mean_difference"
        n += sum(
            o.way is not None and o.way.room(task.side, 90.0) > 0 and not (own and o.name in ("add", "subtract"))
            for o in OPERATORS.values()
        )
    return n


def told_of_bench(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: BenchSettings,
    find_settings: FindSettings | None = None,
    pieces: Pieces | None = None,
) -> Told | None:
    """How long a bench will take, if that is known."""
    return told_of(
        model, prompts, lambda answers: bench_work(model, prompts, direction, settings, find_settings, answers), pieces
    )
