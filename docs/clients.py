"""Write the table of clients in docs/serving.md by running each of them against `rhat serve` on a tiny model.

    .venv/bin/python docs/clients.py [PYTHON …]

Each PYTHON is an interpreter in whose environment clients are looked for; without one it is this one. A client that is in
none of them keeps its row. What each client does is in docs/client_checks.py; every answer is compared with that of a plain
request, and log-likelihoods with those that transformers gives.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- clients: docs/clients.py -->", "<!-- end of clients -->"
KEY = "correct horse"
SECONDS = 600
CLIENTS = {  # what pip calls it → what its row calls it
    "openai": "`openai`",
    "langchain-openai": "LangChain (`langchain-openai`)",
    "llama-index-llms-openai-like": "LlamaIndex (`llama-index-llms-openai-like`)",
    "litellm": "LiteLLM (`litellm`)",
    "llm": "Simon Willison's `llm`",
    "inspect-ai": "Inspect (`inspect-ai`)",
    "lm-eval": "lm-evaluation-harness (`lm-eval`)",
}
USER = {"role": "user", "content": "a stone"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weight",
        "description": "Weight of a thing",
        "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
    },
}
HISTORY = [
    USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weight", "arguments": '{"thing": "a stone"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "two pounds"},
    {"role": "user", "content": "and a river?"},
]
RHAT = {"op": "add", "coefficient": -9.0}
QUESTIONS = [("the river is", " near"), ("the river is", " a stone"), ("a", "n otter in the water"), ("on", "e")]
OTHER = " the river is here"


def saved_model(folder: Path) -> tuple[Path, Path]:
    """A tiny model and a direction, as files."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "server")]
    import torch
    from serving import make_direction

    from tiny import tiny_chat_model, tiny_hf, tiny_tokenizer

    tiny_hf("llama", dtype=torch.float32).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    return folder / "model", make_direction(tiny_chat_model("llama")).save(folder / "r.safetensors")


@contextmanager
def served(model: Path, direction: Path) -> Iterator[str]:
    """The address of `rhat serve` with these, in a process of its own."""
    command = [sys.executable, "-m", "rhat", "serve", "--model", str(model), "--dtype", "float32", "--port", "0"]
    command += ["-d", f"r={direction}", "--no-playground", "--max-length", "300", "--slots", "4", "--max-queue", "12"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "RHAT_API_KEY": KEY}
    ) as started:
        assert started.stderr is not None
        try:
            line = ""
            while '"listening"' not in line:
                line = started.stderr.readline()
                assert line, "the server ended before it listened"
            threading.Thread(target=started.stderr.read, daemon=True).start()
            yield json.loads(line)["url"]
        finally:
            started.kill()


def plain_answers(url: str) -> dict[str, Any]:
    """What the server says to plain requests: the truth that clients are held to."""
    import httpx

    def ask(path: str, **more: Any) -> str:
        body = {"model": "default", "temperature": 0, "max_tokens": 8, **more}
        got = httpx.post(f"{url}/v1/{path}", json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=SECONDS)
        choice = got.raise_for_status().json()["choices"][0]
        return str(choice["message"]["content"] if "message" in choice else choice["text"])

    truth = {
        "chat": ask("chat/completions", messages=[USER]),
        "history": ask("chat/completions", messages=HISTORY),
        "rhat": ask("chat/completions", messages=[USER], rhat=RHAT),
        "text": ask("completions", prompt="a stone"),
    }
    assert len(set(truth.values())) == len(truth), f"answers that cannot be told apart: {truth}"
    return truth


def loglikelihoods(model: Path, questions: Sequence[tuple[str, str]]) -> list[float]:
    """Of each question's second part given the first, by transformers alone, in nats."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hf, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    found = []
    for before, after in questions:
        n, ids = len(tokenizer(before)["input_ids"]), tokenizer(before + after)["input_ids"]
        with torch.no_grad():
            values = torch.log_softmax(hf(torch.tensor([ids])).logits[0].double(), -1)
        found.append(sum(float(values[at - 1, ids[at]]) for at in range(n, len(ids))))
    return found


def likelihoods(model: Path) -> dict[str, Any]:
    """The log-likelihoods of the questions, and the share of them that beat another ending."""
    first = loglikelihoods(model, QUESTIONS)
    second = loglikelihoods(model, [(before, OTHER) for before, _ in QUESTIONS])
    return {"loglikelihoods": first, "accuracy": sum(a > b for a, b in zip(first, second, strict=True)) / len(first)}


def version_of(python: str, client: str) -> str | None:
    """The version of a client in an interpreter's environment, if it is there."""
    code = f"from importlib.metadata import version; print(version({client!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def run_client(python: str, client: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Each of a client's checks and what came of it, "yes" or the error in a line."""
    with tempfile.TemporaryDirectory() as home:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "RHAT_"))}
        environment |= {
            "HOME": home,
            "HF_HUB_OFFLINE": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        environment |= {
            "OPENAI_API_KEY": KEY,
            "RHAT_API_KEY": KEY,
            "RHAT_BASE_URL": f"{given['url']}/v1",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            [python, str(ROOT / "docs" / "client_checks.py"), client],
            input=json.dumps({**given, "home": home}),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            env=environment,
            cwd=home,
        )
    lines = [line.removeprefix("CHECKS ") for line in done.stdout.splitlines() if line.startswith("CHECKS ")]
    if not lines:
        return {"all": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    found: dict[str, str] = json.loads(lines[-1])
    return found


def tried(pythons: Sequence[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Each client that is installed somewhere: its version, and what worked."""
    where = {c: (p, v) for c in CLIENTS for p in reversed(pythons) if (v := version_of(p, c)) is not None}
    with tempfile.TemporaryDirectory() as folder:
        model, direction = saved_model(Path(folder))
        with served(model, direction) as url:
            given = {
                "url": url,
                "key": KEY,
                "user": USER["content"],
                "tool": TOOL,
                "history": HISTORY,
                "rhat": RHAT,
                "questions": QUESTIONS,
                "other": OTHER,
                "model": str(model),
                "truth": {**plain_answers(url), **likelihoods(model)},
            }
            return {c: (version, run_client(python, c, given)) for c, (python, version) in where.items()}


def row(client: str, version: str, checks: Mapping[str, str]) -> str:
    """A client's line of the table."""
    worked = ", ".join(name for name, said in checks.items() if said == "yes") or "nothing"
    failed = ", ".join(f"not {name}" for name, said in checks.items() if said != "yes")
    return f"| {CLIENTS[client]} | {version} | {worked}{'; ' + failed if failed else ''} |"


def rows(page: str) -> dict[str, str]:
    """The rows that the page has, by client."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    return {c: line for c, name in CLIENTS.items() for line in table.splitlines() if line.startswith(f"| {name} |")}


def written(page: str, found: Mapping[str, str]) -> str:
    """The page with these rows in place of those that it has of the same clients."""
    kept = {**rows(page), **found}
    table = "\n".join(
        ["| client | version | what worked |", "| --- | --- | --- |", *(kept[c] for c in CLIENTS if c in kept)]
    )
    page, n = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table}\n{END}", page, flags=re.DOTALL)
    assert n == 1, f"expected one {BEGIN} … {END}"
    return page


if __name__ == "__main__":
    outcomes = tried(sys.argv[1:] or [sys.executable])
    for client, (version, checks) in outcomes.items():
        sys.stdout.write(f"{client} {version} {checks}\n")
    PAGE.write_text(written(PAGE.read_text("utf-8"), {c: row(c, *told) for c, told in outcomes.items()}), "utf-8")
