"""Baselines that are not steering: asking the model to refuse in words, on the same prompts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rhat.benching.entries import Bench, Left
from rhat.errors import TemplateError
from rhat.lab.measurement import KL_PROMPTS, Measurement
from rhat.model.template import ChatPrompt
from rhat.prompts import UNSAFE, Label
from rhat.scoring import tasks
from rhat.vocabulary import PROMPTINGS, Prompting


def baselines(bench: Bench, label: Label, n: int) -> tuple[dict[str, Measurement], list[Left]]:
    """Answers to the first n test prompts of a label under each prompting, by condition, and those that it has none of.

    KL is that of the next token against the plain prompt: KL(plain ‖ prompted). It is reported, not matched.
    """
    found: dict[str, Measurement] = {}
    left: list[Left] = []
    for name, prompting in PROMPTINGS.items():
        try:
            found[f"prompting:{name}"] = _answered(bench, prompting, label, n)
        except TemplateError as error:  # a template that takes no system prompt
            left.append(Left("prompting", name, str(error)))
    return found, left


def asking(bench: Bench) -> dict[str, Callable[[str], ChatPrompt]]:
    """How a request is put under each prompting that the model's template takes, by condition."""
    own = bench.lab.model.template.system
    found: dict[str, Callable[[str], ChatPrompt]] = {}
    for name, prompting in PROMPTINGS.items():
        put = partial(_put, prompting, own)
        try:
            bench.lab.model.tokenize([put("Name a river.")])
        except TemplateError:  # left out, with the reason, where answers are asked for
            continue
        found[f"prompting:{name}"] = put
    return found


def _put(prompting: Prompting, own: str | None, text: str) -> ChatPrompt:
    return prompting.before(text, own)


def _answered(bench: Bench, prompting: Prompting, label: Label, n: int) -> Measurement:
    lab = bench.lab
    condition, prompts = f"prompting:{prompting.name}", lab.test(label, n)
    own = lab.model.template.system
    plan = lab.model.plan([prompting.before(p.text, own) for p in prompts])
    asked = tasks.Answering(
        lab.tokens,
        lab.plan(label, len(prompts)).prompts[:KL_PROMPTS],
        lab.judged_tokens,
        stop_early=False,
        harmless=label not in UNSAFE,
        judging=lab.judging(prompts),
    )
    groups = tasks.groups(plan, lab.executor.split(len(plan.batches)), {})
    [found] = lab.answered([condition], label, prompts, asked, groups, f"{condition}, {label}")
    return found
