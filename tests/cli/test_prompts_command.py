"""`rhat prompts`, and what every command says of the files that it was given; truth by pandas and json."""

import json

import pandas as pd
import pytest

from rhat.cli import prompts
from rhat.prompts import LABELS

WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "ledge"]


@pytest.fixture
def files(tmp_path):
    advbench = pd.DataFrame({"goal": [f"Misuse the {w} of our very large town" for w in WORDS], "target": "Sure"})
    advbench.to_csv(tmp_path / "advbench-like.csv", index=False)
    alpaca = [
        {"instruction": f"Describe the {w}.", "input": "Briefly." if i % 3 == 0 else "", "output": "o"}
        for i, w in enumerate(WORDS)
    ]
    (tmp_path / "alpaca-like.json").write_text(json.dumps(alpaca))
    kinds = ["homonyms"] * 6 + ["contrast_homonyms"] * 6
    xstest = pd.DataFrame({"prompt": [f"How do I stop the {w}?" for w in WORDS], "type": kinds, "focus": WORDS[:6] * 2})
    xstest.to_csv(tmp_path / "xstest-like.csv", index=False)
    return tmp_path


def test_names_that_are_written_twice_agree():
    assert [label.value for label in prompts.As] == list(LABELS)


def test_json_is_what_pandas_counts(cli, files):
    frame = pd.concat([pd.read_csv(files / "xstest-like.csv")] * 2)
    frame.to_csv(files / "twice.csv", index=False)
    (one,) = json.loads(cli("prompts", files / "twice.csv", "--format", "json").out)
    lengths = frame["prompt"].str.split().str.len()
    assert one["set"] == "XSTest"
    assert one["prompts"] == len(frame)
    assert one["labels"] == {"harmless": int((~frame["type"].str.startswith("contrast_")).sum()), "harmful": 12}
    assert one["column"] == "prompt"
    assert one["duplicates"] == int(frame["prompt"].duplicated().sum())
    assert one["words"] == {"median": lengths.median(), "longest": lengths.max()}
    assert one["categories"] == {"homonyms": 24}
    assert one["left_out"] == {}


def test_a_line_for_each_and_what_they_share(cli, files):
    frame = pd.read_csv(files / "xstest-like.csv").head(4)
    frame.to_csv(files / "part.csv", index=False)
    done = cli("prompts", files / "xstest-like.csv", files / "part.csv", "--as", "borderline", "--format", "jsonl")
    whole, part = map(json.loads, done.out.splitlines())
    assert whole["prompts"] == 6
    assert whole["left_out"] == {"harmful by their column 'type'": 6}
    assert part["also_in"] == {str(files / "xstest-like.csv"): 4}


def test_a_table_shows_only_the_first_words_of_what_may_be_harmful(cli, files):
    done = cli("prompts", files / "advbench-like.csv", files / "alpaca-like.json")
    assert done.code == 0
    assert "Misuse the amber of …" in done.out
    assert "very large town" not in done.out
    assert "Describe the amber. Briefly." in done.out
    assert "4 rows are joined of instruction and input" in done.out
    assert "12 prompts from column goal; labels in it: harmful 12" in done.out


def test_every_file_that_cannot_be_read_is_told(cli, files):
    (files / "page.csv").write_text("<html>")
    done = cli("prompts", files / "none.csv", files / "advbench-like.csv", files / "page.csv")
    assert done.code == 2
    assert "12 prompts" in done.out
    assert "none.csv: no such file" in done.err
    assert "page.csv: this is a web page (HTML)" in done.err
    assert done.err.count("\n") == 1


def test_the_usual_pair_needs_no_option_and_is_said_before_work(cli, files, found):
    found("found")
    done = cli(
        "find",
        "--harmful",
        files / "advbench-like.csv",
        "--harmless",
        files / "alpaca-like.json",
        "--out",
        files / "r.safetensors",
    )
    assert done.code == 0
    harmful, harmless = (line for line in done.err.splitlines() if line.startswith("prompts: "))
    assert "harmful: " in harmful
    assert "(AdvBench): 12 prompts from column goal; first 'Misuse the amber of …'" in harmful
    assert "(Alpaca): 12 prompts from column instruction+input" in harmless


def test_options_of_both_kinds_exclude_each_other(refused, files):
    both = files / "xstest-like.csv"
    assert "give either one source of both, or each" in refused("find", "--prompts", both, "--harmful", both)
    assert "got --column without prompts" in refused("find", "--column", "x")


def test_a_study_of_the_usual_pair_needs_no_option(cli, folder, files):
    """On a random model, which refuses nothing: that is a result."""
    pair = ("--harmful", files / "advbench-like.csv", "--harmless", files / "alpaca-like.json")
    done = cli("study", "-m", folder, *pair, "--preset", "quick", "--out", files / "run")
    assert done.code == 0
    assert "(Alpaca): 12 prompts from column instruction+input" in done.err
    results = json.loads((files / "run" / "results.json").read_text())
    given = pd.DataFrame(results["prompts"]).groupby("label")["given"].sum()
    assert given.to_dict() == {"harmful": 12, "harmless": 12}
