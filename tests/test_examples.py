"""What README, pages and help texts show: every command can be given, every prompt shown as refused is run, every answer is a real one."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from rhat.cli.app import COMMANDS, app, load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FORM = re.compile(r"…|\$|--help|--version|\b[A-Z]{4,}\b")  # a form to fill in, not a command


def examples():
    spec = importlib.util.spec_from_file_location("examples", ROOT / "docs" / "examples.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["examples"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def shown():
    """(where, command line) of every command with arguments that a page or a help text shows."""
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for line in re.findall(r"^(?: {4}|```\w*\n)?((?:\w+ [^\n|`]*\| )?rhat \w[\w-]* [^\n]+)$", text, flags=re.M):
            if line.split(" rhat ")[-1].removeprefix("rhat ").split()[0] in COMMANDS:
                yield page.name, line
        for line in re.findall(r"`(rhat \w[\w-]* [^`\n]+)`", text):
            yield page.name, line
    texts = {name: load(COMMANDS[name]).help for name in COMMANDS} | {"rhat": app.registered_callback.epilog}
    for name, text in texts.items():
        for line in re.findall(r"\[bold\]((?:[^\[]*\| )?rhat \w[\w-]* .+?)\[/bold\]", text, flags=re.S):
            yield f"{name} --help", line


def arguments(line):
    """The words after `rhat`, without what goes into it or comes out of it and without a remark behind it."""
    lexer = shlex.shlex(re.split(r"\s{3,}|\s+#\s", line.strip())[0], posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    words = words[words.index("rhat") + 1 :]
    return words[: min((i for i, word in enumerate(words) if set(word) <= set("|<>;&")), default=len(words))]


def test_every_command_that_is_shown_can_be_given():
    """Its options are there and take these values; nothing runs."""
    tried = 0
    for where, line in shown():
        words = arguments(line)
        if FORM.search(line) or len(words) == 1 or words[-1] == "--labels":  # an option that a sentence names
            continue
        name, *rest = words
        try:
            load(COMMANDS[name]).make_context(name, rest)
        except Exception as error:
            pytest.fail(f"{where}: {line}: {error!r}")
        tried += 1
    assert tried > 60


def test_every_prompt_that_is_shown_as_refused_is_an_example_that_is_run():
    run = {(example.op, example.prompt) for example in examples().EXAMPLES}
    found = set()
    for where, line in shown():
        words = arguments(line)
        if words[0] == "steer" and not FORM.search(line) and words[-1] != "-":
            found.add((where, words[words.index("--op") + 1], words[-1]))
    for page in PAGES:
        text = page.read_text("utf-8")
        for op, prompt in re.findall(
            r"rhat\.(\w+)\([^\n]*\.on\(model\)[^\n]*\n\s*print\(model\.generate\(\[\"(.*?)\"", text
        ):
            found.add((page.name, op, prompt))
        for block in re.findall(r"```\w+\n(.*?)```", text, flags=re.S):
            for prompt in re.findall(r'"content": "([^"]*)"', block):
                if '{"op": "set_projection"' in block and '"layer": 99' not in block:
                    found.add((page.name, "set_projection", prompt))
    assert {"README.md", "steering.md", "library.md", "serving.md", "steer --help", "rhat --help"} <= {
        w for w, *_ in found
    }
    assert {one for one in found if one[1:] not in run} == set()


def test_the_answers_that_pages_show_are_those_of_the_record():
    module = examples()
    record = json.loads(module.RECORD.read_text("utf-8"))
    assert len(record["answers"]) == len(module.EXAMPLES)
    for answer in record["answers"]:
        assert (answer["verdict_without"], answer["verdict_with"]) == ("complied", "refused"), answer
    for page in module.PAGES:
        text = page.read_text("utf-8")
        assert module.put(text, module.block(record)) == text, f"{page.name}: run docs/examples.py"
