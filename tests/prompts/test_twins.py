"""Unsafe twins: in the built-in set, and read from the user's own prompts."""

import json

import pytest

from rhat.errors import PromptError, StudyError
from rhat.prompts import builtin, of, read
from rhat.study.config import StudyConfig

BAD, GOOD, EDGE, TWINS = ([f"{stem} number {i}" for i in range(10)] for stem in ("rob", "bake", "kill time", "kill"))


def test_any_number_of_built_in_twins_are_those_of_as_many_borderline_prompts():
    contrast = builtin()
    for n in (1, 64, 100, 200):
        ids = [[p.id.split("-")[1] for p in contrast.select(label, "test", n)] for label in ("borderline", "twin")]
        assert ids[0] == ids[1]
    kinds = [p.category for p in contrast.select("borderline", "test", 100)]
    assert {kinds.count(kind) for kind in kinds} == {10}


def test_twins_in_lists():
    contrast = of(BAD, GOOD, EDGE, twins=TWINS)
    assert sorted(p.text for p in contrast.select("twin", "test")) == TWINS
    assert of(BAD, GOOD, EDGE).select("twin") == ()
    with pytest.raises(PromptError, match="twins: got them without borderline prompts; give these as well"):
        of(BAD, GOOD, twins=TWINS)


def test_twins_in_files(tmp_path):
    paths = {}
    for name, texts in (("bad", BAD), ("good", GOOD), ("edge", EDGE)):
        paths[name] = tmp_path / f"{name}.txt"
        paths[name].write_text("\n".join(texts))
    both = tmp_path / "both.jsonl"
    rows = [{"text": t, "label": "safe", "topic": f"t{i}"} for i, t in enumerate(EDGE)]
    rows += [{"text": t, "label": "unsafe", "topic": f"t{i}"} for i, t in enumerate(TWINS)]
    both.write_text("\n".join(map(json.dumps, rows)))
    alone = read(paths["bad"], paths["good"], paths["edge"])
    assert (len(alone.select("borderline")), alone.select("twin")) == (10, ())
    contrast = read(paths["bad"], paths["good"], both, twins=both)
    topics = [[p.topic for p in contrast.select(label, "test", 5)] for label in ("borderline", "twin")]
    assert topics[0] == topics[1]
    assert {p.text for p in contrast.select("twin")} == set(TWINS)
    with pytest.raises(PromptError, match="twins: got them without borderline prompts"):
        read(paths["bad"], paths["good"], twins=both)
    with pytest.raises(PromptError, match=r"'rob number 0' is both harmful .*bad.txt:1.* and twin"):
        read(paths["bad"], paths["good"], paths["edge"], twins=paths["bad"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"borderline": "c.txt"}, "got --borderline with the built-in set; give --harmful and --harmless as well"),
        ({"harmful": "a", "harmless": "b", "twins": "d"}, "got --twins without --borderline"),
    ],
)
def test_what_would_be_ignored_is_an_error(given, said):
    with pytest.raises(StudyError, match=said):
        StudyConfig(**given)
