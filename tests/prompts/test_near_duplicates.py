import re
import time
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from rhat.prompts.duplicates import folded, near_duplicate_groups


def by_all_pairs(texts):
    """The same groups from every pair, with fractions and repeated relabelling."""
    sets = [set(re.findall(r"\w+", t.casefold())) for t in texts]
    group = list(range(len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        union = sets[i] | sets[j]
        if union and len(sets[i] & sets[j]) / len(union) > 0.8 and group[i] != group[j]:
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if g == old else g for g in group]
    return group


words = st.lists(st.sampled_from("abcdefghijklmn"), max_size=14).map(" ".join)
nearly_all_words = st.sets(st.sampled_from("abcdefghijklmn"), max_size=3).map(
    lambda gone: " ".join(w for w in "abcdefghijklmn" if w not in gone)
)


@settings(max_examples=300, deadline=None)
@given(st.lists(words | nearly_all_words, max_size=15))
def test_the_index_finds_what_all_pairs_find(texts):
    assert near_duplicate_groups(texts) == by_all_pairs(texts)


def test_the_threshold_is_above_four_fifths():
    nine, ten = "a b c d e f g h i", "a b c d e f g h i j"
    assert near_duplicate_groups([nine, ten]) == [0, 0]  # 9/10
    assert near_duplicate_groups(["a b c d", "a b c d e"]) == [0, 1]  # 4/5 exactly
    # 8/10 exactly; the other texts make x and y common, so that the two are compared on a rarer word.
    others = ["x 1 2", "x 3 4", "y 5 6", "y 7 8"]
    assert near_duplicate_groups(["a b c d e f g h x", "a b c d e f g h y", *others]) == [0, 1, 2, 3, 4, 5]
    assert near_duplicate_groups(["A b, c!", "c B a"]) == [0, 0]
    assert near_duplicate_groups(["...", "!!!"]) == [0, 1]  # no words, nothing in common


def test_a_set_without_the_rarest_words_is_found():
    """15/18, where the three rarest of the larger set's words are those that the smaller one lacks."""
    letters = list("abcdefghijklmnopqr")
    assert near_duplicate_groups([" ".join(letters), " ".join(letters[3:])]) == [0, 0]


def test_chains_are_one_group():
    a = "1 2 3 4 5 6 7 8 9 10"
    b = "1 2 3 4 5 6 7 8 9 10 11"
    c = "1 2 3 4 5 6 7 8 9 10 11 12"
    d = "1 2 3 4 5 6 7 8 9 10 11 12 13"
    assert near_duplicate_groups([d, "other", a, c, b]) == [0, 1, 0, 0, 0]


def test_ten_thousand_templated_prompts_take_seconds():
    """The same words but two in all of them: comparing all pairs would take minutes."""
    texts = [f"Write a short note on how one would go about thing{i} in place{i % 97}" for i in range(10_000)]
    start = time.perf_counter()
    groups = near_duplicate_groups([*texts, texts[3] + " please"])
    assert time.perf_counter() - start < 10
    assert groups[-1] == groups[3]


def test_folding():
    assert folded("  How\tTo\n do ") == folded("how to do")
    assert folded("STRASSE") == folded("straße")
    assert folded("how to do it") != folded("how to do")
