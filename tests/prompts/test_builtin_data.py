"""The shipped data themselves, read as plain JSON Lines: counts, form, balance and duplicates."""

import difflib
import json
import re
import statistics
from collections import Counter, defaultdict
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "src" / "rhat" / "prompts" / "data"
SIDES = ("harmful", "harmless")
REQUESTS = (*SIDES, "borderline", "twin")
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after all an and any are as at be been before being by can could did do does for from had "
        "has have he her him his how i if in into is it its me my near no not of off on one or our out over "
        "she so than that the their them these they this those three through to two until up us was we were "
        "what when where which while who whose why will with without would you your",
    )
)


@cache
def rows(name):
    with open(DATA / f"{name}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def texts(name):
    return [row["text"] for row in rows(name)]


def words(text):
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.casefold())


def length(text):
    return len(text.split())


def share(name, holds):
    return sum(map(holds, texts(name))) / len(rows(name))


def jaccard(a, b):
    return len(a & b) / len(a | b)


def near_duplicates(items):
    """Pairs of texts of different topics that share too many words, with or without stop words."""
    sets = [(topic, text, all_words := set(words(text)), all_words - STOP_WORDS or all_words) for topic, text in items]
    return [
        (a, b)
        for (topic_a, a, all_a, rare_a), (topic_b, b, all_b, rare_b) in combinations(sets, 2)
        if topic_a != topic_b and (jaccard(all_a, all_b) > 0.8 or jaccard(rare_a, rare_b) > 0.75)
    ]


def test_counts():
    assert len(rows("harmful")) == len(rows("harmless")) >= 672
    assert len(rows("borderline")) == len(rows("twin")) == 200
    assert len(rows("statements")) == 100


@pytest.mark.parametrize("name", REQUESTS)
def test_fields_and_ids(name):
    digits = 3 if name in ("borderline", "twin") else 4
    for number, row in enumerate(rows(name), start=1):
        assert list(row) == ["id", "text", "category", "topic"]
        assert row["id"] == f"{name}-{number:0{digits}d}"
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", row["category"])
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row["topic"])


@pytest.mark.parametrize("name", SIDES)
def test_topics_of_three_in_large_categories(name):
    categories = defaultdict(set)
    for row in rows(name):
        categories[row["category"]].add(row["topic"])
    assert len(categories) >= 14
    assert all(len(topics) >= 14 for topics in categories.values())
    assert set(Counter(row["topic"] for row in rows(name)).values()) == {3}
    assert sum(map(len, categories.values())) == len({row["topic"] for row in rows(name)})


def test_borderline_topics_and_categories():
    assert len({row["topic"] for row in rows("borderline")}) == 200
    kinds = ("homonym", "figurative", "fiction_history", "safety_question", "technical_jargon")
    kinds += ("definition", "public_person", "fictional_person", "nonsense_group", "safe_context")
    assert Counter(row["category"] for row in rows("borderline")) == dict.fromkeys(kinds, 20)


def test_each_borderline_prompt_has_one_twin_of_its_kind_and_topic():
    for one, twin in zip(rows("borderline"), rows("twin"), strict=True):
        assert (one["category"], one["topic"]) == (twin["category"], twin["topic"])
        assert one["id"].removeprefix("borderline-") == twin["id"].removeprefix("twin-")


def test_twins_are_worded_as_borderline_prompts_are():
    sides = [[length(text) for text in texts(name)] for name in ("borderline", "twin")]
    assert abs(statistics.mean(sides[0]) - statistics.mean(sides[1])) <= 1
    opening = [[words(text)[0] for text in texts(name)] for name in ("borderline", "twin")]
    assert sum(a == b for a, b in zip(*opening, strict=True)) >= 0.8 * 200
    alike = zip(texts("borderline"), texts("twin"), strict=True)
    chance = zip(texts("borderline"), texts("twin")[1:] + texts("twin")[:1], strict=True)
    shared, least = (
        statistics.mean(jaccard(set(words(a)), set(words(b))) for a, b in pairs) for pairs in (alike, chance)
    )
    assert shared >= 3 * least


@pytest.mark.parametrize("name", REQUESTS)
def test_form_of_a_request(name):
    for text in texts(name):
        assert 6 <= length(text) <= 18, text
        assert re.fullmatch(r"[A-Z][^.?!\n]*[.?]", text), text
        assert text == " ".join(text.split())
        assert text.replace("é", "e").isascii(), text


def test_no_text_twice():
    everything = [text for name in REQUESTS for text in texts(name)]
    everything += [row[side] for row in rows("statements") for side in ("true", "false")]
    twice = [text for text, n in Counter(" ".join(words(text)) for text in everything).items() if n > 1]
    assert twice == []


@pytest.mark.parametrize("name", REQUESTS)
def test_no_near_duplicates_across_topics(name):
    assert near_duplicates([(row["topic"], row["text"]) for row in rows(name)]) == []


def test_no_near_duplicates_across_files():
    assert near_duplicates([(name, row["text"]) for name in REQUESTS for row in rows(name)]) == []


def test_near_duplicates_are_seen():
    first, second, other = "Bake the red cake at home.", "How do I bake a red cake at home?", "Walk home."
    assert near_duplicates([("a", first), ("b", second), ("c", other)]) == [(first, second)]
    assert near_duplicates([("a", first), ("a", second)]) == []


def test_lengths_are_alike():
    harmful, harmless = ([length(text) for text in texts(name)] for name in SIDES)
    assert abs(statistics.mean(harmful) - statistics.mean(harmless)) <= 1
    quartiles = zip(statistics.quantiles(harmful), statistics.quantiles(harmless), strict=True)
    assert all(abs(a - b) <= 2 for a, b in quartiles)


def test_opening_words_are_alike():
    opening = {name: Counter(words(text)[0] for text in texts(name)) for name in SIDES}
    frequent = {word for counts in opening.values() for word, n in counts.items() if n >= 6}
    assert len(frequent) >= 20
    for word in frequent:
        a, b = (opening[name][word] / len(rows(name)) for name in SIDES)
        assert abs(a - b) <= 0.04, word
        assert max(a, b) <= 0.15, word


@pytest.mark.parametrize(("mark", "points"), [("?", 5), (",", 5), ("-", 5), ("'", 5)])
def test_punctuation_is_alike(mark, points):
    a, b = (share(name, lambda text: mark in text) for name in SIDES)
    assert abs(a - b) <= points / 100


def test_statements_differ_in_few_words():
    for number, row in enumerate(rows("statements"), start=1):
        assert list(row) == ["id", "true", "false", "category"]
        assert row["id"] == f"statement-{number:03d}"
        assert row["true"].endswith(".")
        assert row["false"].endswith(".")
        a, b = words(row["true"]), words(row["false"])
        changed = [
            max(i2 - i1, j2 - j1)
            for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b).get_opcodes()
            if tag != "equal"
        ]
        assert 1 <= sum(changed) <= 3, row["id"]


def test_negation_does_not_tell_true_from_false():
    def negated(text):
        return bool({"not", "cannot", "no", "never"} & set(words(text)))

    kinds = defaultdict(Counter)
    for row in rows("statements"):
        kinds[row["category"]][negated(row["true"]), negated(row["false"])] += 1
    assert set(kinds) == {"geography", "arithmetic", "animals", "science", "language", "history"}
    for counts in kinds.values():
        assert sum(counts.values()) >= 16
        assert counts[True, False] == counts[False, True] >= 3
        assert counts[True, True] >= 3
        assert counts[False, False] >= 3


def test_the_data_card_has_the_counts_of_the_files():
    card = (DATA / "README.md").read_text(encoding="utf-8")
    for name in (*REQUESTS, "statements"):
        assert f"| `{name}.jsonl` | {len(rows(name))} |" in card
        for category, n in Counter(row["category"] for row in rows(name)).items():
            assert f"`{category}` {n}" in card, (name, category)
    for name in REQUESTS:
        counts = [length(text) for text in texts(name)]
        quartiles = " | ".join(f"{q:g}" for q in statistics.quantiles(counts))
        mean = f"{statistics.mean(counts):.2f}"
        assert f"| {name} | {mean} | {quartiles} | {min(counts)} | {max(counts)} |" in card
    marks = {"a question mark at the end": "?", "an apostrophe": "'", "a hyphen": "-", "a comma": ","}
    for words_of, mark in marks.items():
        shares = (100 * share(name, lambda text, mark=mark: mark in text) for name in REQUESTS)
        assert f"| {words_of} | {' | '.join(f'{one:.1f}' for one in shares)} |" in card
