"""Capability: a small set of questions with one right option each, to see what else an intervention moves.

`capability(model, intervention)` gives accuracy by category with intervals; docs/capability.md is the data card.
"""

from rhat.scoring.capability.items import CATEGORIES, Item, capability_items, some_items
from rhat.scoring.capability.measure import answered_right, capability
from rhat.scoring.capability.options import option_scores
from rhat.scoring.capability.rows import CapabilityRow, capability_rows

__all__ = [
    "CATEGORIES",
    "CapabilityRow",
    "Item",
    "answered_right",
    "capability",
    "capability_items",
    "capability_rows",
    "option_scores",
    "some_items",
]
