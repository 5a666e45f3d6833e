"""Models: loading, templates, forward passes and hooks; the only package that knows the internals of transformers."""

from rhat.model import quiet as _quiet  # noqa: F401  # isort: skip

from rhat.model.chat import ChatModel
from rhat.model.edits import Chain, Edit, Edits, Read, merge
from rhat.model.forward import keep_base, last_logits
from rhat.model.layout import Layout
from rhat.model.loading import load
from rhat.model.plans import Plan, plan
from rhat.model.positions import NEVER, Scope, TokenContext
from rhat.model.tap import declared, tap

__all__ = [
    "NEVER",
    "Chain",
    "ChatModel",
    "Edit",
    "Edits",
    "Layout",
    "Plan",
    "Read",
    "Scope",
    "TokenContext",
    "declared",
    "keep_base",
    "last_logits",
    "load",
    "merge",
    "plan",
    "tap",
]
