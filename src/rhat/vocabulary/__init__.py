"""Vocabulary: the records of operators, scopes and defaults, which everything else is built from.

Nothing here imports torch, so that help texts, request schemas, pages, reports and documentation are made from the same records
as the computation itself.
"""

from rhat.vocabulary.defaults import DEFAULT_MODEL
from rhat.vocabulary.operators import OPERATORS, PARAMETERS, Operator, Parameter
from rhat.vocabulary.scopes import SCOPES, ScopeKind

__all__ = ["DEFAULT_MODEL", "OPERATORS", "PARAMETERS", "SCOPES", "Operator", "Parameter", "ScopeKind"]
