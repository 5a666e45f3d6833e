from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rhat.errors import PromptError
from rhat.prompts import SPLITS, Prompt
from rhat.prompts.splitting import MINIMUM, split_by_topic, split_sizes


def prompts_of(topic_sizes, categories=("",)):
    return [
        Prompt(
            f"{t}.{i}",
            "harmful",
            "test",
            f"p{t}.{i}",
            categories[t % len(categories)],
            f"t{t}" if size > 1 else "",
        )
        for t, size in enumerate(topic_sizes)
        for i in range(size)
    ]


def sizes_of(prompts):
    counts = Counter(p.split for p in prompts)
    return tuple(counts[split] for split in SPLITS)


@given(st.integers(8, 5000))
def test_sizes_add_up_and_keep_their_minima(n):
    sizes = split_sizes(n)
    assert sum(sizes.values()) == n
    assert all(sizes[split] >= MINIMUM[split] for split in SPLITS)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (8, (4, 2, 0, 2)),
        (19, (8, 2, 0, 9)),
        (20, (8, 2, 2, 8)),
        (100, (40, 10, 10, 40)),
        (639, (256, 64, 64, 255)),
        (640, (256, 64, 64, 256)),
        (1000, (256, 64, 64, 616)),
    ],
)
def test_sizes_worked_by_hand(n, expected):
    assert tuple(split_sizes(n).values()) == expected
    assert sizes_of(split_by_topic(prompts_of([1] * n), 0, "s")) == expected


def test_topics_of_three_hit_the_sizes_exactly_and_lose_six():
    prompts = prompts_of([3] * 224)
    assert sizes_of(split_by_topic(prompts, 0, "s")) == (256, 64, 64, 672 - 384 - 6)


def test_only_topics_that_are_cut_lose_prompts():
    prompts = prompts_of([3] * 224)
    kept = Counter(p.topic for p in split_by_topic(prompts, 0, "s"))
    assert Counter(kept.values()) == {3: 221, 1: 3}


def test_every_split_holds_each_category_in_about_its_share():
    categories = [f"c{i}" for i in range(8)]
    split = split_by_topic(prompts_of([3] * 240, categories), 0, "s")
    for name, size in zip(SPLITS, sizes_of(split), strict=True):
        counts = Counter(p.category for p in split if p.split == name)
        assert len(counts) == 8
        # One topic (three prompts) each side of the share, and one more for the topic that was cut.
        assert all(abs(counts[c] - size / 8) <= 6 for c in categories)


@settings(max_examples=150, deadline=None)
@given(
    topic_sizes=st.lists(st.integers(1, 6), min_size=2, max_size=120),
    seed=st.integers(0, 4),
    order=st.randoms(use_true_random=False),
)
def test_split_laws(topic_sizes, seed, order):
    prompts = prompts_of(topic_sizes, ("a", "b", "c"))
    assume(len(prompts) >= 8)
    try:
        split = split_by_topic(prompts, seed, "s")
    except PromptError:
        assert max(topic_sizes) > 1  # singletons can always be split
        assume(False)
    # a part of what was given, in its order, each prompt once
    position = {p.id: i for i, p in enumerate(prompts)}
    places = [position[p.id] for p in split]
    assert places == sorted(set(places))
    assert {(p.id, p.text) for p in split} <= {(p.id, p.text) for p in prompts}
    # topics do not straddle
    topic_splits = {(p.topic, p.split) for p in split if p.topic}
    assert len(topic_splits) == len({topic for topic, _ in topic_splits})
    # minima hold; what is lost comes from at most three topics
    assert all(n >= MINIMUM[name] for name, n in zip(SPLITS, sizes_of(split), strict=True))
    assert len({p.topic or p.id for p in prompts if p.id not in {q.id for q in split}}) <= 3
    # the same seed gives the same splits, whatever the order of rows
    shuffled = list(prompts)
    order.shuffle(shuffled)
    again = split_by_topic(shuffled, seed, "s")
    assert {p.id: p.split for p in again} == {p.id: p.split for p in split}


def test_another_seed_gives_another_split():
    prompts = prompts_of([1] * 100)
    assert split_by_topic(prompts, 0, "s") != split_by_topic(prompts, 1, "s")


def test_a_large_topic_among_few_prompts_still_splits():
    for seed in range(20):
        assert sizes_of(split_by_topic(prompts_of([3, 1, 1, 1, 1, 1]), seed, "s")) == (4, 2, 0, 2)
        # Only with a topic of eight placed first is there room for all four splits.
        assert sizes_of(split_by_topic(prompts_of([1, 8, 1, 1, 8, 1]), seed, "s")) == (8, 2, 2, 8)


def test_too_few_topics_say_how_many_and_what_to_do():
    with pytest.raises(PromptError, match=r"mine\.csv: 40 prompts in 2 topics .* largest of 20.*add other topics"):
        split_by_topic(prompts_of([20, 20]), 0, "mine.csv")


def test_too_few_prompts():
    with pytest.raises(PromptError, match="s: got 7 different prompts, expected at least 8"):
        split_by_topic(prompts_of([1] * 7), 0, "s")
    with pytest.raises(PromptError, match="got 7"):
        split_sizes(7)
