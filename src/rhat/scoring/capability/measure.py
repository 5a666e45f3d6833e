"""What is measured: on how many items the right option is the likeliest, with an intervention and without."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from rhat.executor import Progress
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.protocol import AnyIntervention
from rhat.scoring.capability.items import Item, capability_items
from rhat.scoring.capability.options import option_scores
from rhat.scoring.capability.rows import MARGIN, CapabilityRow, capability_rows


def capability(
    model: ChatModel,
    intervention: AnyIntervention | Edits | None = None,
    *,
    before: Sequence[bool] | None = None,
    margin: float = MARGIN,
    progress: Progress | None = None,
) -> tuple[CapabilityRow, ...]:
    """Accuracy on 240 questions by category with intervals; under an intervention, paired differences from the unedited model too.

    Four categories of 60 items written for this project: arithmetic, cloze, format-following, general knowledge. An item is answered rightly if its right option has
    the highest mean log-probability a token after the chat prompt (`option_scores`). `before` is `answered_right(model)`, where
    that is known: the unedited model is then not run again.
    """
    items = capability_items()
    if intervention is not None and before is None:
        before = answered_right(model, progress=progress)
    right = answered_right(model, intervention, progress=progress)
    return capability_rows(items, right, None if intervention is None else before, margin)


def answered_right(
    model: ChatModel,
    intervention: AnyIntervention | Edits | None = None,
    items: Sequence[Item] | None = None,
    *,
    progress: Progress | None = None,
) -> list[bool]:
    """Of each item, whether the right option is likelier than every other; a tie is no answer."""
    items = capability_items() if items is None else items
    return right_of(items, option_scores(model, items, intervention, of_right=True, progress=progress))


def right_of(items: Sequence[Item], scores: Sequence[Float[Tensor, " options"]]) -> list[bool]:
    """Of each item, whether the right option's score is higher than every other."""
    return [
        all(float(mine[item.right]) > float(score) for i, score in enumerate(mine) if i != item.right)
        for item, mine in zip(items, scores, strict=True)
    ]
