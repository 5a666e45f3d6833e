"""Completions of many prompts, by an engine that is kept full."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rhat.errors import PromptError
from rhat.generation.choosing import greedy, sample_per_request
from rhat.generation.engine import Engine
from rhat.generation.prefilling import by_length
from rhat.generation.rows import Choose, Request, Row
from rhat.model.chat import ChatModel
from rhat.model.completion import Completion
from rhat.model.edits import Edits
from rhat.model.plans import TokenIds
from rhat.model.protocol import AnyIntervention, PerPrompt, edits_per_prompt
from rhat.model.sampling import Sampling
from rhat.model.template import ChatPrompt

SLOTS = 128  # rows that are decoded at once: a step's products reach their speed with that many


def generate_tokens(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    edits: Edits | None = None,
    *,
    max_new_tokens: int = 24,
    until: Callable[[str], bool] | None = None,
    n_slots: int = SLOTS,
    progress: Callable[[int, int], None] | None = None,
    choose: Choose = greedy,
    ignore_eos: bool = False,
    edits_per_prompt: Sequence[Edits | None] | None = None,
    sampling: Sampling | None = None,
) -> list[Completion]:
    """Completions of tokenised prompts, in their order; greedy unless `choose` and `sampling` say otherwise.

    Prompts are run shortest first in groups of at most `n_slots`; a place that becomes free is filled at once when a
    quarter of the batch is free. Row i of the edits' context is prompt i. `edits_per_prompt` holds one more mapping of edits (or
    None) for each prompt, which reaches that prompt alone; share one mapping object where prompts are edited alike. The
    plain path (RHAT_SLOW=1, or a model that the fast path does not suit) runs whole sequences again for every token.
    Where the model thinks, `max_new_tokens` are those of the answer after the think block, and `until` sees that answer alone.
    """
    asked = Request((), max_new_tokens, until=until, ignore_eos=ignore_eos)
    requests = _requests(
        prompts, edits_per_prompt, sampling, replace(asked, thinking=0 if ignore_eos else model.thinking.limit)
    )
    if not requests:
        return []
    longest = max(len(r.tokens) + r.most for r in requests)
    if model.memory is not None:
        n_slots = min(n_slots, model.room["max_rows"])
    engine = Engine(
        model,
        edits=edits,
        n_slots=min(n_slots, len(requests)),
        max_length=-(-longest // 8) * 8,
        choose=choose,
    )
    order = sorted(requests, key=by_length)
    done: dict[int, Completion] = {}

    def collect(rows: Sequence[Row]) -> None:
        finished = [row for row in rows if row.finish_reason is not None]
        for row in finished:
            done[row.request.row] = row.completion(model.tokenizer)
        if progress and finished:
            progress(len(done), len(requests))

    while order or engine.rows:
        if order and engine.free >= min(max(1, engine.cache.n_slots // 4), len(order)):
            batch, order = order[: engine.free], order[engine.free :]
            collect(engine.add(batch))
        collect(engine.step())
    return [done[i] for i in range(len(requests))]


def _requests(
    prompts: Sequence[TokenIds],
    edits_per_prompt: Sequence[Edits | None] | None,
    sampling: Sampling | None,
    asked: Request,
) -> list[Request]:
    """One request a prompt, otherwise as `asked`; request number i is drawn with the seed `sampling.seed + i`."""
    if edits_per_prompt is not None and len(edits_per_prompt) != len(prompts):
        raise PromptError(
            f"edits_per_prompt: got {len(edits_per_prompt)}, expected one for each of {len(prompts)} prompts"
        )
    return [
        replace(
            asked,
            tokens=tuple(prompt),
            row=i,
            edits=edits_per_prompt[i] if edits_per_prompt is not None else None,
            sampling=None if sampling is None else replace(sampling, seed=sampling.seed + i),
        )
        for i, prompt in enumerate(prompts)
    ]


def generate(
    model: ChatModel,
    prompts: Sequence[ChatPrompt],
    intervention: AnyIntervention | Edits | None = None,
    *,
    max_new_tokens: int = 128,
    until: Callable[[str], bool] | None = None,
    sampling: Sampling | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Answers to instructions or conversations, in their order. `until(text)` stops a row once it returns True.

    `intervention` is one of any kind, or the edits of one.

    Greedy unless `sampling` says otherwise; prompt number i then has the seed `sampling.seed + i`.

    Raises:
        PromptError: if there are no prompts or fewer than one token is asked for.
    """
    if max_new_tokens < 1:
        raise PromptError(f"max_new_tokens: got {max_new_tokens}, expected 1 or more")
    tokens = model.tokenize(prompts)
    own = edits_per_prompt(intervention, model, tokens) if isinstance(intervention, PerPrompt) else None
    ready = intervention.edits(model) if own is None and isinstance(intervention, AnyIntervention) else None
    return generate_tokens(
        model,
        tokens,
        intervention if isinstance(intervention, Mapping) else ready,
        edits_per_prompt=own,
        max_new_tokens=max_new_tokens,
        until=until,
        choose=greedy if sampling is None else sample_per_request,
        sampling=sampling,
        progress=progress,
    )
