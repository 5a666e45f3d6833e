import io
import json
import logging
import sys
import types
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rhat.errors import PromptError
from rhat.prompts import Prompt, read, read_texts
from rhat.prompts.sources import is_hub_id

NUMBERS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
]


def texts(stem, n=12):
    return [f"{stem} {NUMBERS[i % 14]} {i}" for i in range(n)]


def write(path, rows):
    """Each format by its own plainest means."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        names = list(rows[0])
        lines = [",".join(names)] + [",".join('"' + str(r[n]).replace('"', '""') + '"' for n in names) for r in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def harmless(tmp_path):
    return write(tmp_path / "harmless.txt", texts("calm"))


def problem(path, **options):
    """The one line that reading `path` says."""
    with pytest.raises(PromptError) as caught:
        read_texts(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# formats


@pytest.mark.parametrize("field", ["instruction", "prompt", "text"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_format_gives_the_same_prompts(tmp_path, suffix, field):
    wanted = [*texts("loud", 9), 'a "quoted", text', "two\nlines", "naïve – ½ 🙂"]
    path = write(tmp_path / f"p{suffix}", [{"id": i, field: t, "other": "x"} for i, t in enumerate(wanted)])
    assert read_texts(path) == tuple((str(i), t) for i, t in enumerate(wanted))


def test_lines_and_lists_of_strings(tmp_path):
    wanted = tuple((f"prompt-{i:04d}", text) for i, text in enumerate(texts("loud"), start=1))
    assert read_texts(write(tmp_path / "p.txt", texts("loud"))) == wanted
    assert read_texts(write(tmp_path / "p.json", texts("loud"))) == wanted
    assert read_texts(str(write(tmp_path / "p.jsonl", texts("loud")))) == wanted


def test_txt_skips_blank_lines_a_bom_and_carriage_returns(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"\xef\xbb\xbf first \r\n\r\n  \r\nsecond\r\n")
    assert [text for _, text in read_texts(path)] == ["first", "second"]


def test_line_separators_inside_a_json_string_do_not_end_the_line(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"text": "a\u2028b\x85c"}\n', encoding="utf-8")
    assert read_texts(path) == (("prompt-0001", "a\u2028b\x85c"),)


@pytest.mark.parametrize("field", ["messages", "prompt"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_messages_give_the_user_message(tmp_path, field, suffix):
    talk = [("system", ""), ("user", "the question"), ("assistant", "no")]
    row = {field: [{"role": role, "content": content} for role, content in talk]}
    assert read_texts(write(tmp_path / f"p{suffix}", [row])) == (("prompt-0001", "the question"),)


def test_content_in_parts_is_joined(tmp_path):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    path = write(tmp_path / "p.jsonl", [{"messages": [{"role": "user", "content": parts}]}])
    assert read_texts(path)[0][1] == "one\ntwo"


def test_instruction_goes_before_text(tmp_path):
    """As in Alpaca, whose `text` is the instruction and the answer together."""
    row = {"text": "Instruction: a. Response: b", "instruction": "a"}
    assert read_texts(write(tmp_path / "p.jsonl", [row]))[0][1] == "a"
    assert read_texts(tmp_path / "p.jsonl", "text")[0][1] == "Instruction: a. Response: b"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"first\nsecond\n", [("prompt-0001", "first"), ("prompt-0002", "second")]),
        (b'{"id": "a", "text": "first"}\n\n{"text": "second"}', [("a", "first"), ("prompt-0002", "second")]),
        (b'"quoted" is a word\n', [("prompt-0001", '"quoted" is a word')]),
        (b"{not json\n42\n", [("prompt-0001", "{not json"), ("prompt-0002", "42")]),
    ],
)
def test_standard_input(monkeypatch, given, expected):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(given)))
    assert list(read_texts("-")) == expected


def test_empty_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"\n")))
    assert problem("-") == "stdin: empty file; expected one prompt a line or row"


# what goes wrong


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.jsonl", b"", "p.jsonl: empty file; expected one prompt a line"),
        ("p.txt", b" \n\n", "p.txt: empty file"),
        ("p.json", b"[]", "p.json: empty, no prompts"),
        ("p.csv", b"text\n", "p.csv: empty, a header and no rows"),
        ("p.parquet", b"PAR1 not really", "p.parquet: not a Parquet file"),
        ("p.xlsx", b"x", "p.xlsx: unknown extension .xlsx; expected one of .jsonl, .ndjson, .json, .csv, "),
        ("p", b"x", "p: unknown extension (none)"),
        ("p.jsonl", b'{"text": "a"}\n\n{"text": b}\n', "p.jsonl:3: not JSON (Expecting value"),
        ("p.jsonl", b"[" * 100_000, "p.jsonl:1: not JSON ("),
        ("p.json", b'[\n"a"\n"b"]', "p.json:3: not JSON (Expecting ',' delimiter)"),
        ("p.json", b'{"data": []}', "p.json: an object at the top with data; expected a list"),
        ("p.json", b"[1]", "p.json: item 1: a number; expected a string or an object"),
        ("p.jsonl", b'{"aim": "a", "target": "b"}', "found aim, target; name the right one with --column"),
        ("p.jsonl", b"{}", "p.jsonl: empty, no prompts in it (1 empty)"),
        ("p.jsonl", b'{"text": "a"}\n{"id": 3}', "p.jsonl:2: no 'text' in this row; found id; fill it in"),
        ("p.jsonl", b'{"text": 3}', "p.jsonl:1: 'text' holds a number; expected a string"),
        ("p.jsonl", b'{"messages": [{"role": "tool", "content": "a"}]}', "'messages' holds no user message"),
        ("p.jsonl", b'{"messages": ["a"]}', "'messages' holds no user message"),
        ("p.jsonl", b'{"text": "a"}\n{"text": " ", "id": 3}', "p.jsonl:2: empty text; remove the row"),
        ("p.jsonl", b'{"text": null}', "p.jsonl: empty, no prompts in it (1 empty)"),
        ("p.jsonl", b'{"text": "\\ud83d"}', "p.jsonl:1: half a surrogate pair (\\ud83d) is no"),
        ("p.txt", b"caf\xc3\xa9\nna\xefve\n", "p.txt:2: not UTF-8 (byte 0xef), and not clearly Windows-1252; save"),
        ("p.csv", b"\xff\xfet\x00x", "p.csv: begins as UTF-16, and is damaged"),
        ("p.csv", b"id,text\n1,a\n2,one, two\n", "p.csv:3: 3 fields, the header has 2; put texts"),
        ("p.csv", b'id,text\n1,"a\n2,b\n', "not CSV (unexpected end of data); check the double quotes"),
        ("p.csv", b"id,text\n1,\n", "p.csv:2: empty text"),
        ("p.csv", b"id,text\n1\n", "p.csv:2: empty text"),
        ("p.csv", b"How do I knit?\nHow do I sew?\n", "found How do I knit?; name the right one"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    message = problem(tmp_path / name)
    assert words in message
    assert message.startswith(str(tmp_path))


def test_missing_files_and_folders(tmp_path):
    assert f"{tmp_path}/no.jsonl: no such file; check the path" in problem(tmp_path / "no.jsonl")
    assert problem("data/no.jsonl").startswith("data/no.jsonl: no such file; ")
    assert f"{tmp_path}: is a folder; give one file of prompts (.jsonl, " in problem(tmp_path)


def test_an_unknown_column_lists_the_known_ones(tmp_path):
    path = write(tmp_path / "p.csv", [{"goal": "a", "target": "b"}])
    assert read_texts(path, "goal") == (("prompt-0001", "a"),)
    assert "no column 'gaol'; found goal, target; name one of them with --column" in problem(path, column="gaol")


# contrast sets


def test_a_set_from_two_files(tmp_path, harmless):
    harmful = write(tmp_path / "harmful.csv", [{"text": t, "category": "c"} for t in texts("loud", 100)])
    contrast = read(harmful, harmless)
    assert contrast.counts()["harmful"] == {"train": 40, "validation": 10, "calibration": 10, "test": 40}
    assert contrast.counts()["harmless"] == {"train": 5, "validation": 2, "calibration": 0, "test": 5}
    assert contrast.counts()["borderline"] == {"train": 0, "validation": 0, "calibration": 0, "test": 0}
    assert contrast.prompts[0].id == "harmful-0001"
    assert contrast.prompts[0].text == "loud one 0"
    assert contrast.prompts[0].category == "c"
    assert contrast.prompts[100].id == "harmless-0001"
    assert contrast.name == f"{harmful} / {harmless}"
    assert read(harmful, harmless) == contrast
    assert read(harmful, harmless, seed=1).fingerprint != contrast.fingerprint


def test_borderline_prompts_are_all_for_testing(tmp_path, harmless):
    harmful = write(tmp_path / "harmful.txt", texts("loud"))
    borderline = write(tmp_path / "b.jsonl", [{"text": t, "split": "train"} for t in texts("edgy")])
    contrast = read(harmful, harmless, borderline)
    assert contrast.counts()["borderline"]["test"] == 12 == len(contrast.select("borderline"))


def test_duplicates_are_dropped_and_counted(tmp_path, harmless, caplog):
    path = write(tmp_path / "harmful.txt", [*texts("loud"), "LOUD  one 0", "loud two 1 ", "the last"])
    with caplog.at_level(logging.WARNING):
        contrast = read(path, harmless)
    assert f"{path}: dropped 2 duplicates" in caplog.text
    assert "13 prompts are left" in caplog.text
    assert len(contrast.select("harmful")) == 13
    assert {p.id for p in contrast.select("harmful")} >= {"harmful-0001", "harmful-0015"}


def test_nothing_is_said_when_there_is_nothing_to_say(tmp_path, harmless, caplog):
    with caplog.at_level(logging.WARNING):
        read(write(tmp_path / "harmful.txt", texts("loud")), harmless)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_too_few_prompts_counts_after_duplicates(tmp_path, harmless):
    path = write(tmp_path / "harmful.txt", [*texts("loud", 7), "loud one 0"])
    with pytest.raises(PromptError, match="got 7 different harmful prompts, expected at least 8; add prompts"):
        read(path, harmless)
    eight = write(tmp_path / "eight.txt", texts("loud", 8))
    assert read(eight, harmless).counts()["harmful"] == {
        "train": 4,
        "validation": 2,
        "calibration": 0,
        "test": 2,
    }


def test_a_prompt_with_two_labels_is_named(tmp_path, harmless):
    path = write(tmp_path / "harmful.txt", [*texts("loud"), "Calm  THREE 2"])
    with pytest.raises(PromptError, match=r"'calm three 2' is both harmful .*harmful.txt:13\) and harmless .*txt:3"):
        read(path, harmless)
    borderline = write(tmp_path / "b.txt", [*texts("edgy"), "calm three 2"])
    with pytest.raises(PromptError, match=r"is both harmless .* and borderline"):
        read(write(tmp_path / "h.txt", texts("loud")), harmless, borderline)


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_do_not_straddle(tmp_path, harmless, seed):
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    base = [" ".join(f"{w}{i}" for w in words) for i in range(12)]
    path = write(tmp_path / "harmful.txt", [*base, *(text + " please" for text in base)])
    prompts = read(path, harmless, seed=seed).select("harmful")
    split_of = {p.text: p.split for p in prompts}
    pairs = [(split_of.get(t), split_of.get(t + " please")) for t in base]
    assert all(a == b for a, b in pairs if a and b)
    assert sum(a is not None and b is not None for a, b in pairs) >= 9
    assert {p.topic for p in prompts if p.text.startswith("alpha0 ")} == {"near harmful-0001"}


def test_topics_of_the_file_are_kept_and_do_not_straddle(tmp_path, harmless):
    rows = [{"text": t, "topic": f"t{i // 3}"} for i, t in enumerate(texts("loud", 60))]
    prompts = read(write(tmp_path / "harmful.jsonl", rows), harmless).select("harmful")
    assert {(p.text, p.topic) for p in prompts} <= {(r["text"], r["topic"]) for r in rows}
    assert max(Counter(t for t, _ in {(p.topic, p.split) for p in prompts}).values()) == 1


SPLIT_COLUMN = ["train"] * 5 + ["validation"] * 3 + ["test"] * 4


def test_splits_of_the_files_are_used_when_every_row_has_one(tmp_path):
    for stem in ("loud", "calm"):
        rows = [{"text": t, "split": s} for t, s in zip(texts(stem), SPLIT_COLUMN, strict=True)]
        write(tmp_path / f"{stem}.csv", rows)
    contrast = read(tmp_path / "loud.csv", tmp_path / "calm.csv")
    assert [p.split for p in contrast.prompts] == SPLIT_COLUMN * 2


def test_splits_of_one_file_alone_are_not_used_and_that_is_said(tmp_path, harmless, caplog):
    rows = [{"text": t, "split": s} for t, s in zip(texts("loud"), SPLIT_COLUMN, strict=True)]
    contrast = read(write(tmp_path / "loud.csv", rows), harmless)
    assert contrast.counts()["harmful"]["validation"] == 2
    assert "12 of 24 rows name a split, so none of these is used" in caplog.text


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (
            ["dev", *SPLIT_COLUMN[1:]],
            "because 1 rows name another than train, validation, calibration, test (the first",
        ),
        (["train"] * 8 + ["test"] * 4, "because 0 prompts are in validation, and at least 2 are needed; others are"),
    ],
)
def test_splits_that_cannot_be_used_are_left_out_with_a_word(tmp_path, splits, words, caplog):
    rows = [{"text": t, "split": s} for t, s in zip(texts("loud"), splits, strict=True)]
    write(tmp_path / "loud.jsonl", rows)
    write(tmp_path / "calm.jsonl", [{"text": t, "split": "test"} for t in texts("calm")])
    contrast = read(tmp_path / "loud.jsonl", tmp_path / "calm.jsonl")
    assert contrast.counts()["harmful"] == {"train": 5, "validation": 2, "calibration": 0, "test": 5}
    assert f"loud.jsonl: its splits are not used, {words}" in caplog.text


def test_splits_that_part_near_duplicates_are_kept_and_reported(tmp_path, caplog):
    twin = "one two three four five six seven eight nine ten"
    loud = [twin, *texts("loud", 10), twin + " eleven"]
    for stem, given in (("loud", loud), ("calm", texts("calm"))):
        write(
            tmp_path / f"{stem}.jsonl",
            [{"text": t, "split": s} for t, s in zip(given, SPLIT_COLUMN, strict=True)],
        )
    contrast = read(tmp_path / "loud.jsonl", tmp_path / "calm.jsonl")
    assert (contrast.prompts[0].split, contrast.prompts[11].split) == ("train", "test")
    assert "1 groups of near-duplicates are in more than one" in caplog.text


def test_ids_that_both_labels_use_get_the_label_in_front(tmp_path):
    for stem in ("loud", "calm"):
        write(tmp_path / f"{stem}.csv", [{"id": i, "text": t} for i, t in enumerate(texts(stem))])
    contrast = read(tmp_path / "loud.csv", tmp_path / "calm.csv")
    assert {p.id for p in contrast.prompts} == {f"{s}-{i}" for s in ("harmful", "harmless") for i in range(12)}


def test_ids_that_repeat_are_left_out_with_a_word(tmp_path, harmless, caplog):
    path = write(tmp_path / "loud.jsonl", [{"id": "a" if i < 3 else i, "text": t} for i, t in enumerate(texts("loud"))])
    assert [p.id for p in read(path, harmless).select("harmful")].count("a") == 0
    assert "loud.jsonl: its ids are not used, because 2 of them repeat (the first: 'a', " in caplog.text
    assert read_texts(path)[0] == ("prompt-0001", "loud one 0")


# Hugging Face data sets


class FakeData:
    def __init__(self, rows):
        self.rows, self.column_names = rows, list(rows[0])

    def select_columns(self, names):
        return FakeData([{name: row[name] for name in names} for row in self.rows])

    def to_list(self):
        return self.rows


@pytest.fixture
def hub(monkeypatch):
    """`datasets` and `huggingface_hub.constants` that hold one repository and note what they were asked."""
    asked = []
    constants = types.ModuleType("huggingface_hub.constants")
    constants.HF_HUB_OFFLINE = False
    parent = types.ModuleType("huggingface_hub")
    parent.constants = constants
    module = types.ModuleType("datasets")
    module.config = types.SimpleNamespace(HF_HUB_OFFLINE=False)
    module.splits = {"train": FakeData([{"goal": "x", "prompt": t, "id": f"i{t}"} for t in texts("loud")])}

    def load_dataset(path, name=None, split=None, revision=None):
        offline = module.config.HF_HUB_OFFLINE and constants.HF_HUB_OFFLINE
        asked.append((path, name, split, revision, offline))
        if path != "owner/name":
            raise ConnectionError("cannot\nreach the Hub")
        return module.splits if split is None else module.splits[split]

    module.load_dataset = load_dataset
    module.asked = asked
    for each in (module, parent, constants):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return module


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("owner/name", ("owner/name", None, None)),
        ("owner/name:train", ("owner/name", None, "train")),
        ("owner/name?split=train", ("owner/name", None, "train")),
        ("owner/name:train?id=iloud one 0#prompt", ("owner/name", None, "train")),
        ("owner/name/config:train", ("owner/name", "config", "train")),
    ],
)
def test_a_data_set_id_is_taken_apart(hub, source, asked):
    assert read_texts(source)[0] == ("iloud one 0", "loud one 0")
    assert hub.asked == [(*asked, None, False)]


def test_revision_and_offline_reach_the_library_and_are_put_back(hub, harmless):
    contrast = read("owner/name:train", harmless, column=None, revision="abc", offline=True)
    assert isinstance(contrast.prompts[0], Prompt)
    assert hub.asked == [("owner/name", None, "train", "abc", True)]
    problem("owner/other", offline=True)
    assert hub.config.HF_HUB_OFFLINE is False
    assert sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE is False


def test_several_splits_need_a_name_unless_one_is_train(hub):
    hub.splits["test"] = FakeData([{"prompt": "t"}])
    assert read_texts("owner/name")[0][1] == "loud one 0"
    hub.splits["validation"] = hub.splits.pop("train")
    assert "several splits (test, validation) and none is train; name one, such as owner/name:test" in problem(
        "owner/name"
    )


def test_a_data_set_without_prompts_lists_its_columns(hub):
    hub.splits["train"] = FakeData([{"aim": "a", "target": "b"}])
    assert "owner/name: no prompts found" in problem("owner/name")
    assert "found aim, target" in problem("owner/name")
    assert read_texts("owner/name", "target") == (("prompt-0001", "b"),)


def test_a_data_set_that_cannot_be_loaded(hub):
    message = problem("owner/other:train")
    assert message.startswith("owner/other:train: no such file, and it cannot be loaded as a Hugging Face data")
    assert "(cannot reach the Hub); check the name, split and connection, or give a file" in message
    assert "run once without offline" in problem("owner/other", offline=True)


def test_the_real_library_offline_says_what_to_do():
    datasets = pytest.importorskip("datasets")
    before = datasets.config.HF_HUB_OFFLINE
    message = problem("rhat-tests/there-is-no-such-set", offline=True)
    assert "no data set of that name in the local cache" in message
    assert before == datasets.config.HF_HUB_OFFLINE


def test_a_file_goes_before_a_data_set_of_that_name(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("owner/name")
    Path("owner/name").mkdir(parents=True)
    assert not is_hub_id("owner/name")
    assert "is a folder" in problem("owner/name")
    assert not is_hub_id("owner/name.jsonl")
    assert hub.asked == []


def test_a_revision_without_a_data_set_is_an_error(tmp_path, harmless):
    with pytest.raises(PromptError, match="revision 'abc' was given, but every source is a file"):
        read(write(tmp_path / "h.txt", texts("loud")), harmless, revision="abc")
