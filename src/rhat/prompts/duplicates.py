"""Duplicates: the same text up to case and spaces, and near-duplicates by shared words."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def folded(text: str) -> str:
    """The text without differences of case and white space; equal for exact duplicates."""
    return " ".join(text.casefold().split())


def near_duplicate_groups(texts: Sequence[str]) -> list[int]:
    """For each text the index of the first text of its group of near-duplicates, perhaps its own.

    Two texts are near-duplicates when the Jaccard similarity of their sets of words, |A ∩ B| / |A ∪ B|, is
    above 0.8, whatever the order of the words; groups are the connected ones. Exact: two such sets must share
    one of their rarest few words, and only texts that do are compared (prefix filtering). 10 000 prompts take
    about a second, or ten if nearly all are near-duplicates of each other. Scripts that do not put spaces
    between words count a run of letters as one word.
    """
    sets = [frozenset(_WORD.findall(text.casefold())) for text in texts]
    frequency = Counter(word for words in sets for word in words)
    leader = list(range(len(texts)))
    sharing: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(sets)), key=lambda i: len(sets[i])):
        words = sets[i]
        rarest_first = sorted(words, key=lambda word: (frequency[word], word))
        # Sets come by size. An earlier near-duplicate (no larger) holds more than 4/5 of these words, so it
        # holds one of the rarest fifth and one more. A later one (no smaller) holds more than 8/9 of them, so
        # it is enough to list this set under its rarest ninth and one more.
        prefix = rarest_first[: len(words) - 4 * len(words) // 5]
        for j in {j for word in prefix for j in sharing[word]}:
            if 5 * len(sets[j]) <= 4 * len(words) or _lead(leader, i) == _lead(leader, j):
                continue
            shared = len(words & sets[j])
            if 5 * shared > 4 * (len(words) + len(sets[j]) - shared):
                a, b = sorted((_lead(leader, i), _lead(leader, j)))
                leader[b] = a
        for word in rarest_first[: len(words) - 8 * len(words) // 9]:
            sharing[word].append(i)
    return [_lead(leader, i) for i in range(len(texts))]


def _lead(leader: list[int], i: int) -> int:
    while leader[i] != i:
        leader[i] = leader[leader[i]]
        i = leader[i]
    return i
