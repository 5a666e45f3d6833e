"""A folder that holds another study: what differs is named."""

import json

import pytest

from rhat.study.differing import differing

SETTINGS = {"model": "a", "preset": "quick", "seed": 0, "judges": (), "margin": 0.1}


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"fingerprint": "x", "settings": SETTINGS}))
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 1}, "seed: 0 there, 1 asked for"),
        ({"model": "b", "judges": ("x", "y")}, "model: a there, b asked for; judges: none there, x, y asked for"),
        ({}, "the same settings, but other weights, prompts or another version of rhat"),
    ],
)
def test_what_differs_is_named(marker, changed, said):
    assert differing(marker, SETTINGS | changed) == said


def test_a_marker_that_cannot_be_read_says_so(tmp_path):
    (tmp_path / "study.json").write_text("[]")
    assert differing(tmp_path / "study.json", SETTINGS) == "its settings cannot be read"
    assert differing(tmp_path / "none.json", SETTINGS) == "its settings cannot be read"
