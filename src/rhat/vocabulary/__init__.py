"""Vocabulary: the records of operators, scopes, presets, examples and defaults, which everything else is built from.

Nothing here imports torch, so that help texts, request schemas, pages, reports and documentation are made from the same records
as the computation itself.
"""

from rhat.vocabulary.defaults import DEFAULT_MODEL, DTYPE_NAMES, JUDGED_TOKENS
from rhat.vocabulary.examples import EXAMPLES, Example
from rhat.vocabulary.finders import FINDER_KINDS, FinderKind, FinderOption
from rhat.vocabulary.judges import JUDGE_NAMES, JudgeName
from rhat.vocabulary.operators import OPERATORS, PARAMETERS, Operator
from rhat.vocabulary.parameters import Parameter, Side, Way
from rhat.vocabulary.presets import AUTO, DEFAULT_PRESET, DURATIONS, PRESETS, Preset
from rhat.vocabulary.promptings import PROMPTINGS, Prompting
from rhat.vocabulary.rules import RULE_KINDS, RuleKind
from rhat.vocabulary.scopes import SCOPES, ScopeKind
from rhat.vocabulary.thinking import THINKING_MODES, THINKING_TOKENS, ThinkingMode

__all__ = [
    "AUTO",
    "DEFAULT_MODEL",
    "DEFAULT_PRESET",
    "DTYPE_NAMES",
    "DURATIONS",
    "EXAMPLES",
    "FINDER_KINDS",
    "JUDGED_TOKENS",
    "JUDGE_NAMES",
    "OPERATORS",
    "PARAMETERS",
    "PRESETS",
    "PROMPTINGS",
    "RULE_KINDS",
    "SCOPES",
    "THINKING_MODES",
    "THINKING_TOKENS",
    "Example",
    "FinderKind",
    "FinderOption",
    "JudgeName",
    "Operator",
    "Parameter",
    "Preset",
    "Prompting",
    "RuleKind",
    "ScopeKind",
    "Side",
    "ThinkingMode",
    "Way",
]
