"""Answers: prompts answered greedily under edits, and the answers judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.executor import Worker, cut
from rhat.generation import Completion
from rhat.model.edits import Edits
from rhat.model.plans import Plan
from rhat.scoring.drift import kl_divergence
from rhat.scoring.logodds import refusal_score
from rhat.scoring.phrases import BUILT_IN, Phrases
from rhat.scoring.reading import Judging, judged
from rhat.scoring.refusals import refusals
from rhat.scoring.tasks.prompts import Prompts, batches_with, empty_thoughts, planned, unedited
from rhat.vocabulary import JUDGED_TOKENS

# Rows at most that are answered in one piece: a place that becomes free is filled again, so that few wait.
ANSWERED = 256


@dataclass(frozen=True, eq=False)
class Answering:
    """How prompts are answered.

    tokens      refusal tokens, if the first token's scores are asked for
    kl_prompts  the first of all prompts, of which KL(base ‖ edited) of the next token is asked for
    stop_early  whether a row stops once its verdict is settled
    phrases     what answers are read with, where they are not judged
    harmless    whether what is answered may be written to disk with its words; else verdicts and numbers alone may
    judging     how answers are judged, if they are
    """

    tokens: tuple[int, ...] = ()
    kl_prompts: Prompts = ()
    max_new_tokens: int = JUDGED_TOKENS
    stop_early: bool = True
    phrases: Phrases = BUILT_IN
    harmless: bool = False
    judging: Judging | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Some prompts and what is done to them; `rows` says which of all prompts they are, `own` what is done to each alone."""

    rows: tuple[int, ...]
    prompts: Prompts
    edits: Edits
    own: tuple[Edits, ...] | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to the prompts `rows`; scores are NaN where none were asked for, kl where it was not.

    Where they are judged, verdicts are classes, and panel, hashes and shorter are as in `rhat.scoring.reading.Judged`.
    """

    rows: tuple[int, ...]
    completions: tuple[Completion, ...]
    verdicts: tuple[str, ...]
    scores: Float[Tensor, " n"]
    kl: Float[Tensor, " n"]
    panel: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    hashes: tuple[str, ...] = ()
    shorter: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def wordless(self) -> Answers:
        """The same without a word of the answers."""
        return replace(
            self, completions=tuple(replace(c, text="", tokens=(), block=(), thought="") for c in self.completions)
        )


def answer(worker: Worker, task: Answering, group: Group) -> Answers:
    """Greedy answers to a group of prompts, judged."""
    n = len(group.rows)
    scores, kl = (torch.full((n,), torch.nan, dtype=torch.float64) for _ in range(2))
    known = [row for row in group.rows if row < len(task.kl_prompts)]
    before = None
    if known:
        before = unedited(worker, task.kl_prompts, batches_with(planned(worker, task.kl_prompts), known))

    def first(which: list[int], logits: Tensor) -> None:
        if task.tokens:
            scores[which] = refusal_score(logits, task.tokens).cpu()
        if before is not None:
            at = [i for i, local in enumerate(which) if group.rows[local] in before.at]
            if at:
                base = before.of([group.rows[which[i]] for i in at]).to(logits.device)
                kl[[which[i] for i in at]] = kl_divergence(base, logits[at]).cpu()

    if empty := empty_thoughts(worker.model):  # answers begin with a think block, scores are those of the answer itself
        asked = [(*prompt, *empty) for prompt in group.prompts]
        refusals(
            worker.model.at_once, asked, group.edits, first_logits=first, max_new_tokens=1, edits_per_prompt=group.own
        )
    done = refusals(
        worker.model,
        group.prompts,
        group.edits,
        first_logits=None if empty else first,
        max_new_tokens=task.max_new_tokens,
        stop_early=task.stop_early,
        phrases=task.phrases,
        progress=lambda finished, _total: worker.tell(finished),
        edits_per_prompt=group.own,
    )
    if task.judging is None:
        return Answers(group.rows, done.completions, done.verdicts, scores, kl)
    read = judged(worker, task.judging, group.rows, done.completions)
    return Answers(group.rows, done.completions, read.classes, scores, kl, read.panel, read.hashes, read.shorter)


def groups(
    plan: Plan, shards: Sequence[range], edits: Edits, own: Sequence[Sequence[Edits]] | None = None
) -> list[Group]:
    """The prompts of a plan in groups, each in the prompts' order, within the shards of its batches and of 256 rows at most.

    `own` holds the conditions under which each prompt is answered: the edits that each deals out to the prompts in turn.
    A group then holds its prompts once for each condition, one condition after the other.
    """
    most = max(1, ANSWERED // len(own or ((),)))
    found = []
    for shard in shards:
        all_rows = sorted(row for i in shard for row in plan.batches[i].rows.tolist())
        for some in cut([range(len(all_rows))], most):
            rows = tuple(all_rows[i] for i in some)
            prompts = tuple(plan.prompts[row] for row in rows)
            if own is None:
                found.append(Group(rows, prompts, edits))
                continue
            dealt = tuple(each[row % len(each)] for each in own for row in rows)
            found.append(Group(rows * len(own), prompts * len(own), edits, dealt))
    return found
