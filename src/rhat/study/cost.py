"""What a study will compute, stage by stage, in the ledger's own arithmetic, before any of it is done.

Each experiment has a row here. It says how many conditions are run on how many prompts, not what they are: a test holds every
row against the ledger of a study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rhat.directions import FINDERS
from rhat.lab.pairs import REQUESTS
from rhat.lab.ranked import OPERATORS, PROMPTS, SEARCHED
from rhat.lab.ranked import ROUNDS as SEARCHES
from rhat.lab.tuning import DOSES, FINALISTS
from rhat.model.chat import ChatModel
from rhat.model.work import Work
from rhat.prompts import ContrastSet, statements
from rhat.questions.dose_response.measure import SHARES
from rhat.questions.heads.measure import CONFIRMED, DRAWS, GREEDY_PROMPTS, GREEDY_STEPS, KS, SHORTLIST
from rhat.questions.horizon.measure import PROMPTS as HORIZON_PROMPTS
from rhat.questions.horizon.measure import horizons
from rhat.questions.scopes.measure import SCOPES
from rhat.questions.stability.measure import ROUNDS
from rhat.selection.cost import LONG, Answers, Expected, search_work
from rhat.selection.settings import FindSettings
from rhat.selection.survey import SIDES
from rhat.study.asked import Asked
from rhat.study.audit import AUDIT_TOKENS, AUDITED
from rhat.study.config import StudyConfig


def induce(a: Asked) -> None:
    """Five conditions by generation, random and permuted directions by log-odds."""
    x, layer = a.given, a.given.layer
    for name in ("baseline", "set_projection"):
        a.once((name, "harmless"))
    x.answered(5, a.head("harmless"), a.tokens, layer)
    x.scored(1, a.head("harmless"))  # the logits that KL is taken from
    a.training()
    x.scored(1, a.sweep())
    x.scored(a.sizes.randoms + 5, a.sweep(), layer)
    x.scored(1, a.head("harmless"), stop=layer, head=False)


def layers(a: Asked) -> None:
    """Setting and adding at every layer, and adding at eight doses."""
    x = a.given
    a.testing()
    x.scored(1, a.sweep())
    for layer in range(1, x.model.n_layers):
        x.scored(2, a.sweep(), layer)
    x.scored(1, a.sweep(), stop=x.layer, head=False)
    x.scored(9, a.sweep(), x.layer)


def suppress(a: Asked) -> None:
    """Four conditions by generation, random ablations by log-odds, and what ablating does to harmless prompts."""
    x = a.given
    a.once(("baseline", "harmful"))
    x.answered(4, a.head("harmful"), a.tokens)
    x.scored(min(5, a.sizes.dealt), a.sweep("harmful"))
    x.answered(2, a.sweep(), a.tokens)
    x.scored(1, a.sweep())
    few = a.sweep()[: max(1, len(a.sweep()) // 2)]
    if few:
        said = round(x.answers.of_at_most(a.tokens))
        longer = max(len(p) + said for p in x.plan(few).prompts) / (sum(map(len, x.plan(few).prompts)) / len(few))
        x.scored(3 * longer, few, head=False)


def damage(a: Asked) -> None:
    """Ablating and subtracting at their own layer and at all, on both labels, with three steps towards each damage."""
    x = a.given
    a.testing()
    for label in SIDES:
        x.scored(1, a.sweep(label))
        x.scored(11, a.sweep(label), x.layer)
        x.scored(9, a.sweep(label))
    x.scored(2, a.head("harmful"), x.layer)


def projections(a: Asked) -> None:
    """Activations of both labels, and the baseline on harmful prompts."""
    x = a.given
    a.training()
    a.testing()
    x.scored(1, a.sweep("harmful", 6), stop=x.layer, head=False)
    x.scored(1, a.sweep("harmless", 6), stop=x.layer, head=False)
    a.measured("baseline", "harmful")
    x.scored(1, a.head("harmful"), stop=x.layer, head=False)


def scopes(a: Asked) -> None:
    """Setting under each scope, by generation; under all tokens it was measured."""
    n = max(a.sizes.sweep, 96)
    new = len(SCOPES) - (not a.once(("set_projection", "harmless")))
    a.given.answered(new, a.sweep("harmless", n), a.tokens, a.given.layer)


def repe(a: Asked) -> None:
    """Doses at five places and of setting on validation prompts, finalists by generation, the best ones, and the factorial."""
    x, places, wider = a.given, 5, 2  # ranges of layers; doses by which a grid is usually widened
    a.training()
    few = x.some("harmless", 32, "validation")
    x.scored(1, few)
    x.scored(places * len(DOSES) + wider, few, x.layer // 2)
    x.scored(len(DOSES) + wider, few, x.layer)
    for _ in range(FINALISTS + wider):
        x.answered(1, few, a.tokens)
    for _ in range(len(DOSES) + wider):
        x.answered(1, few, a.tokens, x.layer)
    x.scored(2, few, x.layer // 2)
    a.measured("baseline", "harmless")
    a.measured("set_projection", "harmless", x.layer)
    for name in ("repe_add", "set_tuned", "repe_equal_damage"):
        a.measured(name, "harmless")
    some = a.sweep("harmless", min(32, a.sizes.sweep))
    x.scored(1, some)
    x.scored(24, some, x.layer - 1)
    x.at_last_tokens(24, some, x.layer - 1)


def controls(a: Asked) -> None:
    """Four kinds of control direction under each operator: doses on validation prompts, effects on test prompts."""
    x, n = a.given, a.sizes.randoms
    a.training()
    categories = len({p.category for p in x.some("harmless", 256, "train") if p.category})
    many = 3 * n + min(n, categories * (categories - 1) // 2)  # the fourth kind is the difference of two categories
    few = x.some("harmless", SEARCHED, "validation")
    for op in OPERATORS.get(a.sizes.name, ("set_projection", "add", "ablate")):
        start = 0 if op == "ablate" else x.layer
        some = a.sweep("harmful" if op == "ablate" else "harmless", min(a.sizes.sweep, PROMPTS))
        x.scored(1, few)
        x.scored(1 + SEARCHES * many, few, start)
        x.scored(1, some)
        x.scored(2 * (1 + many), some, start)


def heads(a: Asked) -> None:
    """Attribution on training prompts, greedy choice, the curve by log-odds, and the fewest by generation."""
    x = a.given
    for label in SIDES:
        x.scored(1, x.some(label, 128, "train"), stop=x.layer, head=False)
    layout = x.model.layout
    below = layout.n_heads * sum(layer < x.layer for layer in layout.with_heads)
    if not below:
        return
    short, tested = min(SHORTLIST, below), [k for k in CONFIRMED if k <= below]
    steps = [short - i for i in range(min(GREEDY_STEPS, short))]
    sets = sum(k <= below for k in KS) + sum(k <= len(steps) for k in KS) + DRAWS * len(tested)
    validation = x.some("harmless", GREEDY_PROMPTS, "validation")
    x.scored(1, validation)
    x.at_last_tokens(sum(steps), validation, x.layer // 2)
    x.scored(2, a.sweep())
    x.at_last_tokens(sets, a.sweep(), x.layer // 2)
    a.measured("baseline", "harmless")
    x.answered(2, a.head("harmless"), a.tokens, x.layer // 2)
    x.answered(3 * len(tested) - 3, a.sweep(), a.tokens, x.layer // 2)


def finders(a: Asked) -> None:
    """Every finder by generation, and CCS on pairs of requests and of statements."""
    x = a.given
    a.training()
    a.testing()
    x.answered(len(FINDERS) + 1, a.sweep(), a.tokens, x.layer)
    half = REQUESTS // 2
    both = [p for label in SIDES for p in (*x.some(label, half, "train"), *a.sweep(label, half))]
    asked = [f"{p.text}\n\nShould this request be refused? Answer Yes or No. Yes" for p in both]
    asked += [
        f"{text}\n\nIs this statement true? Answer Yes or No. Yes"
        for fact in statements()
        for text in (fact.true, fact.false)
    ]
    x.scored(2, asked, stop=x.model.n_layers - 1, head=False)


def stability(a: Asked) -> None:
    """Rounds of ablating what was found and finding again."""
    x = a.given
    a.training()
    x.scored(1 + ROUNDS, a.sweep())
    x.scored(1 + ROUNDS, a.sweep(), x.layer)
    x.scored(1 + ROUNDS, a.sweep("harmful"))
    for label in SIDES:
        x.scored(ROUNDS, x.some(label, 128, "train"), stop=x.layer, head=False)


def dose_response(a: Asked) -> None:
    """Setting to many targets by generation, adding by log-odds."""
    x = a.given
    new = len(SHARES) - (not a.once(("set_projection", "harmless")))
    x.answered(new, a.sweep(), a.tokens, x.layer)
    x.scored(2, a.sweep())
    x.scored(len(SHARES), a.sweep(), x.layer)


def horizon(a: Asked) -> None:
    """Four conditions with longer answers."""
    most = horizons(a.tokens, a.sizes.horizon)[-1]
    for label in SIDES:
        for _ in range(2):
            a.given.answered(1, a.sweep(label, min(a.sizes.sweep, HORIZON_PROMPTS)), most)


def over_refusal(a: Asked) -> None:
    """Four conditions on borderline prompts."""
    some = a.head("borderline")
    a.given.answered(4, some, a.tokens)
    a.given.scored(2, some, stop=a.given.layer, head=False)


def guard(a: Asked) -> None:
    """Projections of calibration prompts, and setting on harmful ones."""
    x = a.given
    a.testing()
    for label in SIDES:
        x.scored(1, x.some(label, None, "calibration", kept=False), stop=x.layer, head=False)
    x.scored(1, a.head("borderline"), stop=x.layer, head=False)
    for label in SIDES:
        a.measured("baseline", label)
        a.measured("set_projection", label, x.layer)


def audit(a: Asked) -> None:
    """Two conditions with longer answers."""
    for _ in range(2):
        a.given.answered(1, a.sweep("harmless", AUDITED), AUDIT_TOKENS)


def pca(a: Asked) -> None:
    """Activations of test prompts."""
    a.testing()


EXPERIMENTS: dict[str, Callable[[Asked], None]] = {
    f.__name__: f
    for f in (
        *(induce, controls, layers, suppress, damage, projections, scopes, repe, heads, finders, stability),
        *(dose_response, horizon, over_refusal, guard, audit, pca),
    )
}
"""What each experiment asks for; one that is not here costs nothing that is known."""


def study_work(
    config: StudyConfig, model: ChatModel, prompts: ContrastSet, *, answers: Answers = LONG, layer: int = -1
) -> dict[str, Work]:
    """What each stage of a study will compute.

    `answers` says how long the model's answers are, `layer` is r̂'s where it is known. Models differ in how many
    candidates stay in the race and in how many prompts they refuse: what they do is assumed to be what is usual.
    """
    given = Expected(model, prompts, layer, answers)
    sizes = config.sizes
    found = search_work(given, find_settings(config))
    asked = Asked(given, sizes, config.judged_tokens)
    for name in config.experiments:
        if name in EXPERIMENTS:
            EXPERIMENTS[name](asked)
            found[name] = given.lap()
    return found


def find_settings(config: StudyConfig) -> FindSettings:
    """How a study looks for r̂."""
    sizes = config.sizes
    settings = FindSettings(
        train=sizes.train,
        validation=sizes.validation,
        all_kl=sizes.all_kl,
        phrases=config.phrases,
        refusal_tokens=config.refusal_tokens,
        judged_tokens=config.judged_tokens,
    )
    if sizes.train is not None:
        settings = replace(settings, token_prompts=min(settings.token_prompts, sizes.train // 4))
    return settings
