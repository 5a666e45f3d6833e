"""Small files in the shape of the field's data sets; what they should give is counted by pandas.

No row is of the real sets: the texts were written for these tests, and ask for nothing.
"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from rhat.errors import PromptError
from rhat.prompts import read, read_texts
from rhat.prompts.known_sets import KNOWN_SETS
from rhat.prompts.reading import read_source
from rhat.prompts.sources import parse_source

PAGE = Path(__file__).parents[2] / "docs" / "prompts.md"
WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "ledge"]


def said(stem, n=12):
    return [f"{stem} the {word}, number {i}" for i, word in zip(range(n), WORDS * 9, strict=False)]


def harmbench():
    n = 12
    kinds = (["standard"] * 6 + ["contextual"] * 4 + ["copyright"] * 2)[:n]
    return pd.DataFrame(
        {
            "Behavior": said("Misuse"),
            "FunctionalCategory": kinds,
            "SemanticCategory": ["illegal", "chemical_biological"] * 6,
            "Tags": ["", "context"] * 6,
            "ContextString": [f"Context {i}." if kind == "contextual" else None for i, kind in enumerate(kinds)],
            "BehaviorID": [f"b{i}" for i in range(n)],
        }
    )


def jailbreakbench(stem):
    return pd.DataFrame(
        {
            "Index": range(12),
            "Goal": said(stem),
            "Target": said("Sure, here is"),
            "Behavior": [f"Topic {w}" for w in WORDS],
            "Category": ["Malware", "Fraud"] * 6,
            "Source": ["Original"] * 12,
        }
    )


def sorry_bench():
    styles = ["base", "slang", "base", "question"]
    return pd.DataFrame(
        {
            "question_id": [1 + i // 2 for i in range(16)],
            "category": [str(1 + i // 4) for i in range(16)],
            "turns": [[text] for text in said("Misuse", 16)],
            "prompt_style": styles * 4,
        }
    )


def do_not_answer():
    return pd.DataFrame(
        {
            "id": range(1, 13),
            "risk_area": ["Malicious Uses", "Misinformation Harms"] * 6,
            "types_of_harm": ["a"] * 12,
            "specific_harms": ["b"] * 12,
            "question": said("Misuse"),
            "GPT4_response": said("No, not"),
            "GPT4_harmful": [0] * 12,
        }
    )


def dolly(second="context"):
    return pd.DataFrame(
        {
            "instruction": said("Describe"),
            second: ["About it." if i % 3 == 0 else "" for i in range(12)],
            "response" if second == "context" else "output": said("It is"),
            "category": ["open_qa", "closed_qa"] * 6,
        }
    )


def mt_bench():
    return pd.DataFrame(
        {
            "question_id": range(81, 93),
            "category": ["writing", "math"] * 6,
            "turns": [[text, f"Now shorter: {text}"] for text in said("Describe")],
            "reference": [[] for _ in range(12)],
        }
    )


def joined(frame, first, second, joint="\n\n"):
    return [
        joint.join(text for text in pair if text and text == text)
        for pair in zip(frame[first], frame[second], strict=True)
    ]


OF = {  # set → (a frame in its shape, its prompts by pandas, the label they have)
    "AdvBench": lambda: ((f := pd.DataFrame({"goal": said("Misuse"), "target": said("Sure")})), f["goal"], "harmful"),
    "HarmBench": lambda: (
        (f := harmbench()),
        joined(f[f["FunctionalCategory"] != "copyright"], "ContextString", "Behavior", "\n\n---\n\n"),
        "harmful",
    ),
    "JailbreakBench": lambda: ((f := jailbreakbench("Misuse")), f["Goal"], "harmful"),
    "SORRY-Bench": lambda: ((f := sorry_bench()), f[f["prompt_style"] == "base"]["turns"].str[0], "harmful"),
    "do-not-answer": lambda: ((f := do_not_answer()), f["question"], "harmful"),
    "StrongREJECT": lambda: (
        (
            f := pd.DataFrame(
                {"category": ["Violence", "Fraud"] * 6, "source": ["x"] * 12, "forbidden_prompt": said("Misuse")}
            )
        ),
        f["forbidden_prompt"],
        "harmful",
    ),
    "OR-Bench": lambda: (
        (f := pd.DataFrame({"prompt": said("Describe"), "category": ["privacy", "hate", "illegal"] * 4})),
        f["prompt"],
        "borderline",
    ),
    "Alpaca": lambda: ((f := dolly("input").drop(columns="category")), joined(f, "instruction", "input"), "harmless"),
    "Dolly": lambda: ((f := dolly()), joined(f, "instruction", "context"), "harmless"),
    "MT-Bench": lambda: ((f := mt_bench()), f["turns"].str[0], "harmless"),
}
FILES = {"OR-Bench": "or-bench-80k", "JailbreakBench": "harmful-behaviors"}


def save(frame, path):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".json":
        frame.to_json(path, orient="records")
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", OF)
def test_a_known_set_is_read_as_it_is_meant(tmp_path, name, suffix):
    frame, wanted, label = OF[name]()
    path = save(frame, tmp_path / f"{FILES.get(name, 'set')}{suffix}")
    reading = read_source(parse_source(path), label)
    assert reading.reader.layout.known.title == name
    assert [row.text for row in reading.rows] == list(wanted)
    assert sum(reading.reader.left_out.values()) == len(frame) - len(wanted)
    assert not [line for line in reading.warnings() if "taken as" in line]
    other = read_source(parse_source(path), "harmless" if label == "harmful" else "harmful")
    assert any(
        f"looks like {name}, whose prompts are {label}, and they are taken as" in line for line in other.warnings()
    )


def test_every_set_is_tested_and_in_the_documentation():
    assert {known.title for known in KNOWN_SETS} == {*OF, "XSTest", "MaliciousInstruct"}
    page = PAGE.read_text(encoding="utf-8")
    for known in KNOWN_SETS:
        row = re.search(rf"^\| {re.escape(known.title)} \| (.*) \| (.*) \| (.*) \|$", page, re.MULTILINE)
        assert row, known.title
        assert row[2] == (known.shown_label), known.title
        assert row[3] == known.note, known.title


def test_malicious_instruct_is_known_by_its_name(tmp_path):
    path = tmp_path / "MaliciousInstruct.txt"
    path.write_text("\n".join(said("Misuse")))
    reading = read_source(parse_source(path), "harmful")
    assert reading.reader.layout.known.title == "MaliciousInstruct"
    assert [row.text for row in reading.rows] == said("Misuse")


def test_what_harmbench_leaves_out_is_counted(tmp_path, caplog):
    path = save(harmbench(), tmp_path / "harmbench.csv")
    read_texts(path)
    assert "harmbench.csv: 2 of 12 rows are left out (2 copyright)" in caplog.text


def test_what_mt_bench_and_sorry_bench_leave_out_is_counted(tmp_path, caplog):
    read_texts(save(mt_bench(), tmp_path / "mt.jsonl"))
    assert "mt.jsonl: 12 rows have later turns, which are not read" in caplog.text
    read_texts(save(sorry_bench(), tmp_path / "sorry.jsonl"))
    assert "sorry.jsonl: 8 of 16 rows are left out (8 not of the base style)" in caplog.text


def test_rows_that_are_left_out_can_be_chosen(tmp_path):
    frame = harmbench()
    path = save(frame, tmp_path / "harmbench.csv")
    wanted = frame[frame["FunctionalCategory"] == "copyright"]["Behavior"].tolist()
    assert [t for _, t in read_texts(f"{path}?FunctionalCategory=copyright")] == wanted
    styles = save(sorry_bench(), tmp_path / "sorry.jsonl")
    slang = sorry_bench().query("prompt_style == 'slang'")["turns"].str[0].tolist()
    assert [t for _, t in read_texts(f"{styles}?prompt_style=slang")] == slang


def test_benign_twins_of_jailbreakbench_are_paired(tmp_path):
    harmful = save(jailbreakbench("Misuse"), tmp_path / "harmful-behaviors.csv")
    benign = save(jailbreakbench("Describe"), tmp_path / "benign-behaviors.csv")
    contrast = read(harmful, benign)
    goals = {label: pd.read_csv(path) for label, path in (("harmful", harmful), ("harmless", benign))}
    pairs = {(p.label, p.text): p.topic for p in contrast.prompts}
    for label, frame in goals.items():
        assert {text: topic for (of, text), topic in pairs.items() if of == label} == dict(
            zip(frame["Goal"], frame["Behavior"], strict=True)
        )
    swapped = read_source(parse_source(benign), "harmful").warnings()
    assert any(
        "looks like JailbreakBench, whose prompts are harmless, and they are taken as harmful" in line
        for line in swapped
    )


def test_or_bench_toxic_is_harmful_by_its_name(tmp_path):
    frame, _, _ = OF["OR-Bench"]()
    toxic = save(frame, tmp_path / "or-bench-toxic.csv")
    assert not read_source(parse_source(toxic), "harmful").warnings()
    assert read_source(parse_source(toxic), "borderline").warnings()


@pytest.mark.parametrize(
    ("choice", "query"),
    [
        ("risk_area=Malicious Uses", "risk_area == 'Malicious Uses'"),
        ("risk_area=malicious%20uses", "risk_area == 'Malicious Uses'"),
        ("Risk_Area=Misinformation Harms&id=2", "risk_area == 'Misinformation Harms' and id == 2"),
        ("id=3&id=5&id=8", "id in (3, 5, 8)"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_are_chosen(tmp_path, choice, query, suffix):
    path = save(do_not_answer(), tmp_path / f"p{suffix}")
    wanted = do_not_answer().query(query)
    assert [text for _, text in read_texts(f"{path}?{choice}")] == wanted["question"].tolist()
    responses = [text for _, text in read_texts(f"{path}?{choice}#GPT4_response")]
    assert responses == wanted["GPT4_response"].tolist()


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("?area=x", "no column 'area' to choose rows by; found id, risk_area"),
        ("?risk_area=x", "no row has 'x' in column 'risk_area'; it holds Malicious Uses 6, Misinformation Harms 6"),
        ("?risk_area", "'risk_area' chooses no rows; expected"),
        ("#", "no column after #"),
        ("#nothing", "no column 'nothing'; found id"),
    ],
)
def test_a_choice_that_makes_no_sense(tmp_path, rest, words):
    path = save(do_not_answer(), tmp_path / "p.csv")
    with pytest.raises(PromptError, match=re.escape(words)):
        read_texts(f"{path}{rest}")


def test_a_file_whose_name_holds_the_signs_is_found(tmp_path):
    path = tmp_path / "what? #1.jsonl"
    path.write_text(json.dumps({"aim": "x", "wish": "y"}) + "\n")
    assert read_texts(f"{path}#wish") == (("prompt-0001", "y"),)
    path.with_name("a#b.txt").write_text("z")
    assert read_texts(path.with_name("a#b.txt")) == (("prompt-0001", "z"),)


@pytest.mark.parametrize(
    "name",
    [
        "data/no.xlsx",
        "./owner/name",
        "/owner/name",
        "no/such/folder",
        "data/no.csv.gz",
        "data/no.JSONL",
        "~/x/y",
        "data/p.csv#goal",
    ],
)
def test_a_path_that_is_not_there_is_never_asked_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("rhat.prompts.reading.load_from_hub", lambda *_: pytest.fail("asked"))
    with pytest.raises(PromptError, match="no such file"):
        read_texts(name)


def test_a_folder_that_is_there_is_no_owner(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("rhat.prompts.reading.load_from_hub", lambda *_: pytest.fail("asked"))
    with pytest.raises(PromptError, match="data/prompts: no such file"):
        read_texts("data/prompts")
