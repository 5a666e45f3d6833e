"""The capability set: its data, its log-likelihoods against plain transformers, and models that were made to know and not to."""

import ast
import itertools
import re
from collections import Counter

import pytest
import torch

import rhat
from refusing import Lesson, refusing_hf
from rhat.interventions import ablate, add
from rhat.model.work import counting
from rhat.scoring.capability import (
    CATEGORIES,
    Item,
    answered_right,
    capability_items,
    capability_rows,
    measure,
    option_scores,
    shared,
)
from rhat.sites import Site
from rhat.statistics import holm, paired_comparison, wilson
from tiny import tiny_chat_model, tiny_tokenizer

ITEMS = capability_items()


class TestData:
    def test_sixty_of_each_category_with_one_right_option_of_four(self):
        assert Counter(item.category for item in ITEMS) == dict.fromkeys(CATEGORIES, 60)
        assert len({item.id for item in ITEMS}) == len(ITEMS)
        for item in ITEMS:
            assert len(item.options) == len(set(item.options)) == 4, item.id
            assert all(o == o.strip() != "" for o in item.options), item.id

    def test_the_right_option_stands_in_each_place_equally_often(self):
        for category in CATEGORIES:
            places = Counter(item.right for item in ITEMS if item.category == category)
            assert places == dict.fromkeys(range(4), 15), category

    def test_the_longest_or_shortest_option_is_not_the_key(self):
        """Who takes the longest, or the shortest, knows nothing."""
        for pick in (max, min):
            hits = [len(item.options[item.right]) == pick(map(len, item.options)) for item in ITEMS]
            alone = [sum(len(o) == pick(map(len, item.options)) for o in item.options) for item in ITEMS]
            gained = sum(hit / n for hit, n in zip(hits, alone, strict=True)) / len(ITEMS)
            assert gained < 0.4, pick

    def test_no_two_prompts_are_alike(self):
        def words(item):
            text = item.prompt.removeprefix("Complete the sentence with one word: ").removesuffix(
                "Answer with the number only."
            )
            return frozenset(re.findall(r"\w+", text.lower()))

        for a, b in itertools.combinations(ITEMS, 2):
            both = words(a) & words(b)
            numbers = re.findall(r"\d+", a.prompt) == re.findall(r"\d+", b.prompt)
            alike = len(both) / len(words(a) | words(b))
            assert alike < (0.85 if numbers else 0.95), (a.prompt, b.prompt)
        assert len({item.prompt for item in ITEMS}) == len(ITEMS)

    def test_arithmetic_is_what_python_computes(self):
        for item in ITEMS:
            assert bool(item.expression) == (item.category == "arithmetic")
            if item.expression:
                tree = ast.parse(item.expression, mode="eval")
                assert str(eval(compile(tree, "", "eval"))) == item.options[item.right], item.id
                assert all(option.isdecimal() for option in item.options), item.id

    def test_arithmetic_asks_for_the_numbers_of_its_expression(self):
        spelt = {"half": 2, "double": 2, "squared": 2, "cubed": 3, "twelve": 12, "three": 3, "quarter": 4, "percent": 100,
                 "twice": 2, "week": 7}  # fmt: skip
        for item in ITEMS:
            if item.expression:
                said = {int(n) for n in re.findall(r"\d+", item.prompt)}
                said |= {n for word, n in spelt.items() if word in item.prompt.lower()}
                assert {int(n) for n in re.findall(r"\d+", item.expression)} <= said, item.prompt


def plain(model, item, edit=None):
    """Mean log-probability a token of each option, by one pass of transformers over each, alone."""
    said = [{"role": "user", "content": item.prompt}]
    prompt = model.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    found = []
    for option in item.options:
        tokens = model.tokenizer(option, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([[*prompt, *tokens]]), use_cache=False).logits[0].double()
        likely = logits[len(prompt) - 1 : -1].log_softmax(-1)
        found.append(sum(float(likely[i, t]) for i, t in enumerate(tokens)) / len(tokens))
    return torch.tensor(found, dtype=torch.float64)


OF_ONE_TOKEN = Item("one", "cloze", "Name a letter.", ("a", "b", "c", "d"), 1)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_scores_are_transformers_own(family):
    model = tiny_chat_model(family, n_layers=3, dtype=torch.float64)
    some = (*ITEMS[::31], OF_ONE_TOKEN)
    for item, scores in zip(some, option_scores(model, some), strict=True):
        torch.testing.assert_close(scores, plain(model, item), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("scope", ["all", "generated"])
def test_scores_are_those_of_the_edited_model(scope):
    """Adding to the stream from a hook of torch's own, on every token or on those of the option."""
    model = tiny_chat_model("llama", n_layers=3, dtype=torch.float64)
    unit = torch.nn.functional.normalize(torch.arange(model.d_model).double() - 20, dim=0).float()
    r = rhat.Direction.of(unit, site=Site("resid_pre", 1), model=model)
    some = (*ITEMS[::47], OF_ONE_TOKEN)
    for item, scores in zip(some, option_scores(model, some, add(r, 3.0, scope=scope)), strict=True):
        n = len(model.tokenize([item.prompt])[0])

        def hook(_module, inputs, n=n):
            x = inputs[0].clone()
            x[:, 0 if scope == "all" else n :] += 3.0 * unit.double()
            return (x, *inputs[1:])

        handle = model.hf.model.layers[1].register_forward_pre_hook(hook)
        try:
            expected = plain(model, item)
        finally:
            handle.remove()
        torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-6)
        if scope == "generated" and len(item.options[0]) > 1:
            assert not torch.allclose(scores, plain(model, item))


def test_a_model_that_was_taught_the_answers_has_them_until_it_is_edited():
    tokenizer = tiny_tokenizer()
    some = [item for item in ITEMS if item.category == "cloze"][:12]
    hf = refusing_hf(
        steps=70,
        n_layers=2,
        lessons=[Lesson(tokenizer=tokenizer)],
        taught=[(i.prompt, i.options[i.right]) for i in some],
    )
    model = rhat.load((hf, tokenizer))
    with counting() as part:
        before = answered_right(model, None, some)
    assert sum(before) >= 11
    with counting() as whole:  # what cannot change whether the right one is the likeliest is not run
        scores = option_scores(model, some)
    assert before == [int(mine.argmax()) == item.right for item, mine in zip(some, scores, strict=True)]
    assert part.total.vocabulary_tokens < whole.total.vocabulary_tokens
    flipped = [Item(i.id, i.category, i.prompt, i.options, (i.right + 1) % 4) for i in some]
    assert sum(answered_right(model, None, flipped)) <= 1
    noise = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    r = rhat.Direction.of(noise / noise.norm(), site="resid_pre.1", model=model)
    edited = answered_right(model, add(r, 200.0), some)
    assert sum(edited) < sum(before) - 3
    assert answered_right(model, add(r, 0.0), some) == before
    assert all(row.verdict != "better" for row in capability_rows(some, edited, before))


def test_rows_are_of_wilson_tango_and_holm():
    right = [i % 3 != 0 for i in range(240)]
    before = [i % 5 != 0 for i in range(240)]
    *parts, whole = rows = capability_rows(ITEMS, right, before)
    assert [row.category for row in parts] == [*CATEGORIES]
    assert (whole.category, whole.n) == ("all", 240)
    pairs = []
    for row in rows:
        which = [i for i, item in enumerate(ITEMS) if row.category in (item.category, "all")]
        mine, others = [right[i] for i in which], [before[i] for i in which]
        found, pair = wilson(sum(mine), len(mine)), paired_comparison(mine, others)
        assert (row.accuracy, row.ci_low, row.ci_high) == (found.estimate, found.low, found.high)
        assert (row.difference, row.difference_low, row.difference_high) == (pair.difference, pair.ci_low, pair.ci_high)
        pairs.append(pair.mcnemar_p)
    assert [row.holm_p for row in rows] == pytest.approx(list(holm(pairs)))
    assert whole.verdict == "worse"
    assert capability_rows(ITEMS, before, right)[-1].verdict == "better"
    assert {row.verdict for row in capability_rows(ITEMS, right, right, margin=0.1)} == {"equivalent"}
    assert all(row.verdict is None and row.before is None for row in capability_rows(ITEMS, right))


def test_the_library_call_compares_with_the_unedited_model(monkeypatch):
    some = ITEMS[::30]
    monkeypatch.setattr(measure, "capability_items", lambda: some)
    model = tiny_chat_model("llama", n_layers=2)
    r = rhat.Direction.of(torch.eye(model.d_model)[0], site="resid_pre.1", model=model)
    told = []
    rows = rhat.capability(model, ablate(r), progress=lambda done, total: told.append((done, total)))
    assert [row.n for row in rows] == [2, 2, 2, 2, 8]
    before = answered_right(model, None, some)
    assert rows[-1].before == sum(before) / 8
    assert rhat.capability(model, ablate(r), before=before) == rows
    assert rhat.capability(model)[-1].accuracy == rows[-1].before
    assert told[-1][0] == told[-1][1]


PASSES = [
    ("llama", "all", (3,)),
    ("llama", "prompt", (2, 3)),
    ("llama", "last_prompt_token", (3,)),
    ("llama", "generated", (3,)),
    ("llama", "all", "all layers"),
    ("gemma2", "prompt", "all layers"),
]


@pytest.mark.parametrize(("family", "scope", "layers"), PASSES)
def test_prompts_that_are_run_once_give_the_scores_of_the_plain_path(family, scope, layers, monkeypatch):
    """Shared prefixes, prompts run once under each edit from its first block on, options after them; against whole sequences."""
    model = tiny_chat_model(family, n_layers=4, dtype=torch.float64)
    edits = [{}, *(one.edits(model) for one in adding(model, scope, layers))]
    asked = [(item, one) for one in edits for item in (*ITEMS[::90], ITEMS[121], OF_ONE_TOKEN)]
    items, own = [item for item, _ in asked], [one for _, one in asked]
    with counting() as once:
        found = option_scores(model, items, edits_per_item=own)
    monkeypatch.setenv("RHAT_SLOW", "1")
    with counting() as plain:
        expected = option_scores(model, items, edits_per_item=own)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)
    assert once.total.flop < plain.total.flop / 3


def test_answers_are_those_of_whole_scores_however_little_is_kept_at_once(monkeypatch):
    """Whichever option is said to be right: what cannot change that is not run."""
    model = tiny_chat_model("llama", n_layers=3, dtype=torch.float64)
    [edit, *_] = adding(model, "all", (2,))
    scores = [mine.tolist() for mine in option_scores(model, ITEMS[::20], edit)]
    for right in range(4):
        some = [Item(i.id, i.category, i.prompt, i.options, right) for i in ITEMS[::20]]
        truth = [max(mine) == mine[right] and mine.count(mine[right]) == 1 for mine in scores]
        assert answered_right(model, edit, some) == truth
        monkeypatch.setattr(shared, "BYTES", 1)


def adding(model, scope, layers, n=2):
    """Random directions added."""
    units = torch.randn(n, model.d_model, generator=torch.Generator().manual_seed(1))
    for unit in torch.nn.functional.normalize(units, dim=1):
        r = rhat.Direction.of(unit, site=Site("resid_pre", 2), model=model)
        yield add(r, 3.0, scope=scope, where=layers)
