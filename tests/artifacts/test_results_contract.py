import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from rhat import results as contract
from rhat.errors import ArtifactError

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


def minimal(**more):
    return {
        "schema_version": 3,
        "outcome": "found",
        "outcome_sentence": "r̂ was found.",
        "model": {"name": "tiny", "n_layers": 2, "d_model": 8},
    } | more


def rate(**more):
    row = {"condition": "baseline", "prompts": "harmless", "n": 4, "refused": 1, "complied": 3, "degenerate": 0}
    return row | {"rate": 0.25, "ci_low": 0.05, "ci_high": 0.7} | more


def test_schema_is_a_valid_schema():
    Draft202012Validator.check_schema(contract.schema())
    assert contract.schema()["properties"]["schema_version"]["const"] == contract.SCHEMA_VERSION


def test_write_then_read_gives_the_same(tmp_path):
    results = minimal(rates=[rate()])
    path = contract.write(results, tmp_path / "run")
    assert path == tmp_path / "run" / "results.json"
    assert contract.read(tmp_path / "run") == contract.read(path) == results
    assert os.listdir(tmp_path / "run") == ["results.json"]


def test_numpy_scalars_and_tuples_become_plain(tmp_path):
    row = rate(n=np.int64(4), rate=np.float32(0.25))
    contract.write(minimal(rates=(row,)), tmp_path)
    assert contract.read(tmp_path)["rates"] == [rate()]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"outcome": "lost"}, "outcome: expected one of found, .*got 'lost'"),
        ({"rates": [rate(), rate(rate="high")]}, r"rates\[1\]\.rate: expected number, got str 'high'"),
        ({"rates": [rate(rate=25.0)]}, r"rates\[0\]\.rate: expected at most 1.*got 25\.0"),
        ({"rates": [{"condition": "baseline"}]}, r"rates\[0\]: expected .*prompts.*, got condition"),
        ({"rates": [rate(rate=None)]}, r"rates\[0\]\.rate: expected a value, got null; leave out"),
        ({"added_field": None}, "added_field: expected a value, got null"),
        ({"rates": [rate(ci_lwo=0.1)]}, r"rates\[0\]\.ci_lwo: expected no such field"),
        ({"rates": [rate(rate=float("nan"))]}, r"rates\[0\]\.rate: expected a finite number, got nan"),
        ({"timings": [{"stage": "find", "seconds": float("inf")}]}, "expected a finite number, got inf"),
        ({"rates": [rate(n=0)]}, r"rates\[0\]\.n: expected at least 1, got 0"),
        ({"settings": {"when": object()}}, "settings.when: expected a JSON value, got object"),
        (
            {"scopes": [{"scope": "all", "token_share": 1, "n": 3}]},
            r"scopes\[0\]: expected rate or score_mean",
        ),
        (
            {"scopes": [{"scope": "all", "token_share": 1, "n": 3, "rate": 0.5}]},
            r"scopes\[0\]: expected ci_low, ci_high as well",
        ),
    ],
)
def test_broken_results_are_refused_and_nothing_is_written(tmp_path, broken, message):
    with pytest.raises(ArtifactError, match=message) as raised:
        contract.write(minimal(**broken), tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_null_is_allowed_in_the_manifest_only(tmp_path):
    contract.write(minimal(manifest={"machine": {"gpu": None}}), tmp_path)
    assert contract.read(tmp_path)["manifest"] == {"machine": {"gpu": None}}


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    contract.write(minimal(), tmp_path)
    before = (tmp_path / "results.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ArtifactError, match=r"cannot be written \(No space left on device\); free some space"):
        contract.write(minimal(outcome="no_refusal"), tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["results.json"]


def test_read_says_what_is_wrong(tmp_path):
    with pytest.raises(ArtifactError, match=r"results\.json: no such file; give the folder of a finished"):
        contract.read(tmp_path)
    path = tmp_path / "results.json"
    for text, message in (
        ("{", "not valid JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[1]", "expected a JSON object of results, got array"),
        ("{}", "expected schema_version 3, got no schema_version"),
        (
            json.dumps(minimal(schema_version=4)),
            "expected schema_version 3, got schema_version 4; use the version",
        ),
        (json.dumps(minimal(schema_version=True)), "expected schema_version 3, got schema_version True"),
        (json.dumps(minimal(rates=[{}])), r"rates\[0\]: expected condition"),
    ):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            contract.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        contract.read(path)


def test_the_pages_are_made_from_the_records():
    spec = importlib.util.spec_from_file_location("results_page", DOCS.with_name("results.py"))
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    assert DOCS.read_text("utf-8") == pages.page(), "run python docs/results.py"
    assert DOCS.with_name("results.schema.json").read_text("utf-8") == pages.schema_text()


def test_every_field_has_a_meaning_and_every_record_says_what_it_is():
    for name, definition in contract.schema()["$defs"].items():
        assert definition["description"], name
        for field, rule in definition["properties"].items():
            assert rule.get("description") or "$ref" in rule, f"{name}.{field}"


def test_the_schema_and_the_records_agree(tmp_path):
    """The page of the schema is another reader of the same records: both take docs/example, both reject what is broken."""
    valid = Draft202012Validator(contract.schema())
    example = contract.read(DOCS.parent / "example")
    assert not list(valid.iter_errors(example))
    for broken in ({"outcome": "lost"}, {"rates": [rate(rate=25.0)]}, {"rates": [{"condition": "baseline"}]},
                   {"scopes": [{"scope": "all", "token_share": 1, "n": 3, "rate": 0.5}]}):  # fmt: skip
        assert list(valid.iter_errors(minimal(**broken)))
        with pytest.raises(ArtifactError):
            contract.check(minimal(**broken))


def test_fields_that_a_newer_version_added_are_ignored_when_read(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(minimal(rates=[rate(new=1)], something_new={"a": [1, 2]})))
    assert contract.read(tmp_path)["something_new"] == {"a": [1, 2]}
    assert contract.load(tmp_path).rates[0].rate == 0.25


def test_records_are_frozen():
    row = contract.records(minimal(rates=[rate()])).rates[0]
    with pytest.raises(ValidationError, match="frozen"):
        row.rate = 0.5
    assert row.changed(rate=0.5).rate == 0.5
    with pytest.raises(ValidationError):
        row.changed(rate=50)


def test_version_1_is_told_as_version_3(tmp_path):
    """16 against 0 of 400 was "equivalent" there; and a broken file of version 1 says so in a line."""
    row = {"treatment": "a", "reference": "baseline", "prompts": "harmless", "n": 400, "difference": 0.04}
    row |= {"ci_low": 0.0248, "ci_high": 0.0640, "ci90_low": 0.0266, "ci90_high": 0.0596, "mcnemar_p": 3e-5}
    row |= {"margin": 0.1, "equivalent": True, "noninferior": True, "verdict": "equivalent", "question": 1}
    old = minimal(schema_version=1, comparisons=[row | {"holm_p": 1e-4}, row | {"holm_p": 0.2}])
    path = tmp_path / "results.json"
    path.write_text(json.dumps(old))
    found = contract.read(tmp_path)
    assert found["schema_version"] == 3
    assert [(r["verdict"], r["equivalent"]) for r in found["comparisons"]] == [("better", True), ("equivalent", True)]
    path.write_text(json.dumps(minimal(schema_version=1, comparisons=[{"treatment": "a"}])))
    with pytest.raises(ArtifactError, match=r"broken results of version 1 \('ci_low'\); run the study again"):
        contract.read(tmp_path)


def test_version_2_is_told_in_four_classes(tmp_path):
    """What was neither refused nor complied was empty or broken; nothing was called partial."""
    row = rate(neither=2)
    del row["degenerate"]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(minimal(schema_version=2, rates=[row])))
    assert contract.read(tmp_path)["rates"] == [rate(degenerate=2)]
    assert contract.load(tmp_path).rates[0].partial is None
    path.write_text(json.dumps(minimal(schema_version=2, rates=[rate()])))
    with pytest.raises(ArtifactError, match=r"broken results of version 2 \('neither'\); run the study again"):
        contract.read(tmp_path)
