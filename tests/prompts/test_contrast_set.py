import dataclasses
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rhat.errors import PromptError
from rhat.prompts import LABELS, SPLITS, ContrastSet, Prompt
from rhat.prompts.contrast import spread_topics


def make(id, text="x", label="harmful", split="test", category="", topic=""):
    return Prompt(text, label, split, id, category, topic)


def grid(categories=4, topics=5, each=3):
    """categories × topics × each prompts, with ids such as "c1-t2-0"."""
    return tuple(
        make(f"c{c}-t{t}-{i}", category=f"c{c}", topic=f"c{c}-t{t}")
        for c in range(categories)
        for t in range(topics)
        for i in range(each)
    )


def test_import_is_cheap():
    code = "import sys, rhat.prompts; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "rhat.prompts" in loaded.split()
    assert not {"pandas", "pyarrow", "datasets", "torch", "transformers", "numpy"} & set(loaded.split())


def test_select_takes_one_prompt_of_each_topic_before_the_second_ones():
    chosen = ContrastSet("s", grid(), 0).select("harmful")
    assert len(chosen) == 60
    for turn in range(3):
        part = chosen[20 * turn : 20 * turn + 20]
        assert len({p.topic for p in part}) == 20


def test_select_spreads_over_categories_from_the_start():
    chosen = ContrastSet("s", grid(), 0).select("harmful", limit=8)
    assert Counter(p.category for p in chosen) == {"c0": 2, "c1": 2, "c2": 2, "c3": 2}


@given(seed=st.integers(0, 5), small=st.integers(0, 70), large=st.integers(0, 70))
def test_select_nests(seed, small, large):
    small, large = sorted((small, large))
    contrast = ContrastSet("s", grid(), seed)
    inner, outer = contrast.select("harmful", limit=small), contrast.select("harmful", "test", large)
    assert outer[: len(inner)] == inner
    assert len(inner) == min(small, 60)


def test_select_does_not_hang_on_the_order_of_prompts_but_on_the_seed():
    prompts = grid()
    forward, backward = ContrastSet("s", prompts, 0), ContrastSet("s", prompts[::-1], 0)
    assert forward.select("harmful") == backward.select("harmful")
    assert forward.select("harmful") != ContrastSet("s", prompts, 1).select("harmful")


def test_select_keeps_to_label_and_split():
    prompts = (make("a"), make("b", split="train"), make("c", label="harmless"))
    contrast = ContrastSet("s", prompts, 0)
    assert [p.id for p in contrast.select("harmful", "test")] == ["a"]
    assert {p.id for p in contrast.select("harmful")} == {"a", "b"}
    assert contrast.select("borderline") == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bad", None, None), "unknown label 'bad'; expected one of harmful, harmless, borderline, twin"),
        (("harmful", "dev", None), "unknown split 'dev'; expected one of train, validation"),
        (("harmful", None, -1), "got -1"),
    ],
)
def test_select_refuses_what_it_does_not_know(arguments, words):
    with pytest.raises(PromptError, match=words):
        ContrastSet("s", grid(), 0).select(*arguments)


def test_order_is_the_same_in_every_python():
    """Written down once, so that a change of the order (and so of every published subset) is seen."""
    first = ContrastSet("s", grid(), 0).select("harmful", limit=4)
    assert [p.id for p in first] == ["c0-t4-1", "c3-t2-2", "c1-t0-2", "c2-t2-2"]


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=60), st.integers(0, 3))
def test_any_stretch_holds_each_category_in_its_share(categories, seed):
    """Between two cuts, no category is off its share by more than the number of categories plus one."""
    topics = spread_topics([make(str(i), category=c) for i, c in enumerate(categories)], seed)
    whole = Counter(categories)
    half = len(topics) // 2
    first = Counter(topic[0].category for topic in topics[:half])
    for category, n in whole.items():
        assert abs(first[category] - n * half / len(topics)) <= len(whole) + 1


def test_counts_are_those_of_a_plain_count():
    prompts = (make("a"), make("b", split="train"), make("c", split="train"), make("d", label="harmless"))
    counts = ContrastSet("s", prompts, 0).counts()
    assert list(counts) == list(LABELS)
    assert all(list(row) == list(SPLITS) for row in counts.values())
    assert counts["harmful"] == {"train": 2, "validation": 0, "calibration": 0, "test": 1}
    assert counts["harmless"]["test"] == 1
    assert sum(sum(row.values()) for row in counts.values()) == 4


@given(
    field=st.sampled_from(["id", "label", "split", "text"]),
    which=st.integers(0, 2),
    value=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
def test_fingerprint_changes_with_any_change(field, which, value):
    prompts = [make("a", "one"), make("b", "two", split="train"), make("c", "three", label="harmless")]
    value = {"label": "borderline", "split": "validation"}.get(field, value + "!")
    changed = [dataclasses.replace(p, **{field: value}) if i == which else p for i, p in enumerate(prompts)]
    before = ContrastSet("s", tuple(prompts), 0).fingerprint
    assert ContrastSet("s", tuple(changed), 0).fingerprint != before
    assert ContrastSet("s", tuple(prompts[:2]), 0).fingerprint != before


def test_fingerprint_is_not_fooled_by_moving_letters_between_fields():
    assert ContrastSet("s", (make("ab", "c"),), 0).fingerprint != ContrastSet("s", (make("a", "bc"),), 0).fingerprint


def test_fingerprint_does_not_hang_on_order_name_or_seed():
    prompts = grid()
    fingerprint = ContrastSet("s", prompts, 0).fingerprint
    assert fingerprint == ContrastSet("t", prompts[::-1], 7).fingerprint
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) >= 0


def test_a_set_with_a_straddling_topic_cannot_be_made():
    with pytest.raises(PromptError, match=r"s: topic 'bombs' is in test \(a\) and in train \(b\); put a topic"):
        ContrastSet("s", (make("a", topic="bombs"), make("b", split="train", topic="bombs")), 0)
    both = (make("a", topic="bombs"), make("b", label="harmless", split="train", topic="bombs"))
    assert len(ContrastSet("s", both, 0).prompts) == 2  # a topic belongs to its label


def test_a_set_with_an_id_twice_cannot_be_made():
    with pytest.raises(PromptError, match="two prompts have the id 'a'; make ids unique"):
        ContrastSet("s", (make("a"), make("a", "y")), 0)


def test_values_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make("a").text = "b"
