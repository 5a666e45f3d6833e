"""`rhat capability`: what it prints is what the library gives."""

import json

import pytest

import rhat
from rhat.directions import Direction
from rhat.scoring.capability import capability_items, measure


def test_rows_of_the_library(cli, folder, direction, monkeypatch):
    some = capability_items()[::30]
    monkeypatch.setattr(measure, "capability_items", lambda: some)
    done = cli("capability", "-m", folder, "-d", direction, "--op", "ablate", "--format", "json")
    assert done.code == 0, done.err
    model = rhat.load(folder)
    expected = rhat.capability(model, rhat.ablate(Direction.load(direction)))
    assert json.loads(done.out) == [row.model_dump(exclude_none=True) for row in expected]
    table = cli("capability", "-m", folder)
    assert table.code == 0
    assert float(table.out.split("\nall ")[1].split()[1]) == pytest.approx(100 * expected[-1].before, abs=0.01)
    assert "Unedited" not in table.out


def test_what_belongs_together(refused, folder, direction):
    assert "give both, or neither" in refused("capability", "-m", folder, "-d", direction)
    assert "give both, or neither" in refused("capability", "-m", folder, "--op", "ablate")
    assert "without --op" in refused("capability", "-m", folder, "--value", "2")
