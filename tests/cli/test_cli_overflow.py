"""A model that overflows: every command ends with exit code 2 and one line, and leaves nothing half-written."""

import json

import pytest
import torch

from labs import contrast_set
from overflow import at_the_edge, poisoned
from tiny import tiny_chat_model, tiny_tokenizer


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    for label in ("harmful", "harmless"):
        rows = [{"text": p.text, "split": p.split} for p in contrast_set().prompts if p.label == label]
        (folder / f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "--harmful", folder / "harmful.jsonl", "--harmless", folder / "harmless.jsonl"


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    """A model that float32 suits and float16 does not: load sees nothing of that, prompts do."""
    path = tmp_path_factory.mktemp("edge") / "model"
    prompt = min(tiny_chat_model().tokenize([p.text for p in contrast_set().prompts]), key=len)
    at_the_edge(prompt).to(torch.float32).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A model with an infinity among its weights, at the token "k" of "Break the lock …"."""
    path = tmp_path_factory.mktemp("damaged") / "model"
    poisoned(token="k").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def failed(cli):
    """Run a command that must end with exit code 2, nothing on stdout and one line of error; gives the line."""

    def call(*arguments):
        done = cli(*arguments)
        assert (done.code, done.out) == (2, ""), done
        *before, last = done.err.splitlines()
        said = ("loading ", "prompts: ")  # what is said before the work, and progress
        assert all(line.startswith(said) or line.endswith("…") or "%" in line for line in before), done
        assert last.startswith("error: ")
        return last

    return call


COMMANDS = {
    "find": ("find", "-m", "MODEL", "PROMPTS", "--out", "OUT/r.safetensors"),
    "study": ("study", "-m", "MODEL", "PROMPTS", "-p", "quick", "--out", "OUT/run"),
    "check": ("check", "MODEL"),
    "calibrate": ("calibrate", "-m", "MODEL", "-d", "DIRECTION", "PROMPTS", "--out", "OUT/r.guard.json"),
    "steer": ("steer", "-m", "MODEL", "-d", "DIRECTION", "--op", "ablate", "Break the lock of the house."),
    "measure": ("measure", "FILE", "-m", "MODEL", "-d", "DIRECTION"),
    "heads": ("heads", "-m", "MODEL", "-d", "DIRECTION", "PROMPTS", "-p", "quick"),
    "layers": ("layers", "-m", "MODEL", "-d", "DIRECTION", "PROMPTS", "-p", "quick"),
}


def arguments(name, model, prompts, direction, out):
    named = {"FILE": prompts[1:2], "MODEL": [model], "PROMPTS": prompts, "DIRECTION": [direction]}
    for word in COMMANDS[name]:
        yield from named.get(word, [word.replace("OUT", str(out))])


@pytest.mark.parametrize("name", COMMANDS)
def test_float16_ends_in_one_line(name, edge, prompts, direction, tmp_path, failed):
    said = failed(*arguments(name, edge, prompts, direction, tmp_path), "--dtype", "float16")
    assert "values are not finite in float16 (at most 65504) from mlp_out.0 on" in said
    assert "--dtype bfloat16 or float32" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".safetensors", ".html")]
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_file_is_said_to_be(name, damaged, prompts, direction, tmp_path, failed):
    said = failed(*arguments(name, damaged, prompts, direction, tmp_path), "--dtype", "float32")
    assert "from the embeddings (resid_pre.0) on, for weights are not (model.embed_tokens.weight)" in said
    assert not (tmp_path / "run" / "results.json").exists()
