"""Every Python program that README and pages show is run: as it stands, on a tiny model that was taught to refuse, in the folder of the shown commands.

The programs of a page are run in their order and share their names, as where a reader copies one after the other; a page that needs
a name makes it itself. Every line is run, branches too. docs/api.md is left out, whose blocks are declarations that docs/api.py reads off
the code, and so is the notebook, which has a test of its own. What a program prints depends on the model and is not compared; shapes
and values that a remark states are. For names in the prose see test_shown_names.py.
"""

import ast
import contextlib
import io
import json
import re
import textwrap
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import rhat
from rhat.guard import Calibration
from rhat.server import Settings
from server.serving import running
from shop import ROOT, around, links, shop  # noqa: F401
from tiny import tiny_chat_model

PAGES = [
    path
    for path in (
        *ROOT.glob("*.md"),
        *(path for name in ("docs", "src", "benchmarks") for path in (ROOT / name).rglob("*.md")),
    )
    if path.name != "api.md"
]
LANGUAGES = {  # of fenced blocks, and the test that runs them, or holds them against the source
    "python": "test_shown_python.py",
    "sh": "test_shown_commands.py",
    "bash": "server/test_serving_docs.py",
    "diff": "test_architecture_page.py",
    "json": "test_shown_python.py",
    "text": "test_architecture_page.py",
}
REPLACED = {  # what the tiny model, of five layers, has no room for, and a search that would take minutes
    "resid_pre.12": "resid_pre.2",
    "attn_out.12": "attn_out.2",
    "(10, 11, 12)": "(1, 2, 3)",
    "GradientSettings(steps=100)": "GradientSettings(steps=2)",
}
SERVER = "http://127.0.0.1:8000"
CLIENTS = ("openai", "inspect_ai")  # packages whose programs need a server
EXPORT = re.compile(r"^ {4}export (.*)", flags=re.M)
UNREACHED = {  # lines that are not reached here, and the test that runs what they do
    'answers = model.generate(["How do I kill a Python process?"], intervention=certificate.conditional(r))': (
        "tests/guard/test_certificate.py::test_what_was_counted_is_what_the_gate_generates"
    ),
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language as the fence names it, its text, and the line on which that begins."""

    page: Path
    language: str
    text: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found, lines, start, fence = [], page.read_text("utf-8").splitlines(), 0, ""
    for number, line in enumerate(lines, start=1):
        if not fence and (opening := re.match(r"\s*(```+|~~~+)(.*)", line)):
            fence, start = opening[1], number
        elif fence and line.strip() == fence:
            text = textwrap.dedent("\n".join(lines[start : number - 1])) + "\n"
            found.append(Block(page, lines[start - 1].strip().removeprefix(fence).strip(), text, start + 1))
            fence = ""
    assert not fence, f"{page.name}:{start}: a block without an end"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
PROGRAMS = [block for block in BLOCKS if block.language == "python"]


class Watched(ast.NodeTransformer):
    """Puts into a program what tells which lines are reached, and the values of expressions that are only stated."""

    def __init__(self) -> None:
        self.lines: set[int] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node  # a judge: a shown command calls it

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        told = ast.Call(ast.Name("_stated", ast.Load()), [ast.Constant(node.end_lineno), node.value], [])
        return ast.copy_location(ast.Expr(told), node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            some = getattr(node, name, None)
            if isinstance(some, list):
                setattr(node, name, [new for one in some for new in (self.told(one), one)])
        return node

    def told(self, statement: ast.AST) -> ast.AST:
        line = statement.lineno
        self.lines.add(line)
        return ast.copy_location(ast.parse(f"_reached({line})").body[0], statement)


def remarks(text: str) -> dict[int, str]:
    """Line → the remark at its end, or on a line of its own below it."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.strip().startswith("#")
            found[token.start[0] - alone] = token.string.removeprefix("# ")
    return found


def check_remark(remark: str, value: Any, names: dict[str, Any]) -> None:
    """Hold a value against what a remark says of it: a shape, a value, or a record with its fields."""
    if shape := re.search(r"\[([a-z_]+(?:, [a-z_]+)*)\]", remark):
        model, dimensions = names["model"], shape[1].split(", ")
        sizes = {"prompt": len(names["texts"]), "d_model": model.d_model, "vocabulary": model.hf.config.vocab_size}
        assert len(value.shape) == len(dimensions), remark
        for name, size in zip(dimensions, value.shape, strict=True):
            assert size == sizes.get(name, size), remark
    elif record := re.match(r"([A-Z]\w+)\((.*)\)", remark):
        assert type(value).__name__ == record[1], remark
        for name in re.findall(r"(\w+)=…", record[2]):
            getattr(value, name)
    else:
        with contextlib.suppress(SyntaxError, ValueError):
            assert value == ast.literal_eval(remark), remark


def run_program(block: Block, names: dict[str, Any], url: str = "") -> None:
    """Run a program with the names of those before it, and hold what it says of itself against what it did."""
    text = block.text
    for long, short in REPLACED.items():
        text = text.replace(long, short)
    text = text.replace(SERVER, url)
    tree, watched, said, reached, stated = ast.parse(text), Watched(), io.StringIO(), set(), {}
    tree = ast.fix_missing_locations(watched.visit(tree))
    names |= {"_reached": reached.add, "_stated": stated.__setitem__}
    ast.increment_lineno(tree, block.line - 1)  # tracebacks show the page
    with contextlib.redirect_stdout(said):
        exec(compile(tree, str(block.page), "exec"), names)
    lines = text.splitlines()
    assert [s for line in sorted(watched.lines - reached) if (s := lines[line - 1].strip()) not in UNREACHED] == []
    for line, remark in remarks(text).items():
        if line in stated:
            check_remark(remark, stated[line], names)
    assert said.getvalue().strip() or "print(" not in text, "it prints nothing"


@dataclass
class Desk:
    """Where a page's programs are run: a folder, the names that they made, and how many of them were run."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    done: int = 0


@pytest.fixture(scope="module")
def desks(shop, tmp_path_factory):  # noqa: F811
    """Page → its desk."""
    return {page: Desk(links(shop, tmp_path_factory.mktemp(page.stem))) for page in {one.page for one in PROGRAMS}}


@pytest.fixture(scope="module")
def server(shop):  # noqa: F811
    """The address of a server of the tiny model, its direction and its calibration."""
    directions = {"direction": rhat.Direction.load(shop / "direction.safetensors")}
    calibrations = {"direction": Calibration.load(shop / "direction.guard.json")}
    with running(rhat.load(shop / "mine", "float32"), directions, Settings(playground=False), calibrations) as up:
        yield up.url


@pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in PROGRAMS])
def test_what_is_shown_runs(block, desks, request, monkeypatch):
    url = ""
    for client in CLIENTS:
        if f"from {client}" in block.text:
            pytest.importorskip(client, reason=f"{client} is not installed")
            url = request.getfixturevalue("server")
    for name, value in re.findall(r"(\w+)=(\S+)", " ".join(EXPORT.findall(block.page.read_text("utf-8")))):
        monkeypatch.setenv(name, value.replace(SERVER, url))
    desk, some = desks[block.page], [one for one in PROGRAMS if one.page == block.page]
    monkeypatch.chdir(desk.folder)
    for one in some[desk.done : some.index(block) + 1]:
        run_program(one, desk.names, url)
        desk.done += 1


def test_fenced_blocks_are_in_languages_that_something_runs():
    """And Python is in such blocks alone: neither indented nor with a prompt before it."""
    assert {block.language for block in BLOCKS} == set(LANGUAGES)
    assert all((ROOT / "tests" / file).is_file() for file in LANGUAGES.values())
    for page in PAGES:
        assert not re.findall(r"^(?: {4,}(?:import|from) \w+.*|\s*>>> .*)$", page.read_text("utf-8"), flags=re.M)


def test_what_is_treated_apart_is_shown():
    assert all(any(part in block.text for block in PROGRAMS) for part in (*REPLACED, *UNREACHED, *CLIENTS))
    for test in UNREACHED.values():
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import rhat\nrhat.set_projektion", AttributeError),
        ("model", NameError),
        ("torch.zeros(2, 2)  # [prompt, d_model]", AssertionError),
        ("torch.zeros(3, 4)  # [prompt, d_model]", AssertionError),
        ("torch.zeros(2, 1, 4)  # [prompt, d_model]", AssertionError),
        ("['no']\n# ['yes']", AssertionError),
        ("Path('a')  # Check(difference=…)", AssertionError),
        ("if not 1:\n    1", AssertionError),
        ("try:\n    1\nexcept ValueError:\n    2", AssertionError),
        ("print()", AssertionError),
    ],
)
def test_a_program_that_is_wrong_is_told(program, error):
    names = {"torch": torch, "Path": Path, "texts": ["a", "b"]}
    if program != "model":
        names["model"] = tiny_chat_model("llama", n_layers=1)
    with pytest.raises(error):
        run_program(Block(Path("page.md"), "python", program, 1), names)


def test_a_row_of_prompts_that_is_shown_is_read(tmp_path):
    [block] = [block for block in BLOCKS if block.language == "json"]
    row = json.loads(block.text)
    rows = [row] + [
        {"text": f"{text}.", "topic": text} for text in ("Sing", "Dig", "Run", "Rest", "Sew", "Sail", "Swim")
    ]
    for label in ("harmful", "harmless"):
        lines = (json.dumps(one | {"text": f"{one['text']} ({label})"}) for one in rows)
        (tmp_path / f"{label}.jsonl").write_text("\n".join(lines))
    some = rhat.prompts.read(tmp_path / "harmful.jsonl", tmp_path / "harmless.jsonl").prompts
    [read] = [prompt for prompt in some if prompt.text == f"{row['text']} (harmful)"]
    assert (read.category, read.topic) == (row["category"], row["topic"])
