"""Splits of one label's prompts by whole topics."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from rhat.errors import PromptError
from rhat.prompts.contrast import SPLITS, Prompt, Split, spread_topics

logger = logging.getLogger(__name__)

MINIMUM: dict[Split, int] = {"train": 4, "validation": 2, "calibration": 0, "test": 2}
FEWEST = sum(MINIMUM.values())  # prompts of a label


def split_sizes(n: int) -> dict[Split, int]:
    """Sizes aimed at for `n` prompts of a label; they add up to `n`.

    From 640 prompts on: 256 for training, 64 for validation, 64 for calibration and the rest, at least 256,
    for testing. Below that about 40 %, 10 %, 10 % and 40 %, with no calibration prompts below 20, and never
    fewer than 4 for training, 2 for validation and 2 for testing.

    Raises:
        PromptError: if `n` is below 8.
    """
    if n < FEWEST:
        raise PromptError(f"got {n} prompts of a label, expected at least {FEWEST}; add prompts")
    if n >= 640:
        train, validation, calibration = 256, 64, 64
    else:
        train = max(MINIMUM["train"], round(0.4 * n))
        validation = max(MINIMUM["validation"], round(0.1 * n))
        calibration = round(0.1 * n) if n >= 20 else 0
    rest = n - train - validation - calibration
    return {"train": train, "validation": validation, "calibration": calibration, "test": rest}


def split_by_topic(prompts: Sequence[Prompt], seed: int, source: str) -> tuple[Prompt, ...]:
    """Give each prompt of one label its split, so that no topic is in two; prompts keep their order.

    The rule: topics are put in a seeded order that is balanced over categories (`spread_topics`). Training,
    validation and calibration in turn take every topic that still fits whole; what is then missing to the
    exact size comes from the smallest topic left, whose other prompts are left out of the set. Testing takes
    the topics that remain. So all sizes but the last are exact, and in topics of three at most six prompts of
    a label are lost. Where large topics would leave a split below its minimum, the largest topics are placed
    first, and if that does not do there is no calibration split. The `split` that prompts come with is not
    looked at.

    Raises:
        PromptError: if there are fewer than 8 prompts, or too few topics; `source` names them in the message.
    """
    if len(prompts) < FEWEST:
        raise PromptError(f"{source}: got {len(prompts)} different prompts, expected at least {FEWEST}; add prompts")
    topics = spread_topics(prompts, seed)
    sizes = split_sizes(len(prompts))
    largest_first = sorted(topics, key=len, reverse=True)
    for order, aim in (
        (topics, sizes),
        (largest_first, sizes),
        (largest_first, {**sizes, "calibration": 0}),
    ):
        filled = _fill(order, aim)
        if all(len(filled[split]) >= MINIMUM[split] for split in SPLITS):
            break
    else:
        raise PromptError(
            f"{source}: {len(prompts)} prompts in {len(topics)} topics (near-duplicates count as one), "
            f"the largest of {len(largest_first[0])}, cannot be put into train, validation and test; "
            "add other topics, or give each row a `topic` of its own"
        )
    split_of: dict[str, Split] = {p.id: split for split, members in filled.items() for p in members}
    if len(split_of) < len(prompts):
        logger.info("%s: left out %d prompts of topics cut short", source, len(prompts) - len(split_of))
    return tuple(replace(p, split=split_of[p.id]) for p in prompts if p.id in split_of)


def _fill(topics: Sequence[tuple[Prompt, ...]], sizes: dict[Split, int]) -> dict[Split, list[Prompt]]:
    left = list(topics)
    filled: dict[Split, list[Prompt]] = {}
    for split in ("train", "validation", "calibration"):
        room = sizes[split]
        taken: list[Prompt] = []
        too_large: list[tuple[Prompt, ...]] = []
        for topic in left:
            if len(topic) <= room - len(taken):
                taken += topic
            else:
                too_large.append(topic)
        missing = room - len(taken)
        if missing and too_large:
            smallest = min(range(len(too_large)), key=lambda i: len(too_large[i]))
            taken += too_large.pop(smallest)[:missing]
        filled[split] = taken
        left = too_large
    filled["test"] = [prompt for topic in left for prompt in topic]
    return filled
