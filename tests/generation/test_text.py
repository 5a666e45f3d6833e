"""Incremental text against decoding everything at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rhat.generation import Text
from rhat.generation.text import overlap
from tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def encode(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def write(tokens, stop=()):
    text = Text(TOKENIZER, stop)
    for token in tokens:
        if text.stopped:
            break
        text.push(token)
    text.finish()
    return text


@given(st.text(max_size=30))
def test_pieces_join_to_the_text(said):
    tokens = encode(said)
    text = write(tokens)
    assert str(text) == TOKENIZER.decode(tokens, skip_special_tokens=True)
    assert len(text.pieces) == len(tokens)


@given(
    st.text(alphabet="abn 😀é", max_size=25), st.lists(st.text(alphabet="abn 😀", min_size=1, max_size=4), max_size=3)
)
def test_text_is_cut_at_the_first_stop_string(said, stops):
    """The first to be complete: generation ends there, whatever a longer one might have become."""
    tokens = encode(said)
    text = write(tokens, stops)
    expected = said
    for n in range(1, len(tokens) + 1):
        known = TOKENIZER.decode(tokens[:n]).rstrip("\N{REPLACEMENT CHARACTER}")
        found = [known.find(stop) for stop in stops if stop in known]
        if found:
            expected = known[: min(found)]
            break
    assert str(text) == expected
    assert text.stopped == (expected != said)


def test_nothing_is_released_that_a_stop_string_may_take_back():
    text = Text(TOKENIZER, ("STOP",))
    assert [text.push(t) for t in encode("a ST")] == ["a", " ", "", ""]
    assert [text.push(t) for t in encode("ray")] == ["STr", "a", "y"]
    assert [text.push(t) for t in encode("STOP")] == ["", "", "", ""]
    assert text.stopped
    assert str(text) == "a STray"


def test_a_character_of_several_tokens_comes_at_once():
    text = Text(TOKENIZER)
    pieces = [text.push(t) for t in encode("é😀")]
    assert [p for p in pieces if p] == ["é", "😀"]
    cut = write(encode("😀")[:2])
    assert "\N{REPLACEMENT CHARACTER}" in str(cut)  # an answer that ends inside a character says so


@pytest.mark.parametrize(
    ("text", "stop", "n"), [("abc", "cd", 1), ("aa", "aab", 2), ("ab", "ab", 0), ("", "x", 0), ("b", "abc", 0)]
)
def test_overlap(text, stop, n):
    assert overlap(text, stop) == n
