"""How much it takes to measure what else edits move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rhat.benching.beside import CHUNK
from rhat.benching.settings import TASKS, BenchSettings
from rhat.errors import TemplateError
from rhat.generation.completions import SLOTS
from rhat.model.work import Work, work_of_blocks, work_of_vocabulary
from rhat.prompts import Prompt
from rhat.scoring.capability import Item, some_items
from rhat.scoring.drift import AT_ONCE
from rhat.scoring.neutral import some_texts
from rhat.selection.cost import Expected
from rhat.vocabulary import PROMPTINGS


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
            _read(given, lengths, scored, conditions, len(settings.kls))
        _asked(given, items, 1 + conditions + len(settings.kls), given.layer)
        if "baselines" in settings.only and TASKS[name].side == "refusal":
            for prompting in PROMPTINGS.values():
                put = [Prompt(str(item.prompt), "harmless", "test", item.id) for item in items]
                longer = _longer(given, prompting.before(items[0].prompt), put[0])
                _asked(given, items, 1, model.n_layers, longer)  # unedited: options share all blocks but the last
                _read(given, [length + longer for length in own], said * len(own), 0, 1)
    return given.lap()


def _longer(given: Expected, talk: Sequence[Mapping[str, str]], plain: Prompt) -> int:
    """How many tokens a way of asking adds to a prompt; none where the template does not take it."""
    try:
        return len(given.model.tokenize([talk])[0]) - len(given.model.tokenize([plain.text])[0])
    except TemplateError:
        return 0


def _read(given: Expected, lengths: Sequence[int], scored: int, edited: int, whole: int) -> None:
    """Texts of these lengths, of which so many tokens are scored: under edits from r̂'s layer on, which share the blocks below,
    and `whole` times from the first block on."""
    model, n_layers = given.model, given.model.n_layers
    chunks = -(-(edited + 1) // CHUNK) if edited else 0
    for begin in range(0, len(lengths), AT_ONCE):
        some = sorted(lengths)[begin : begin + AT_ONCE]
        rows, longest = len(some), some[-1]
        once = work_of_blocks(model, rows, longest, longest, range(n_layers))
        above = work_of_blocks(model, rows, longest, longest, range(min(given.layer, n_layers - 1), n_layers))
        given.total += once.times(chunks + whole) + above.times(edited)
    if scored:
        given.total += work_of_vocabulary(model, scored).times(1 + edited + whole if edited else whole)


def _asked(given: Expected, items: Sequence[Item], conditions: int, start: int, longer: int = 0) -> None:
    """Items under conditions: blocks below `start` run once for each prompt, the others once for each option of several tokens. What
    makes all prompts `longer` by so many tokens runs once."""
    model, n_layers = given.model, given.model.n_layers
    plan = given.plan([item.prompt for item in items])
    start = min(start, n_layers - 1)
    steps, longest = 0, 0
    if longer:
        given.total += work_of_blocks(model, 1, longer, plan.prefix_length + longer, range(n_layers), at_ends=0)
    for item, prompt in zip(items, plan.prompts, strict=True):
        options = [len(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for o in item.options]
        rows = conditions * max(1, sum(n > 1 for n in options))
        own, keys = len(prompt) - plan.prefix_length, len(prompt) + longer
        if start:
            given.total += work_of_blocks(model, 1, own, keys, range(start))
        given.total += work_of_blocks(model, rows, own, keys, range(start, n_layers), at_ends=rows)
        given.total += work_of_vocabulary(model, rows)
        steps, longest = steps + sum(n - 1 for n in options), max(longest, keys)
    if steps:  # conditions say the same, so that blocks below the first edit take each token once for all of them
        width = min(SLOTS, steps * conditions)
        below = work_of_blocks(model, width, 1, longest, range(start)).times(1 / conditions) if start else Work()
        above = work_of_blocks(model, width, 1, longest, range(start, n_layers)) + work_of_vocabulary(model, width)
        given.total += (below + above).times(steps * conditions / width)
