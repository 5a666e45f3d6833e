"""Models: loading, templates, forward passes and hooks; the only package that knows the internals of transformers."""

from rhat.model import quiet as _quiet  # noqa: F401  # isort: skip

from rhat.model.chat import ChatModel
from rhat.model.clean_run import CleanRun, cache_clean_run
from rhat.model.decoder import Decoder
from rhat.model.edits import Chain, Edit, Edits, Read, merge
from rhat.model.layout import Layout
from rhat.model.loading import load
from rhat.model.logits import last_logits
from rhat.model.plans import Plan, plan
from rhat.model.positions import BEYOND, Scope, TokenContext
from rhat.model.tap import declared, tap

__all__ = [
    "BEYOND",
    "Chain",
    "ChatModel",
    "CleanRun",
    "Decoder",
    "Edit",
    "Edits",
    "Layout",
    "Plan",
    "Read",
    "Scope",
    "TokenContext",
    "cache_clean_run",
    "declared",
    "last_logits",
    "load",
    "merge",
    "plan",
    "tap",
]
