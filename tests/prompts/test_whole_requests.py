"""Nothing of a row that belongs to the request or to its label is dropped, or taken wrongly, without a word."""

import io
import json
import logging
import sys
import types

import numpy as np
import pandas as pd
import pytest

from rhat.cli.options import PromptOptions
from rhat.errors import PromptError
from rhat.prompts import read, read_texts
from rhat.prompts.streaming import count_texts, stream_texts


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts_of(source, column=None):
    return [text for _, text in read_texts(source, column)]


def problem(source, column=None):
    with pytest.raises(PromptError) as caught:
        read_texts(source, column)
    assert "\n" not in str(caught.value)
    return str(caught.value)


ALPACA = [
    {"instruction": "Sort these words.", "input": "pear, apple", "output": "apple, pear"},
    {"instruction": "Name a river.", "input": "", "output": "The Rhine."},
    {"instruction": "Translate the sentence.", "input": "It rains.", "output": "Es regnet."},
]
DOLLY = [
    {"instruction": "Who wrote it?", "context": "The letter is by Ada.", "response": "Ada.", "category": "closed_qa"},
    {"instruction": "Name a lake.", "context": "", "response": "Como.", "category": "open_qa"},
]


@pytest.mark.parametrize(("rows", "second"), [(ALPACA, "input"), (DOLLY, "context")])
@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("column", [None, "instruction"])
def test_a_request_comes_with_its_object(tmp_path, rows, second, suffix, column):
    """Joined by pandas: the instruction, a blank line, what it is about."""
    frame = pd.DataFrame(rows)
    path = tmp_path / f"rows.{suffix}"
    {
        "json": lambda: frame.to_json(path, orient="records"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "csv": lambda: frame.to_csv(path, index=False),
        "parquet": lambda: frame.to_parquet(path),
    }[suffix]()
    wanted = (frame["instruction"] + "\n\n" + frame[second]).str.strip().tolist()
    assert texts_of(path, column) == wanted
    assert [text for chunk in stream_texts(path, column, chunk=2) for _, text in chunk] == wanted


def test_rows_without_an_object_can_be_chosen(tmp_path):
    path = lines(tmp_path / "alpaca.jsonl", ALPACA)
    assert texts_of(f"{path}?input=") == ["Name a river."]


@pytest.mark.parametrize(
    "beside", ["context", "input", "system", "system_prompt", "passage", "Document", "history", "image"]
)
def test_a_part_of_the_request_without_a_convention_is_counted(tmp_path, beside, caplog):
    rows = [{"prompt": f"Request {i}", beside: "what it is about" if i % 3 == 0 else None} for i in range(7)]
    path = lines(tmp_path / "p.jsonl", rows)
    n = int(pd.DataFrame(rows)[beside].notna().sum())
    said = problem(path)
    assert f"p.jsonl: {n} of 7 rows have a {beside!r} that may belong to the request" in said
    with pytest.raises(PromptError, match=f"{n} of 7 rows have a {beside!r}"):
        count_texts(path)
    joined = texts_of(path, f"prompt+{beside}")
    assert joined[:2] == ["Request 0\n\nwhat it is about", "Request 1"]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert texts_of(path, "prompt") == [row["prompt"] for row in rows]
    assert f"{n} rows have a {beside!r} that is not read" in caplog.text


def test_all_parts_are_told_at_once_in_an_order_that_makes_sense(tmp_path):
    rows = [{"prompt": "Request", "context": "about", "system": "Be brief."}, {"prompt": "Another", "context": "x"}]
    path = lines(tmp_path / "p.jsonl", rows)
    said = problem(path)
    assert "2 of 2 rows have a 'context' and 1 of 2 rows have a 'system' that may belong" in said
    assert "--column 'system+prompt+context'" in said
    assert texts_of(path, "system+prompt+context")[0] == "Be brief.\n\nRequest\n\nabout"


@pytest.mark.parametrize("beside", ["input", "context", "system"])
def test_an_empty_column_is_no_part_of_the_request(tmp_path, beside, caplog):
    path = lines(tmp_path / "p.jsonl", [{"prompt": "Request", beside: ""}, {"prompt": "Another", beside: None}])
    assert texts_of(path) == ["Request", "Another"]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


SYSTEM, USER, MODEL = ("system", "Be brief."), ("user", "What is rain?"), ("assistant", "Water.")


def talk(*turns, style="role"):
    if style == "role":
        return {"messages": [{"role": role, "content": content} for role, content in turns]}
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[role], "value": content} for role, content in turns]}


@pytest.mark.parametrize("style", ["role", "from"])
@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ((SYSTEM, USER), "holds a system message"),
        ((USER, MODEL, ("user", "And snow?")), "holds later turns"),
        ((USER, ("user", "And snow?")), "holds later turns"),
        ((MODEL, USER), "begins with the assistant"),
        ((USER, MODEL, MODEL), "holds later turns"),
    ],
)
def test_what_surrounds_a_request_is_rejected_with_the_count(tmp_path, turns, words, style, caplog):
    rows = [
        talk(USER, style=style),
        talk(*turns, style=style),
        talk(USER, MODEL, style=style),
        talk(*turns, style=style),
    ]
    path = lines(tmp_path / "p.jsonl", rows)
    name = next(iter(rows[0]))
    said = problem(path)
    assert said.startswith(f"{path}:2: '{name}' {words}")
    assert "(and 1 more: 4)" in said
    assert f"--column '{name}[0]'" in said
    first = [next(content for role, content in turns if role == "user"), USER[1]]
    assert sorted(texts_of(path, f"{name}[0]")) == sorted([USER[1], first[0], USER[1], first[0]])
    later = sum(role == "user" for role, _ in turns) > 1
    assert ("2 rows have later turns, which are not read" in caplog.text) == later


def test_a_conversation_in_columns_of_a_table_is_read_as_in_lists(tmp_path):
    frame = pd.DataFrame([talk(USER), talk(USER, MODEL)])
    frame.to_csv(tmp_path / "p.csv", index=False)
    assert texts_of(tmp_path / "p.csv") == [USER[1], USER[1]]
    frame.to_parquet(tmp_path / "p.parquet")
    pd.read_parquet(tmp_path / "p.parquet").to_csv(tmp_path / "numpy.csv", index=False)
    assert "holds a list in writing that cannot be read" in problem(tmp_path / "numpy.csv")


def test_lists_that_numpy_wrote_are_not_run_together(tmp_path):
    """NumPy prints ['One.' 'Two.'], which Python would read as one string."""
    pd.DataFrame({"turns": [np.array(["One.", "Two."])]}).to_csv(tmp_path / "p.csv", index=False)
    assert "holds a list in writing that cannot be read" in problem(tmp_path / "p.csv")
    pd.DataFrame({"turns": [["One.", "Two."]]}).to_csv(tmp_path / "q.csv", index=False)
    assert texts_of(tmp_path / "q.csv") == ["One."]


def test_a_picture_in_a_message_is_rejected(tmp_path):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    path = lines(tmp_path / "p.jsonl", [{"messages": [{"role": "user", "content": parts}]}])
    assert "holds a part of type image_url, and only text can be read" in problem(path)


def numbered(stem, n=12):
    return [
        f"{stem} {word} {i}"
        for i, word in zip(
            range(n), ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"], strict=False
        )
    ]


@pytest.fixture
def pair(tmp_path):
    """AdvBench's shape and Alpaca's."""
    advbench = tmp_path / "advbench.csv"
    pd.DataFrame({"goal": numbered("Bad request"), "target": numbered("Sure")}).to_csv(advbench, index=False)
    alpaca = tmp_path / "alpaca.json"
    rows = [
        {"instruction": t, "input": "this" if i % 4 == 0 else "", "output": "o"} for i, t in enumerate(numbered("Do"))
    ]
    alpaca.write_text(json.dumps(rows))
    return str(advbench), str(alpaca)


def test_two_files_with_different_columns(pair):
    contrast = read(*pair)
    assert [p.text for p in contrast.prompts if p.label == "harmful"] == pd.read_csv(pair[0])["goal"].tolist()
    frame = pd.read_json(pair[1])
    wanted = (frame["instruction"] + "\n\n" + frame["input"]).str.strip().tolist()
    assert [p.text for p in contrast.prompts if p.label == "harmless"] == wanted


@pytest.fixture
def odd(tmp_path):
    """Two files whose columns nobody could guess."""
    paths = []
    for stem, column in (("bad", "aim"), ("good", "wish")):
        path = tmp_path / f"{stem}.csv"
        pd.DataFrame({column: numbered(stem), "noise": numbered("noise")}).to_csv(path, index=False)
        paths.append(str(path))
    return paths


def test_a_column_for_each_file(odd):
    bad, good = odd
    with pytest.raises(PromptError, match="no column 'aim'; found wish, noise"):
        PromptOptions(bad, good, column="aim").read(0, False)
    told = PromptOptions(bad, good, harmful_column="aim", harmless_column="wish").read(0, False)
    written = PromptOptions(f"{bad}#aim", f"{good}#wish").read(0, False)
    mixed = PromptOptions(bad, good, column="wish", harmful_column="aim").read(0, False)
    assert {p.text for p in told.prompts} == {*numbered("bad"), *numbered("good")}
    assert told.fingerprint == written.fingerprint == mixed.fingerprint
    with pytest.raises(PromptError, match="names the column 'aim', and --harmful-column names 'noise'"):
        PromptOptions(f"{bad}#aim", good, harmful_column="noise").read(0, False)
    with pytest.raises(PromptError, match="got --harmful-column without prompts"):
        PromptOptions(harmful_column="aim").read(0, False)


XSTEST = pd.DataFrame(
    {
        "id": range(1, 33),
        "prompt": [f"{'How do I end a process' if i < 16 else 'How do I hurt a person'} {w}?" for i, w in enumerate(numbered("x", 16) * 2)],
        "type": ["homonyms"] * 16 + ["contrast_homonyms"] * 16,
        "label": ["safe"] * 16 + ["unsafe"] * 16,
        "focus": [f"f{i}" for i in range(16)] * 2,
        "note": ["n"] * 32,
    }
)  # fmt: skip


@pytest.mark.parametrize("without", [[], ["label"], ["id", "label", "note"]])
def test_unsafe_rows_of_xstest_are_not_borderline(tmp_path, without, pair, caplog):
    path = tmp_path / "xstest.csv"
    XSTEST.drop(columns=without).to_csv(path, index=False)
    safe = XSTEST[XSTEST["label"] == "safe"]["prompt"].tolist()
    contrast = read(*pair, path)
    assert [p.text for p in contrast.select("borderline")] != []
    assert sorted(p.text for p in contrast.select("borderline")) == sorted(safe)
    assert "xstest.csv: 16 of 32 rows are left out (16 harmful by their column" in caplog.text
    both = PromptOptions(both=str(path)).read(0, False)
    assert sorted(p.text for p in both.select("harmless")) == sorted(safe)
    assert sorted(p.text for p in both.select("harmful")) == sorted(set(XSTEST["prompt"]) - set(safe))
    twins = {p.topic for p in both.select("harmful")}
    assert twins == {p.topic for p in both.select("harmless")}
    assert len(read_texts(path)) == len(XSTEST)


@pytest.mark.parametrize(
    ("column", "bad", "good"),
    [("label", "harmful", "benign"), ("Label", "unsafe", "safe"), ("is_harmful", True, False), ("safe", 0, 1)],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_labels_of_rows_are_heeded(tmp_path, column, bad, good, suffix, caplog):
    rows = [{"text": t, column: bad} for t in numbered("bad")] + [{"text": t, column: good} for t in numbered("good")]
    path = tmp_path / f"both.{suffix}"
    pd.DataFrame(rows).to_csv(path, index=False) if suffix == "csv" else lines(path, rows)
    contrast = PromptOptions(both=str(path)).read(0, False)
    assert {p.text for p in contrast.select("harmful")} == set(numbered("bad"))
    assert {p.text for p in contrast.select("harmless")} == set(numbered("good"))
    assert "12 of 24 rows are left out (12 harmless by their column" in caplog.text


def test_a_file_without_labels_cannot_be_both(odd):
    with pytest.raises(PromptError, match="no column says which are which"):
        PromptOptions(both=f"{odd[0]}#aim").read(0, False)


def test_a_flag_beside_an_answer_may_be_of_the_answer(tmp_path, pair, caplog):
    rows = [{"prompt": t, "response": "r", "is_safe": i % 2 == 0} for i, t in enumerate(numbered("bad"))]
    contrast = read(lines(tmp_path / "beaver.jsonl", rows), pair[1])
    assert len(contrast.select("harmful")) == 12
    assert "column 'is_safe' has two values (true 6, false 6), and rows of both are read" in caplog.text


def test_a_set_of_the_other_kind_is_said(pair, odd, caplog):
    read(f"{odd[0]}#aim", pair[0])
    assert "looks like AdvBench, whose prompts are harmful, and they are taken as harmless" in caplog.text


def test_what_was_chosen_is_said_and_harmful_prompts_only_begin(pair, caplog):
    with caplog.at_level(logging.INFO, logger="rhat.prompts.choices"):
        read(*pair)
    harmful, harmless = (r.getMessage() for r in caplog.records if r.name == "rhat.prompts.choices")
    assert harmful.endswith(
        "advbench.csv (AdvBench): 12 prompts from column goal; first 'Bad request a 0', last 'Bad request l 11'"
    )
    assert "(Alpaca): 12 prompts from column instruction+input; first 'Do a 0 this', last" in harmless
    assert "3 rows are joined of instruction and input" in harmless


def test_standard_input_is_held_to_the_same(monkeypatch):
    text = "\n".join(json.dumps(row) for row in ALPACA)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert next(t for chunk in stream_texts("-") for _, t in chunk) == "Sort these words.\n\npear, apple"
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(json.dumps(talk(SYSTEM, USER)).encode())))
    with pytest.raises(PromptError, match="stdin:1: 'messages' holds a system message"):
        list(stream_texts("-"))


def test_the_first_turn_alone_says_what_it_leaves_out(tmp_path, caplog):
    path = lines(tmp_path / "p.jsonl", [talk(SYSTEM, USER), talk(USER), talk(MODEL, USER, MODEL, USER)])
    assert texts_of(path, "messages[0]") == [USER[1]] * 3
    assert "p.jsonl: 2 rows have messages before the first user turn" in caplog.text
    assert "p.jsonl: 1 rows have later turns" in caplog.text


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("\n\nHuman: What is rain?\n\nAssistant: Water.", True),
        ("### Instruction:\nName a lake.\n\n### Response:\nComo.", True),
        ("<|im_start|>user\nName a lake.<|im_end|>", True),
        ("[INST] Name a lake. [/INST]", True),
        ("Name an assistant: who helps you?", False),
        ("What is the best response to rain?", False),
    ],
)
def test_transcripts_are_said(tmp_path, text, is_one, caplog):
    path = lines(tmp_path / "p.jsonl", [{"text": text}, {"text": "Name a river."}])
    assert texts_of(path) == [text.strip(), "Name a river."]
    assert ("p.jsonl: 1 prompts look like transcripts" in caplog.text) == is_one


@pytest.mark.parametrize("answers", ["response", "model_output", "GPT4_response", "completion"])
def test_a_label_beside_an_answer_may_be_of_the_answer(tmp_path, answers, pair, caplog):
    words = ["safe", "unsafe"] * 6
    rows = [{"prompt": t, answers: "r", "label": w} for t, w in zip(numbered("bad"), words, strict=True)]
    assert len(read(lines(tmp_path / "a.jsonl", rows), pair[1]).select("harmful")) == 12
    assert "column 'label' has two values (safe 6, unsafe 6), and rows of both are read" in caplog.text
    rows = [
        {"prompt": t, answers: "r", "prompt_label": w}
        for t, w in zip(numbered("bad", 16), words + ["unsafe"] * 4, strict=True)
    ]
    assert len(read(lines(tmp_path / "b.jsonl", rows), pair[1]).select("harmful")) == 10


def test_a_column_for_all_is_not_looked_for_in_plain_texts(tmp_path, odd, caplog):
    plain = tmp_path / "good.txt"
    plain.write_text("\n".join(numbered("fine")))
    contrast = PromptOptions(odd[0], str(plain), column="aim").read(0, False)
    assert {p.text for p in contrast.select("harmless")} == set(numbered("fine"))
    assert "good.txt: holds plain texts, so the column 'aim' was not looked for" in caplog.text
    with pytest.raises(PromptError, match="plain texts, without columns to choose rows by"):
        read_texts(f"{plain}?label=safe")


def test_standard_input_says_what_it_left_out(monkeypatch, caplog):
    rows = [{"turns": ["One.", "Two."]}, None, {"turns": ["Three."]}]
    text = "\n".join(json.dumps(row) for row in rows)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert [t for chunk in stream_texts("-", chunk=1) for _, t in chunk] == ["One.", "Three."]
    assert "stdin: 1 rows have later turns, which are not read" in caplog.text
    assert "stdin: 1 of 3 rows are left out (1 empty)" in caplog.text
