"""How much it takes to measure what else edits move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rhat.benching.beside import PAIRS, TEXTS
from rhat.benching.settings import TASKS, BenchSettings
from rhat.errors import TemplateError
from rhat.model.work import Work, work_of_blocks, work_of_vocabulary
from rhat.prompts import Prompt
from rhat.scoring.capability import Item, some_items
from rhat.scoring.neutral import some_texts
from rhat.selection.cost import Expected
from rhat.vocabulary import PROMPTINGS

FOLLOWED = 0.4  # share of the tokens of options that are run until it is known whether the right one is the likeliest


def beside_work(given: Expected, settings: BenchSettings, edits: Mapping[str, int]) -> Work:
    """What it takes in all tasks; `edits` are how many edits have a dose in each, random directions aside."""
    model, size = given.model, settings.size
    texts = [len(model.tokenizer(t.text)["input_ids"]) for t in some_texts(size.texts, settings.seed)]
    items = some_items(size.items, settings.seed)
    asked = given.some("harmless", size.texts)
    if asked and not any("harmless" in TASKS[task].tested for task in settings.tasks):
        given.answered(1, asked, settings.judged_tokens)
    said = round(given.answers.of_at_most(settings.judged_tokens))
    own = [len(prompt) + said for prompt in given.plan(asked).prompts] if asked else []
    for name, n in edits.items():
        conditions = n * len(settings.kls)
        for lengths, scored in ((texts, sum(texts) - len(texts)), (own, said * len(own))):
            _read(given, lengths, scored, conditions + len(settings.kls))
        _asked(given, items, 1 + conditions + len(settings.kls), given.layer)
        if "baselines" in settings.only and TASKS[name].side == "refusal":
            for prompting in PROMPTINGS.values():
                put = [Prompt(str(item.prompt), "harmless", "test", item.id) for item in items]
                longer = _longer(given, prompting.before(items[0].prompt), put[0])
                _asked(given, items, 1, model.n_layers, longer)  # unedited: options share all blocks but the last
                _read(given, [length + longer for length in own], said * len(own), 0)
    return given.lap()


def _longer(given: Expected, talk: Sequence[Mapping[str, str]], plain: Prompt) -> int:
    """How many tokens a way of asking adds to a prompt; none where the template does not take it."""
    try:
        return len(given.model.tokenize([talk])[0]) - len(given.model.tokenize([plain.text])[0])
    except TemplateError:
        return 0


def _read(given: Expected, lengths: Sequence[int], scored: int, edited: int) -> None:
    """Texts of these lengths, of which so many tokens are scored: as they are, and under edits from r̂'s layer on, which share the
    blocks below."""
    model, n_layers = given.model, given.model.n_layers
    for begin in range(0, len(lengths), TEXTS):
        some = sorted(lengths)[begin : begin + TEXTS]
        rows, longest = len(some), some[-1]
        once = work_of_blocks(model, rows, longest, longest, range(n_layers))
        above = work_of_blocks(model, rows, longest, longest, range(min(given.layer, n_layers - 1), n_layers))
        given.total += once + above.times(edited)
    if scored:
        given.total += work_of_vocabulary(model, scored).times(1 + edited)


def _asked(given: Expected, items: Sequence[Item], conditions: int, start: int, longer: int = 0) -> None:
    """Items under conditions: blocks below `start` run once for each piece of items, the others once for each condition; tokens of
    options after their prompts, a share of them. What makes all prompts `longer` by so many tokens runs once."""
    model, n_layers = given.model, given.model.n_layers
    plan, room = given.plan([item.prompt for item in items]), given.model.room
    start, shared = min(start, n_layers - 1), plan.prefix_length + longer
    below, above, pieces = range(start), range(start, n_layers), -(-len(items) * conditions // PAIRS)
    if shared:
        given.total += work_of_blocks(model, 1, shared, shared, below).times(pieces) if start else Work()
        given.total += work_of_blocks(model, conditions, shared, shared, above, at_ends=0).times(pieces)
    by_length: dict[int, list[int]] = {}
    for item, prompt in zip(items, plan.prompts, strict=True):
        options = [len(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for o in item.options]
        by_length.setdefault(len(prompt), []).append(sum(n - 1 for n in options))
    for length, steps in by_length.items():
        own, keys = length - plan.prefix_length, length + longer
        if start:
            given.total += work_of_blocks(model, len(steps), own, keys, below)
            given.total += work_of_blocks(model, 1, sum(steps) or 1, keys, below)
        n = len(steps) * conditions
        rows = max(1, min(n, 2 * room["max_rows"], room["max_tokens"] // own))
        one = work_of_blocks(model, rows, own, keys, above, at_ends=rows) + work_of_vocabulary(model, rows)
        given.total += one.times(n / rows)
        on = FOLLOWED * sum(steps) / len(steps)  # tokens of options for each question and condition
        if on:
            one = work_of_blocks(model, rows, 1, keys, above)
            done = Work(block_passes=one.block_steps, block_tokens=one.block_step_tokens, flop=one.flop)
            given.total += (done + work_of_vocabulary(model, rows)).times(n / rows * on)
