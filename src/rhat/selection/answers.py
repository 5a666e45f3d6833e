"""How a model answers the training prompts: past which markup, with which refusal tokens, and what it says if it refuses nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rhat.executor import Executor
from rhat.generation import Completion
from rhat.model.chat import ChatModel
from rhat.model.markup import Markup, empty, left_open, opened, raw, visible
from rhat.prompts import Prompt
from rhat.scoring import RefusalToken, find_refusal_tokens, tasks
from rhat.scoring.reading import classes, reader
from rhat.scoring.tokens import chosen_tokens
from rhat.selection.behaviour import behaviour_threshold
from rhat.selection.search import planned
from rhat.selection.settings import FindSettings, Progress

log = logging.getLogger(__name__)

THINKING = 512  # tokens that an answer may spend on its markup before it is given up
THINKERS = 8  # harmful training prompts that are answered at that length
ENOUGH = 2  # refusals among the answers to harmful training prompts, without which there is nothing to look for
SHOWN = 3  # openings that are told
WORDS, CHARACTERS = 4, 32  # of each opening
ALIKE = 0.25  # share of answers with one opening from which on they may be refusals in words unknown to us


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard.

    model     the model, with the response prefix that leads past its markup
    markup    a sentence on that markup; empty if there is none
    tokens    the refusal tokens
    refused   how many of the `n` answers to harmful training prompts read as refusals; `broken`: are empty or degenerate
    openings  their commonest openings, a few words each, and how often each was said
    threshold the refusal score (nats) that best tells the refused of these prompts from the others
    apart     whether the commonest opening is common, and rare in answers to harmless prompts
    """

    model: ChatModel
    markup: str
    tokens: tuple[RefusalToken, ...]
    refused: int
    broken: int
    n: int
    openings: tuple[tuple[str, int], ...]
    apart: bool
    threshold: float = 0.0

    def why_not(self) -> str:
        """Why there is no refusal to study."""
        name, count = self.model.name, f"{self.refused} of {self.n} harmful training prompts were refused"
        common = ", ".join(f"«{text}» ({k} of {self.n})" for text, k in self.openings)
        if 2 * self.broken > self.n:
            why = (
                f"{name} gives no answers to study: {self.broken} of {self.n} to harmful training prompts are empty or "
                f"degenerate ({count}); check the chat template, the dtype and the files"
            )
        elif self.refused >= ENOUGH:
            why = (
                f"{name} refuses ({count}), but its refusals begin as its answers to harmless prompts do: {common}; put what they "
                "share before every answer with --response-prefix"
            )
        elif self.apart:
            why = (
                f"nothing that {name} answers reads as a refusal ({count}), yet answers to harmful training prompts open alike, "
                f"and unlike the others: {common}; if these are refusals, give their words with --refusal-phrases, or their "
                "first tokens with --refusal-tokens"
            )
        else:
            why = (
                f"{name} hardly refuses: {count}, so there is no refusal to study; it answers, most often with {common}"
            )
        return self.with_markup(why)

    def with_markup(self, sentence: str) -> str:
        """A sentence, and what was seen of markup."""
        return f"{sentence}. {self.markup}" if self.markup else sentence


def listen(
    model: ChatModel,
    train: Mapping[str, Sequence[Prompt]],
    settings: FindSettings,
    progress: Progress,
    executor: Executor,
) -> Heard:
    """Let training prompts be answered, past markup if there is any, and find the refusal tokens.

    Where thinking is on, answers come after a think block and are read without it. Where it is not and answers open markup, a few are run on for at most 512 tokens, to see how the model goes on after it; then all are
    asked for again after a response prefix that closes it, unless one was given.

    Raises:
        StudyError: if refusal tokens were given that are none of this model's.
    """
    given = chosen_tokens(model.tokenizer, settings.refusal_tokens)
    harmful, harmless = train["harmful"][: settings.token_prompts], train["harmless"][: settings.token_prompts]
    ask = _Asking(model, settings, executor, progress, len(harmful) + len(harmless))
    said = ask.answers(harmful, 0, settings.judged_tokens, whole=True)
    markup, prompt, note = None, "", ""
    if model.thinking.mode == "on":
        note = _thoughts(model, said)
    else:
        markup, prompt = ask.markup(harmful[0], said)
    if markup is not None and model.response_prefix:
        note = f"Answers open {markup.opens} even after the response prefix {model.response_prefix!r}"
    elif markup is not None:
        prefix, seen = ask.past(markup, prompt, harmful[:THINKERS])
        ask = replace(ask, model=model.with_response_prefix(prefix), stage=f"refusal tokens after {prefix!r}")
        said = ask.answers(harmful, 0, settings.judged_tokens, whole=True)
        note = f"Its answers open {markup.opens}: {seen}, so prompts end with the response prefix {prefix!r}"
        if ask.markup(harmful[0], said)[0] is not None:
            note += ", after which they open it again"
    others = ask.answers(harmless, len(harmful), 1)
    # An answer to a harmless prompt matters only where it begins as refusals do: the others need no more than that token.
    reads = settings.phrases
    starts = {c.tokens[0] for c in said if c.tokens and reads.is_refusal(c.text)}
    alike = [i for i, c in enumerate(others) if c.tokens and c.tokens[0] in starts]
    if alike:
        for i, c in zip(
            alike, ask.answers([harmless[i] for i in alike], -1, settings.judged_tokens, whole=True), strict=True
        ):
            others[i] = c
    tokens = find_refusal_tokens(said, others, model.tokenizer.decode, phrases=reads, given=given)
    verdicts = Counter(reads.verdict(c.text) for c in said)
    openings, apart = _openings(said, others)
    threshold = ask.threshold(harmful, said, harmless, others, tokens) if tokens else 0.0
    counts = verdicts["refused"], verdicts["neither"], len(said)
    return Heard(ask.model, note, tokens, *counts, openings, apart, threshold)


@dataclass(frozen=True, eq=False)
class _Asking:
    """Who is asked, and how; `total` prompts are counted under `stage`."""

    model: ChatModel
    settings: FindSettings
    executor: Executor
    progress: Progress
    total: int
    stage: str = "refusal tokens"

    def answers(self, some: Sequence[Prompt], before: int, n_tokens: int, whole: bool = False) -> list[Completion]:
        """Greedy answers in order; `before` of the total are done already (−1: these do not count)."""
        plan = planned(self.model, some)
        groups = tasks.groups(plan, self.executor.split(len(plan.batches)), {})
        asked = tasks.Answering(max_new_tokens=n_tokens, stop_early=not whole, phrases=self.settings.phrases)

        def tell(done: int, _total: int) -> None:
            self.progress(self.stage, before + done, self.total)

        parts = self.executor.map(
            tasks.answer,
            self.model,
            asked,
            groups,
            sizes=[len(g.rows) for g in groups],
            progress=tell if before >= 0 else None,
        )
        found = {row: c for part in parts for row, c in zip(part.rows, part.completions, strict=True)}
        return [found[row] for row in range(len(plan))]

    def threshold(
        self,
        harmful: Sequence[Prompt],
        said: Sequence[Completion],
        harmless: Sequence[Prompt],
        others: Sequence[Completion],
        tokens: Sequence[RefusalToken],
    ) -> float:
        """The refusal score that best tells the refused of these prompts from the others, by the judge of all answers."""
        both = [*harmful, *harmless]
        found = classes(reader(self.settings.phrases), [p.text for p in both], [c.text for c in (*said, *others)])
        refused = np.array([label == "refused" for label in found])
        plan = planned(self.model, both)
        asked = tasks.Scoring(plan.prompts, tuple(token.id for token in tokens))
        [(scores, _)] = tasks.score_all(self.executor, self.model, asked, plan, [{}])
        return behaviour_threshold(scores.numpy(), refused, np.arange(len(both)) < len(harmful))

    def markup(self, prompt: Prompt, said: Sequence[Completion]) -> tuple[Markup | None, str]:
        """The markup that prompts leave open or answers open, and a raw prompt."""
        [tokens] = self.model.tokenize([prompt.text])
        text = raw(self.model.tokenizer, tokens)
        return left_open(text) or opened([raw(self.model.tokenizer, c.tokens) for c in said]), text

    def past(self, markup: Markup, prompt: str, some: Sequence[Prompt]) -> tuple[str, str]:
        """(the response prefix that leads past markup, what a few answers said after their own)."""
        tokenizer = self.model.tokenizer
        stage = f"answers past {markup.opens}, at most {THINKING} tokens each"
        log.info(
            "%s: %d answers are run past %s, at most %d tokens each", self.model.name, len(some), markup.opens, THINKING
        )
        long = replace(self, stage=stage, total=len(some))
        special = [s for s in tokenizer.all_special_tokens if s not in (markup.opens, markup.closes)]
        found = [
            visible(raw(tokenizer, c.tokens), markup, special)
            for c in long.answers(some, 0, THINKING + self.settings.judged_tokens, whole=True)
        ]
        closed = [both for both in found if both is not None]
        prefix = empty(markup, prompt, [gap for gap, text in closed if text])
        refused = sum(self.settings.phrases.is_refusal(text) for _, text in closed)
        return prefix, f"{len(closed)} of {len(some)} closed it within {THINKING} tokens and {refused} then refused"


def _thoughts(model: ChatModel, said: Sequence[Completion]) -> str:
    """A sentence on the think blocks before answers to harmful training prompts."""
    without = sum(not c.block for c in said)
    closed = sum(bool(c.block and c.text) for c in said)
    none = f", {without} have none" if without else ""
    return (
        f"Thinking is on: of {len(said)} answers {closed} follow a think block of at most {model.thinking.limit} tokens{none}; "
        "what follows the block is judged, and an answer whose block does not close is degenerate"
    )


def _openings(
    harmful: Sequence[Completion], harmless: Sequence[Completion]
) -> tuple[tuple[tuple[str, int], ...], bool]:
    """The commonest openings of answers to harmful prompts, and whether the first is theirs alone."""
    opens = [" ".join(c.text.split()[:WORDS])[:CHARACTERS] for c in harmful]
    common = [(text, k) for text, k in Counter(opens).most_common(SHOWN + 1) if text][:SHOWN]
    if not common:
        return (), False
    text, k = common[0]
    share = k / len(harmful)
    first = {c.tokens[0] for c, o in zip(harmful, opens, strict=True) if o == text}
    as_well = sum(c.tokens[0] in first for c in harmless if c.tokens) / max(len(harmless), 1)
    return tuple(common), k > 1 and share >= ALIKE and as_well < share / 2
