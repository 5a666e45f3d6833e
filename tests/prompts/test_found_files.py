"""Files as people have them: each is read rightly, or rejected in one line that says what it is.

What is expected was put in by other means: json, csv, pandas, pyarrow, gzip, and by hand.
"""

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
import sys
import types
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rhat.errors import PromptError
from rhat.prompts import read_texts
from rhat.prompts.streaming import stream_texts

ASCII = ["Tell me a joke.", "Name a river, please.", "What is rain?"]
WESTERN = ["Où est le café ?", "Wie heißt die größte Insel?", "It’s “fine” – is it?"]
ANY = ["Naïve – ½ 🙂", "Что такое дождь?", "雨とは何ですか"]
LONG = "word " * 210_000  # a megabyte


def table(texts, column="prompt", **more):
    return pd.DataFrame({"id": range(len(texts)), column: texts, **more})


def as_csv(texts, column="prompt", encoding="utf-8", **how):
    return table(texts, column).to_csv(index=False, **how).encode(encoding)


def as_jsonl(texts, column="prompt"):
    return "".join(json.dumps({column: t}, ensure_ascii=False) + "\n" for t in texts).encode()


def as_json(value, **how):
    return json.dumps(value, ensure_ascii=False, **how).encode()


def orient(texts, shape, column="prompt"):
    return table(texts, column).to_json(orient=shape).encode()


def parquet(frame_or_table):
    buffer = io.BytesIO()
    made = frame_or_table if isinstance(frame_or_table, pa.Table) else pa.Table.from_pandas(frame_or_table)
    pq.write_table(made, buffer)
    return buffer.getvalue()


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, "x")
    return buffer.getvalue()


def user(text):
    return [{"role": "user", "content": text}]


def sharegpt(text, answer=None):
    turns = [{"from": "human", "value": text}]
    return turns + ([{"from": "gpt", "value": answer}] if answer else [])


def written(rows, **how):
    buffer = io.StringIO()
    csv.writer(buffer, **how).writerows(rows)
    return buffer.getvalue().encode()


HEADER = [["id", "prompt"], *[[i, t] for i, t in enumerate(ASCII)]]
NAMES = [
    *("instruction", "prompt", "text", "goal", "Goal", "behavior", "Behavior", "forbidden_prompt", "question"),
    *("query", "request", "statement", "Prompt", "TEXT", "Question", "Instruction"),
]
READ = {
    # columns by name
    **{f"name-{n}.csv": (as_csv(ASCII, n), ASCII) for n in NAMES},
    **{f"name-{n}.jsonl": (as_jsonl(ASCII, n), ASCII) for n in ("goal", "Behavior", "forbidden_prompt", "query")},
    # encodings
    "bom.csv": (as_csv(ANY, encoding="utf-8-sig"), ANY),
    "bom.jsonl": (b"\xef\xbb\xbf" + as_jsonl(ANY), ANY),
    "bom.json": (b"\xef\xbb\xbf" + as_json(ANY), ANY),
    "bom.txt": (("\ufeff" + "\n".join(ANY)).encode(), ANY),
    "utf16.csv": (as_csv(ANY, encoding="utf-16"), ANY),
    "utf16.txt": ("\n".join(ANY).encode("utf-16"), ANY),
    "utf16.jsonl": (as_jsonl(ANY).decode().encode("utf-16"), ANY),
    "utf16.json": (as_json(ANY).decode().encode("utf-16"), ANY),
    "utf16be.csv": (b"\xfe\xff" + as_csv(ANY, encoding="utf-16-be"), ANY),
    "utf16-no-mark.csv": (as_csv(ASCII, encoding="utf-16-le"), ASCII),
    "utf16be-no-mark.txt": ("\n".join(ASCII).encode("utf-16-be"), ASCII),
    "utf32.txt": ("\n".join(ANY).encode("utf-32"), ANY),
    "cp1252.csv": (as_csv(WESTERN, encoding="cp1252"), WESTERN),
    "cp1252.txt": ("\r\n".join(WESTERN).encode("cp1252"), WESTERN),
    "cp1252.jsonl": (as_jsonl(WESTERN).decode().encode("cp1252"), WESTERN),
    # delimiters and line ends
    "semicolons.csv": (as_csv(ASCII, sep=";"), ASCII),
    "tabs.csv": (as_csv(ASCII, sep="\t"), ASCII),
    "bars.csv": (as_csv(ASCII, sep="|"), ASCII),
    "tabs.tsv": (as_csv(ASCII, sep="\t"), ASCII),
    "commas.tsv": (as_csv(ASCII), ASCII),
    "excel-sep.csv": (b"sep=;\r\n" + as_csv(WESTERN, encoding="cp1252", sep=";"), WESTERN),
    "excel-sep-comma.csv": (b"sep=,\n" + as_csv(ASCII), ASCII),
    "crlf.csv": (as_csv(ASCII, lineterminator="\r\n"), ASCII),
    "old-mac.csv": (as_csv(ASCII, lineterminator="\r"), ASCII),
    "crlf.jsonl": (as_jsonl(ASCII).replace(b"\n", b"\r\n"), ASCII),
    "old-mac.txt": ("\r".join(ASCII).encode(), ASCII),
    "all-quoted.csv": (as_csv(ASCII, quoting=csv.QUOTE_ALL), ASCII),
    "lines-within.csv": (as_csv(["Two\nlines", 'A "quoted" word', "x, y; z"]), ["Two\nlines", 'A "quoted" word', "x, y; z"]),
    "single-column.csv": (written([["prompt"], *[[t] for t in ASCII]]), ASCII),
    "blank-first-line.csv": (b"\n\n" + as_csv(ASCII), ASCII),
    "spaces-in-header.csv": (b"id, prompt \n1,Tell me.\n", ["Tell me."]),
    "index-of-pandas.csv": (table(ASCII).to_csv().encode(), ASCII),
    # rows with nothing
    "empty-last-row.csv": (written([*HEADER, ["", ""], ["", ""]]), ASCII),
    "empty-columns.csv": (written([[*row, "", ""] for row in HEADER]), ASCII),
    "columns-past-the-header.csv": (written([HEADER[0], *[[*row, "", ""] for row in HEADER[1:]]]), ASCII),
    "null-rows.jsonl": (b"null\n" + as_jsonl(ASCII) + b"{}\nnull\n", ASCII),
    "null-rows.json": (as_json([None, *ASCII, None]), ASCII),
    "null-rows.parquet": (parquet(pd.DataFrame({"prompt": [*ASCII, None]})), ASCII),
    "nan.json": (b'[{"prompt": "Tell me."}, {"prompt": NaN}]', ["Tell me."]),
    # sizes
    "megabyte.csv": (as_csv([LONG, ASCII[0]]), [LONG.strip(), ASCII[0]]),
    "megabyte.jsonl": (as_jsonl([LONG, ASCII[0]]), [LONG.strip(), ASCII[0]]),
    "megabyte.txt": (f"{LONG}\n{ASCII[0]}".encode(), [LONG.strip(), ASCII[0]]),
    # JSON's shapes
    "strings.json": (as_json(ASCII), ASCII),
    "objects.json": (as_json([{"prompt": t} for t in ASCII], indent=2), ASCII),
    "lines-named.json": (as_jsonl(ASCII), ASCII),
    "ndjson.ndjson": (as_jsonl(ASCII), ASCII),
    "list-named.jsonl": (as_json([{"prompt": t} for t in ASCII], indent=2), ASCII),
    "list-on-one-line.jsonl": (as_json([{"prompt": t} for t in ASCII]), ASCII),
    "pandas-records.json": (orient(ANY, "records"), ANY),
    "pandas-columns.json": (orient(ANY, "columns"), ANY),
    "pandas-index.json": (orient(ANY, "index"), ANY),
    "pandas-split.json": (orient(ANY, "split"), ANY),
    "pandas-table.json": (orient(ANY, "table"), ANY),
    "columns-of-lists.json": (as_json({"id": [1, 2, 3], "goal": ASCII}), ASCII),
    "one-object.json": (as_json({"prompt": ASCII[0]}), ASCII[:1]),
    "under-data.json": (as_json({"version": 1, "data": [{"prompt": t} for t in ASCII]}), ASCII),
    "hub-viewer.json": (
        as_json({"features": [], "rows": [{"row_idx": i, "row": {"prompt": t}} for i, t in enumerate(ASCII)]}),
        ASCII,
    ),
    "lists-by-label.json": (as_json({"harmful": ASCII[:1], "harmless": ASCII[1:]}), ASCII),
    "arrays-with-header.jsonl": (b"".join(as_json(r) + b"\n" for r in HEADER), ASCII),
    "arrays-of-one.jsonl": (b"".join(as_json([t]) + b"\n" for t in ASCII), ASCII),
    "arrays-with-header.json": (as_json(HEADER), ASCII),
    "objects-one-after-another.json": (b"\n".join(as_json({"prompt": t}, indent=1) for t in ASCII), ASCII),
    "objects-one-after-another.jsonl": (b"\n".join(as_json({"prompt": t}, indent=1) for t in ASCII), ASCII),
    "strings.jsonl": (b"".join(as_json(t) + b"\n" for t in ASCII), ASCII),
    "escaped.jsonl": (b'{"prompt": "caf\\u00e9"}\n', ["café"]),
    # conversations
    "messages.jsonl": (b"".join(as_json({"messages": user(t)}) + b"\n" for t in ASCII), ASCII),
    "messages-alone.jsonl": (b"".join(as_json(user(t)) + b"\n" for t in ASCII), ASCII),
    "messages-in-prompt.json": (as_json([{"prompt": user(t)} for t in ASCII]), ASCII),
    "one-conversation.json": (as_json(user(ASCII[0])), ASCII[:1]),
    "messages.parquet": (parquet(pd.DataFrame({"messages": [user(t) for t in ASCII]})), ASCII),
    "messages-as-python.csv": (pd.DataFrame({"messages": [user(t) for t in ASCII]}).to_csv().encode(), ASCII),
    "messages-as-json.csv": (pd.DataFrame({"messages": [json.dumps(user(t)) for t in ASCII]}).to_csv().encode(), ASCII),
    "sharegpt.json": (as_json([{"conversations": sharegpt(t, "Yes.")} for t in ASCII]), ASCII),
    "sharegpt-no-answer.jsonl": (b"".join(as_json({"conversations": sharegpt(t)}) + b"\n" for t in ASCII), ASCII),
    "conversation.jsonl": (b"".join(as_json({"conversation": user(t)}) + b"\n" for t in ASCII), ASCII),
    "turns.jsonl": (b"".join(as_json({"turns": [t]}) + b"\n" for t in ASCII), ASCII),
    "empty-system.jsonl": (
        as_json({"messages": [{"role": "system", "content": ""}, *user(ASCII[0])]}),
        ASCII[:1],
    ),
    # Parquet
    "plain.parquet": (parquet(table(ANY)), ANY),
    "categories.parquet": (
        parquet(table(ASCII).assign(prompt=pd.Categorical(ASCII), category=pd.Categorical(["a", "b", "a"]))),
        ASCII,
    ),
    "large-strings.parquet": (parquet(pa.table({"prompt": pa.array(ANY, pa.large_string())})), ANY),
    "parquet-named.csv": (parquet(table(ANY)), ANY),
    # packed
    "lines.jsonl.gz": (gzip.compress(as_jsonl(ANY)), ANY),
    "table.csv.gz": (gzip.compress(as_csv(ANY)), ANY),
    "table.tsv.gz": (gzip.compress(as_csv(ASCII, sep="\t")), ASCII),
    "table.csv.bz2": (bz2.compress(as_csv(ANY)), ANY),
    "text.txt.xz": (lzma.compress("\n".join(ANY).encode()), ANY),
    "packed-named.jsonl": (gzip.compress(as_jsonl(ANY)), ANY),
    # names that say something else
    "json.txt": (as_json([{"prompt": t} for t in ASCII], indent=1), ASCII),
    "strings.txt": (as_json(ASCII, indent=1), ASCII),
    "jsonl.txt": (as_jsonl(ASCII), ASCII),
    "csv.txt": (as_csv(ASCII), ASCII),
    "tsv.txt": (as_csv(ASCII, sep="\t"), ASCII),
    "header.txt": (("prompt\n" + "\n".join(ASCII)).encode(), ASCII),
    "jsonl.csv": (as_jsonl(ASCII), ASCII),
    "CAPITALS.CSV": (as_csv(ASCII), ASCII),
    # text that only looks like something
    "brackets.txt": (b"[INST] is what?\n{x} is a set\n", ["[INST] is what?", "{x} is a set"]),
    "commas.txt": (b"Name a prompt, please.\nAnd a text, too.\n", ["Name a prompt, please.", "And a text, too."]),
    "question.txt": (b"What is the question?\n", ["What is the question?"]),
}  # fmt: skip

REJECTED = {
    "page.html": (b"<!DOCTYPE html>\n<html><body>x</body></html>", "a web page (HTML)"),
    "page.csv": (b"\n  <html lang='en'>", "a web page (HTML), not prompts; download the raw file"),
    "page.jsonl": (b"<!doctype HTML>", "a web page (HTML)"),
    "page.txt": (b"\xef\xbb\xbf<html>", "a web page (HTML)"),
    "feed.txt": (b"<?xml version='1.0'?><rss/>", "XML; save it as CSV"),
    **{
        f"pointer.{s}": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer")
        for s in ("csv", "json", "jsonl", "parquet", "txt", "csv.gz")
    },
    "missing.json": (b"Entry not found", "an error page of the hub"),
    "denied.json": (b'{"error": "Access to dataset x is restricted."}', "an error of the hub (Access to dataset x"),
    "book.xlsx": (zipped("xl/workbook.xml"), "an Excel workbook; save it as CSV (UTF-8)"),
    "book.csv": (zipped("xl/workbook.xml"), "an Excel workbook"),
    "old.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document of the old kind"),
    "many.zip": (zipped("prompts.csv"), "a zip archive; unpack it"),
    "paper.pdf": (b"%PDF-1.7\n", "a PDF"),
    "lines.jsonl.zst": (b"\x28\xb5\x2f\xfd\x04", "packed with zstd"),
    "data.arrow": (b"ARROW1\x00\x00", "an Arrow file; write it as Parquet"),
    "data.pkl": (b"\x80\x04\x95", "a Python pickle, which is never opened"),
    "data.db": (b"SQLite format 3\x00", "an SQLite database"),
    "data.npy": (b"\x93NUMPY\x01\x00", "a NumPy array"),
    "cut.jsonl.gz": (gzip.compress(as_jsonl(ANY))[:-12], "packed, and cut off or damaged"),
    "notes.md": (b"# Prompts", "unknown extension .md"),
    "russian.csv": ("prompt\nЧто такое дождь?\n".encode("cp1251"), "russian.csv:2: not UTF-8"),
    "japanese.txt": ("雨とは何ですか\n".encode("shift_jis"), "japanese.txt:1: not UTF-8"),
    "polish.csv": ("prompt\nCo to jest żółw i łódź?\n".encode("cp1250"), "polish.csv:2: not UTF-8"),
    "mixed.txt": ("café\n".encode() + "naïve\n".encode("cp1252"), "mixed.txt:2: not UTF-8"),
    "zeros.txt": (b"Tell me.\nTell\x00me.\n", "zeros.txt:2: a zero byte"),
    "twice.csv": (b"prompt,prompt\na,b\n", "two columns are called 'prompt'"),
    "no-header.csv": (b"Tell me a joke.,x\nName a river.,y\n", "no prompts found"),
    "values.json": (orient(ASCII, "values"), "a list of values without names"),
    "number.json": (b"3", "a number at the top"),
    "nested.json": (as_json({"meta": {"a": 1}, "n": 3}), "an object at the top with meta, n; expected a list"),
    "uneven.jsonl": (b'["id", "prompt"]\n[1, "a"]\n[2]\n', "uneven.jsonl:3: 1 values, the first list names 2 columns"),
    "numbers.csv": (b"id,prompt\n", "empty, a header and no rows"),
    "blank.parquet": (parquet(pd.DataFrame({"prompt": [None, " "]})), "empty, no prompts in it (2 empty)"),
}


def write(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


def test_there_are_as_many_as_promised():
    assert len(READ) + len(REJECTED) >= 100


@pytest.mark.parametrize("name", READ)
def test_is_read_rightly(tmp_path, name):
    data, wanted = READ[name]
    path = write(tmp_path, name, data)
    assert [text for _, text in read_texts(path)] == wanted
    streamed = [text for chunk in stream_texts(path, chunk=2) for _, text in chunk]
    assert streamed == wanted


@pytest.mark.parametrize("name", REJECTED)
def test_is_rejected_in_one_line_that_says_what_it_is(tmp_path, name):
    data, words = REJECTED[name]
    path = write(tmp_path, name, data)
    for call in (read_texts, lambda path: list(stream_texts(path))):
        with pytest.raises(PromptError) as caught:
            call(path)
        said = str(caught.value)
        assert said.startswith(str(path))
        assert words in said
        assert "\n" not in said


@pytest.mark.parametrize(
    "name",
    ["json.txt", "jsonl.txt", "csv.txt", "utf16.txt", "old-mac.txt", "lines.jsonl.gz", "tsv.txt", "brackets.txt"],
)
def test_standard_input_is_recognised_too(monkeypatch, name):
    data, wanted = READ[name]
    for call in (read_texts, lambda source: [pair for chunk in stream_texts(source, chunk=2) for pair in chunk]):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
        assert [text for _, text in call("-")] == wanted


@pytest.mark.parametrize("name", ["page.txt", "pointer.txt", "data.pkl"])
def test_standard_input_is_rejected_too(monkeypatch, name):
    data, words = REJECTED[name]
    for call in (read_texts, lambda source: list(stream_texts(source))):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
        with pytest.raises(PromptError, match=f"stdin: this is {words[:8]}"):
            call("-")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cp1252.csv", "is not UTF-8 and was read as Windows-1252"),
        ("utf16.csv", "is UTF-16"),
        ("semicolons.csv", "has semicolons between its fields"),
        ("json.txt", "holds JSON"),
        ("empty-last-row.csv", "2 of 5 rows are left out (2 empty)"),
        ("null-rows.jsonl", "3 of 6 rows are left out (3 empty)"),
        ("sharegpt.json", "3 rows hold an answer too, which is not read"),
    ],
)
def test_what_was_made_of_it_is_said(tmp_path, name, words, caplog):
    with caplog.at_level(logging.INFO):
        read_texts(write(tmp_path, name, READ[name][0]))
    assert words in caplog.text


def test_all_faults_are_told_at_once(tmp_path):
    rows = ['{"prompt": "a"}', '{"prompt": 3}', "{", '{"prompt": "b"}', '{"prompt": 4}', '{"other": 1}', "7"]
    path = write(tmp_path, "bad.jsonl", "\n".join(rows).encode())
    for call in (read_texts, lambda path: list(stream_texts(path))):
        with pytest.raises(PromptError) as caught:
            call(path)
        said = str(caught.value)
        assert f"{path}:2: 'prompt' holds a number; expected a string or a list of messages (and 1 more: 5); " in said
        assert f"{path}:3: not JSON" in said
        assert f"{path}:6: no 'prompt' in this row" in said
        assert f"{path}:7: a number" in said


def test_a_limit_of_the_csv_module_is_left_as_it_was(tmp_path):
    before = csv.field_size_limit()
    read_texts(write(tmp_path, "megabyte.csv", READ["megabyte.csv"][0]))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "a", "category": ["x"]}], "column 'category' holds lists or objects in 1 rows"),
        ([{"prompt": "a", "id": {"n": 1}}], "column 'id' holds lists or objects in 1 rows"),
        ([{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}], "its ids are not used, because 1 of them repeat"),
    ],
)
def test_an_optional_column_that_cannot_be_used_is_left_out_with_a_word(tmp_path, rows, words, caplog):
    assert [t for _, t in read_texts(write(tmp_path, "p.json", as_json(rows)))] == [row["prompt"] for row in rows]
    assert words in caplog.text


def test_an_odd_byte_far_into_a_file_is_found_before_it_is_streamed(tmp_path):
    wanted = [*(f"Tell me of number {i}." for i in range(9000)), "Où est-ce ?"]
    path = write(tmp_path, "p.txt", "\n".join(wanted).encode("cp1252"))
    assert [text for chunk in stream_texts(path) for _, text in chunk] == wanted == [t for _, t in read_texts(path)]


TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip), min_size=1, max_size=6
)


@given(texts=TEXTS, sep=st.sampled_from([",", ";", "\t", "|"]), column=st.sampled_from(["prompt", "Goal", "question"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_survives_any_table(tmp_path, texts, sep, column):
    path = write(tmp_path, "p.csv", as_csv(texts, column, sep=sep))
    assert [text for _, text in read_texts(path)] == [text.strip() for text in texts]


@given(texts=TEXTS, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), pack=st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_survives_any_encoding(tmp_path, texts, encoding, pack):
    data = as_jsonl(texts).decode().encode(encoding)
    path = write(tmp_path, "p.jsonl", gzip.compress(data) if pack else data)
    wanted = [text.strip() for text in texts]
    assert [text for _, text in read_texts(path)] == wanted
    assert [text for chunk in stream_texts(path, chunk=2) for _, text in chunk] == wanted


def test_of_several_columns_the_choice_is_said(tmp_path, caplog):
    rows = [{"text": "A text.", "question": "A question?", "prompt": "A prompt.", "goal": None, "turns": 3}]
    with caplog.at_level(logging.INFO):
        assert read_texts(write(tmp_path, "p.json", as_json(rows)))[0][1] == "A prompt."
    assert "column 'prompt' is read, not text, question" in caplog.text


def test_a_column_that_holds_no_texts_is_passed_over(tmp_path):
    rows = [{"prompt": None, "text": " ", "question": "A question?", "turns": 3}]
    assert read_texts(write(tmp_path, "p.json", as_json(rows)))[0][1] == "A question?"
