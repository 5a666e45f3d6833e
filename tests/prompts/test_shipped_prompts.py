import json
from collections import Counter

import pytest

from rhat.errors import PromptError
from rhat.prompts import StatementPair, builtin, shipped, statements


def fake(name):
    """Items as in the package's files: 8 categories, 235 topics of three prompts a label, 40 borderline and as many twins."""
    topics = {"harmful.jsonl": 235, "harmless.jsonl": 235, "borderline.jsonl": 20, "twin.jsonl": 20}[name]
    each = 2 if name in ("borderline.jsonl", "twin.jsonl") else 3
    stem = name.removesuffix(".jsonl")
    return [
        (
            f"{name}:{3 * t + i + 1}",
            {
                "id": f"{stem}-{3 * t + i}",
                "text": f"{stem} {t} {i}",
                "category": f"c{t % 8}",
                "topic": f"t{t}",
            },
        )
        for t in range(topics)
        for i in range(each)
    ]


@pytest.fixture(params=["fake", "real"])
def contrast(request, monkeypatch):
    if request.param == "fake":
        monkeypatch.setattr(shipped, "_items", fake)
    return builtin()


def test_sizes_are_the_published_ones(contrast):
    for label in ("harmful", "harmless"):
        counts = contrast.counts()[label]
        assert (counts["train"], counts["validation"], counts["calibration"]) == (256, 64, 64)
        assert counts["test"] >= 256
    borderline = contrast.counts()["borderline"]
    assert borderline["test"] == sum(borderline.values()) > 0


def test_at_most_six_prompts_of_a_label_are_left_out(contrast):
    for label in ("harmful", "harmless"):
        there = len(shipped._items(f"{label}.jsonl"))
        assert there - 6 <= len(contrast.select(label)) <= there


def test_no_topic_straddles(contrast):
    places = {(p.label, p.topic, p.split) for p in contrast.prompts}
    assert all(p.topic for p in contrast.prompts)
    assert len(places) == len({(label, topic) for label, topic, _ in places})


def test_categories_are_spread_over_splits(contrast):
    for label in ("harmful", "harmless"):
        whole = Counter(p.category for p in contrast.select(label))
        train = Counter(p.category for p in contrast.select(label, "train"))
        share = sum(train.values()) / sum(whole.values())
        assert all(abs(train[category] - share * n) <= 6 for category, n in whole.items())


def test_a_small_preset_covers_categories_and_repeats_no_topic(contrast):
    chosen = contrast.select("harmful", "test", 64)
    assert len({p.topic for p in chosen}) == 64
    assert {p.category for p in chosen} == {p.category for p in contrast.select("harmful")}


def test_name_seed_and_nothing_logged(caplog):
    with caplog.at_level("WARNING"):
        first, other = builtin(), builtin(1)
    assert (first.name, first.seed, other.seed) == ("builtin", 0, 1)
    assert first == builtin()
    assert first.fingerprint != other.fingerprint
    assert caplog.text == ""


def test_statements_are_pairs():
    pairs = statements()
    assert isinstance(pairs, tuple)
    assert all(isinstance(pair, StatementPair) and pair.true != pair.false for pair in pairs)
    assert len({pair.id for pair in pairs}) == len(pairs) > 0


def test_statements_are_read_in_order(monkeypatch):
    rows = [{"id": "s1", "true": "Ice is cold.", "false": "Ice is hot.", "category": "nature"}]
    monkeypatch.setattr(shipped, "_items", lambda name: [(name, json.loads(json.dumps(r))) for r in rows])
    assert statements() == (StatementPair("s1", "Ice is cold.", "Ice is hot.", "nature"),)


def test_a_missing_file_says_what_to_do():
    with pytest.raises(PromptError, match=r"none\.jsonl: missing from the installed package; install rhat again"):
        shipped._items("none.jsonl")
