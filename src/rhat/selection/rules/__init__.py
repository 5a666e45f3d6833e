"""Selection rules: each a function of the candidates of a search that measures what it goes by and chooses one.

A new rule is one function in a file here and one record in `rhat.vocabulary.rules`. A function named NAME_cost beside it, if there
is one, says how much it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rhat.errors import StudyError
from rhat.selection.choice import Choice
from rhat.vocabulary import RULE_KINDS

Rule = Callable[[Any], Choice]
"""A rule: it is given a `rhat.selection.search.Field`, the candidates of a search, and measures what it goes by."""


def check_rule(name: str) -> str:
    """The name of a rule.

    Raises:
        StudyError: if there is none of that name, with those there are.
    """
    if name not in RULE_KINDS:
        raise StudyError(f"rule {name!r}: expected one of {', '.join(RULE_KINDS)}")
    return name


def rule_named(name: str) -> Rule:
    """The rule of that name.

    Raises:
        StudyError: if there is none.
    """
    found: Rule = getattr(_module(name), name)
    return found


def cost_of(name: str) -> Callable[..., None] | None:
    """What says how much the rule of that name computes, `(expected, settings, harmful, harmless)`; None where nothing does."""
    found: Callable[..., None] | None = getattr(_module(name), f"{name}_cost", None)
    return found


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{RULE_KINDS[check_rule(name)].module}")
