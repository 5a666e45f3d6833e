"""Behaviour: which refusal score tells that a prompt is refused, fitted on answers to training prompts, and both targets t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rhat.directions import Direction
from rhat.executor import Executor
from rhat.model.chat import ChatModel
from rhat.prompts import Prompt
from rhat.scoring import tasks

ENOUGH = 5  # refused and other answers to harmful prompts from which on the threshold is fitted on these alone


def fitted_threshold(scores: np.ndarray, refused: np.ndarray) -> float:
    """The refusal score (nats) that best tells refused prompts from others: the largest Youden index.

    Sensitivity plus specificity of "score above it", over all midpoints of neighbouring scores; of several that are as
    good, the one in the widest gap. 0, where the first token is as likely to refuse as not, where only one kind is there.
    """
    if refused.all() or not refused.any():
        return 0.0
    order = np.unique(scores)
    if len(order) == 1:
        return 0.0
    middles, gaps = (order[1:] + order[:-1]) / 2, np.diff(order)
    above = scores[None] > middles[:, None]
    gain = above[:, refused].mean(1) - above[:, ~refused].mean(1)
    best = np.flatnonzero(np.isclose(gain, gain.max()))
    return float(middles[best[np.argmax(gaps[best])]])


def behaviour_threshold(scores: np.ndarray, refused: np.ndarray, harmful: np.ndarray) -> float:
    """`fitted_threshold` on harmful prompts alone where enough of them are refused and enough are not, else on both labels.

    Between the labels scores lie far apart whatever is answered; what the filter has to tell is which harmful prompts are
    refused.
    """
    within = refused[harmful]
    if min(int(within.sum()), int((~within).sum())) >= ENOUGH:
        return fitted_threshold(scores[harmful], within)
    return fitted_threshold(scores, refused)


def mean_over_all(model: ChatModel, direction: Direction, prompts: Sequence[Prompt], executor: Executor) -> float:
    """The other target t: mean projection (residual units) of all harmful training prompts, kept by the filter or not."""
    plan = model.plan([p.text for p in prompts])
    asked = tasks.Reading(plan.prompts, (direction.layer,), direction.position, {})
    parts = executor.map(tasks.read, model, asked, executor.split(len(plan.batches)))
    return float(np.concatenate([direction.project(found[:, 0]).double().numpy() for _, found in parts]).mean())
