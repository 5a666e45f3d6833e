"""The server: 16 clients at once against one at a time, and time to first token, beside `transformers serve`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from measuring import Row, seconds
from subject import CACHE, MODEL, Subject

AT_ONCE = 16
TOKENS = 32
START_SECONDS, INSTALL_SECONDS, ANSWER_SECONDS = 300, 1800, 600
INTERVENTIONS: tuple[Any, ...] = (
    [],
    {"op": "set_projection"},
    {"op": "add", "scope": "template"},
    {"op": "ablate"},
)
PEER = {  # how `transformers serve` is started: as it comes, and with the batching that it offers
    "transformers serve": (),
    "transformers serve --continuous-batching": ("--continuous-batching",),
}


@dataclass
class Answered:
    """One streamed answer: seconds to its first piece of text and to its end, and how many tokens the text has."""

    first: float
    total: float
    tokens: int


@dataclass
class Served:
    """Answers of one server under one load, and the seconds that all of them took."""

    answers: list[Answered] = field(default_factory=list)
    wall: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second, of all clients together."""
        return sum(answer.tokens for answer in self.answers) / self.wall

    @property
    def first(self) -> float:
        """Median seconds to the first token."""
        return statistics.median(answer.first for answer in self.answers)

    def said(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "tokens_per_second": round(self.rate, 2),
            "first_token_median": round(self.first, 4),
            "answer_median": round(statistics.median(answer.total for answer in self.answers), 4),
            "answers": len(self.answers),
            "tokens": sum(answer.tokens for answer in self.answers),
            "seconds": round(self.wall, 3),
        }


class UnmeasurableError(Exception):
    """A server that could not be started or did not answer; one line says why."""


def measure(subject: Subject) -> list[Row]:
    """Streams of at most 32 tokens over HTTP, greedy, the same prompts for everybody; each server has the machine to itself."""
    single, many = (2, AT_ONCE) if subject.quick else (8, 3 * AT_ONCE)
    texts = [p.text for p in subject.prompts.select("harmless", "test", many)]
    texts = (texts * (1 + many // len(texts)))[:many]
    tokenizer = subject.model.tokenizer

    def load(url: str, at_once: int, model: str, n: int, more: Sequence[Any] = ({},)) -> Served:
        asked = [
            {**more[i % len(more)], "model": model, "messages": [{"role": "user", "content": text}]}
            for i, text in enumerate(texts[:n])
        ]
        return asyncio.run(clients(url, asked, at_once, tokenizer))

    def loads(url: str, model: str) -> tuple[Served, Served]:
        load(url, 2, model, 2)  # warm
        return load(url, 1, model, single), load(url, AT_ONCE, model, many)

    with tempfile.TemporaryDirectory() as folder:
        direction = Path(folder) / "direction.safetensors"
        subject.direction.save(direction)
        with rhat_server(direction) as url:
            one, sixteen = loads(url, "default")
            mixed = load(url, AT_ONCE, "default", many, [{"rhat": spec} for spec in INTERVENTIONS])
    peers = {name: peer(subject, options, loads) for name, options in PEER.items()}
    ran = {name: found for name, found in peers.items() if "skipped" not in found}
    skipped = "; ".join(f"{name} could not be measured: {p['skipped']}" for name, p in peers.items() if "skipped" in p)
    details = {
        "one at a time": one.said(),
        "16 at once": sixteen.said(),
        "16 at once, four interventions": mixed.said(),
        "peers": peers,
    }

    def beside(what: str, load_: str, fewer_is_better: bool, ours: Served) -> tuple[str, float | None]:
        """The best peer in words, and how many times better we are."""
        if not ran:
            return "could not be measured", None
        pick = min if fewer_is_better else max
        name = pick(ran, key=lambda n: ran[n][load_][what])
        theirs = ran[name][load_][what]
        shown = seconds(theirs) if fewer_is_better else f"{theirs:.1f} tokens/s"
        return f"{shown} ({name})", theirs / ours.first if fewer_is_better else ours.rate / theirs

    rows = [
        Row(
            "serving-batching",
            f"server, tokens per second: {AT_ONCE} streaming clients against one",
            f"{sixteen.rate:.1f} tokens/s",
            f"{one.rate:.1f} tokens/s (rhat serve, one at a time)",
            "≥ 4×",
            sixteen.rate / one.rate,
            limit=4,
            runs=1,
            note=f"{mixed.rate:.1f} tokens/s where the clients ask for four different interventions",
            details=details,
        )
    ]
    for title, load_, ours in (("one client", "one at a time", one), (f"{AT_ONCE} clients", "16 at once", sixteen)):
        for what, name, fewer in (
            ("first_token_median", "time to first token", True),
            ("tokens_per_second", "tokens per second", False),
        ):
            theirs, value = beside(what, load_, fewer, ours)
            rows.append(
                Row(
                    f"serving-{what}-{load_.split()[0]}",
                    f"server, {name}, {title}",
                    seconds(ours.first) if fewer else f"{ours.rate:.1f} tokens/s",
                    theirs,
                    "–",
                    value,
                    runs=1,
                    note=skipped,
                )
            )
    return rows


async def clients(url: str, asked: Sequence[dict[str, Any]], at_once: int, tokenizer: Any) -> Served:
    """Ask for streams, so many at the same time, and time what comes.

    Raises:
        UnmeasurableError: if an answer is an error.
    """
    gate = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits) as client:

        async def one(body: dict[str, Any]) -> Answered:
            async with gate:
                began = time.perf_counter()
                first, pieces = None, []
                more = {"stream": True, "max_tokens": TOKENS, "temperature": 0}
                async with client.stream("POST", f"{url}/v1/chat/completions", json={**body, **more}) as response:
                    if response.status_code != 200:
                        said = (await response.aread()).decode(errors="replace")
                        raise UnmeasurableError(f"status {response.status_code}: {' '.join(said.split())[:160]}")
                    async for line in response.aiter_lines():
                        text = _text(line)
                        if text:
                            first = first or time.perf_counter() - began
                            pieces.append(text)
                total = time.perf_counter() - began
            if first is None:
                raise UnmeasurableError("an answer was empty")
            return Answered(first, total, len(tokenizer("".join(pieces), add_special_tokens=False)["input_ids"]))

        began = time.perf_counter()
        answers = await asyncio.gather(*(one(body) for body in asked))
        return Served(list(answers), time.perf_counter() - began)


def _text(line: str) -> str:
    """The text of a server-sent event; none for the others."""
    if not line.startswith("data:") or line.strip().endswith("[DONE]"):
        return ""
    event = json.loads(line[5:])
    if "error" in event:
        raise UnmeasurableError(f"the stream failed: {str(event['error'])[:160]}")
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


@contextmanager
def rhat_server(direction: Path) -> Iterator[str]:
    """`rhat serve` in a process of its own; gives its address."""
    port = _free_port()
    command = [sys.executable, "-m", "rhat", "serve", "--model", MODEL, "--offline", "--no-playground"]
    more = ["--port", str(port), "--slots", str(AT_ONCE), "--direction", str(direction)]
    with _process([*command, *more], port, "/health") as url:
        yield url


def peer(
    subject: Subject, options: Sequence[str], loads: Callable[[str, str], tuple[Served, Served]]
) -> dict[str, Any]:
    """`transformers serve` in a venv of its own under the same load: what was measured, or why it could not be."""
    try:
        python = _peer_python()
        port = _free_port()
        main = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
        model = str(subject.folder)
        command = [python, "-c", main, "serve", model, "--port", str(port), "--host", "127.0.0.1"]
        with _process([*command, "--device", "cpu", "--dtype", "bfloat16", *options], port, "/health") as url:
            one, sixteen = loads(url, model)
    except UnmeasurableError as error:
        return {"skipped": str(error)}
    except httpx.HTTPError as error:
        return {"skipped": f"did not answer: {type(error).__name__} {error}".strip()}
    return {"one at a time": one.said(), "16 at once": sixteen.said(), "transformers": version("transformers")}


def _peer_python() -> str:
    """The interpreter of the peer's venv, made if it is not there.

    Raises:
        UnmeasurableError: if it cannot be made.
    """
    import torch

    folder = CACHE / "transformers-serve"
    python = folder / "bin" / "python"
    needs = [f"torch=={torch.__version__.split('+')[0]}", f"transformers[serving]=={version('transformers')}"]
    check = "from transformers.utils.import_utils import is_serve_available as f; raise SystemExit(not f())"
    if python.exists() and subprocess.run([str(python), "-c", check], capture_output=True).returncode == 0:
        return str(python)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in ([sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "-qq", *needs]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise UnmeasurableError(f"could not be installed within {INSTALL_SECONDS} s") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            raise UnmeasurableError(f"could not be installed: {last[:160]}")
    return str(python)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def _process(command: Sequence[str], port: int, path: str) -> Iterator[str]:
    """Run a server until the `with` ends; gives its address once it answers at `path`.

    Raises:
        UnmeasurableError: if it ends or does not answer in time.
    """
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(url + path):
                if process.poll() is not None:
                    errors.seek(0)
                    last = (errors.read().strip().splitlines() or ["?"])[-1]
                    raise UnmeasurableError(f"ended at its start: {last[:160]}")
                if time.monotonic() > deadline:
                    raise UnmeasurableError(f"did not answer within {START_SECONDS} s")
                time.sleep(0.2)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False
