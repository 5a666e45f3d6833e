"""Servers in processes of their own, and clients that stream from them and time what comes."""

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from subject import MODEL

AT_ONCE = 16
TOKENS = 32
START_SECONDS, ANSWER_SECONDS = 300, 600


@dataclass
class Answered:
    """One streamed answer: seconds to its first piece of text and to its end, and how many tokens the text has."""

    first: float
    total: float
    tokens: int


@dataclass
class Served:
    """Answers of one server under one load, and the seconds that all of them took: by the clock, and of its processor time."""

    answers: list[Answered]
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """Tokens per second, of all clients together."""
        return self.tokens / self.wall

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def first(self) -> float:
        """Median seconds to the first token."""
        return statistics.median(answer.first for answer in self.answers)


@dataclass(eq=False)
class Server:
    """A server in a process of its own, which sleeps while others are measured."""

    name: str
    url: str
    model: str
    process: psutil.Process
    rounds: dict[str, list[Served]] = field(default_factory=dict)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run; afterwards it uses no processor time, busy waiting included."""
        with suppress(psutil.NoSuchProcess):
            self.process.resume()
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):  # it has ended; asking it tells
                self.process.suspend()

    def loaded(
        self, load: str, texts: Sequence[str], at_once: int, tokenizer: Any, more: Sequence[dict[str, Any]] = ({},)
    ) -> None:
        """Ask about these texts, so many at the same time, with `more` in the requests in turn; note the round under a load's name.

        Raises:
            UnmeasurableError: if it has ended, or an answer is an error.
        """
        asked = [
            {**more[i % len(more)], "model": self.model, "messages": [{"role": "user", "content": text}]}
            for i, text in enumerate(texts)
        ]
        used = processor(self.process)
        answers, wall = asyncio.run(clients(self.url, asked, at_once, tokenizer))
        self.rounds.setdefault(load, []).append(Served(answers, wall, processor(self.process) - used))

    def median(self, load: str, what: str) -> float:
        """Median over rounds of `rate` or `first` under a load."""
        return statistics.median(getattr(one, what) for one in self.rounds[load])

    def said(self) -> dict[str, Any]:
        """For results.json: every round of every load."""
        return {
            load: [
                {
                    "tokens_per_second": round(one.rate, 2),
                    "tokens_per_processor_second": round(one.tokens / one.cpu, 2),
                    "first_token_median": round(one.first, 4),
                    "answer_median": round(statistics.median(answer.total for answer in one.answers), 4),
                    "answers": len(one.answers),
                    "tokens": one.tokens,
                    "seconds": round(one.wall, 3),
                }
                for one in rounds
            ]
            for load, rounds in self.rounds.items()
        }


class UnmeasurableError(Exception):
    """A server that could not be started or did not answer; one line says why."""


def processor(process: psutil.Process) -> float:
    """Seconds of processor time so far, children included.

    Raises:
        UnmeasurableError: if it has ended.
    """
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
        raise UnmeasurableError("it has ended")
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


async def clients(
    url: str, asked: Sequence[dict[str, Any]], at_once: int, tokenizer: Any
) -> tuple[list[Answered], float]:
    """Ask for streams, so many at the same time, and time what comes: the answers, and seconds of all.

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
        return list(answers), time.perf_counter() - began


def _text(line: str) -> str:
    """The text of a server-sent event; none for the others."""
    if not line.startswith("data:") or line.strip().endswith("[DONE]"):
        return ""
    event = json.loads(line[5:])
    if "error" in event:
        raise UnmeasurableError(f"the stream failed: {str(event['error'])[:160]}")
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def rhat_command(direction: Path, *more: str) -> list[str]:
    """How our server is started, with `more` options."""
    command = [sys.executable, "-m", "rhat", "serve", "--model", MODEL, "--offline", "--no-playground", *more]
    return [*command, "--slots", str(AT_ONCE), "--direction", str(direction)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def started(
    name: str, model: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server on a free port until the `with` ends, with more variables in its `environment`; it sleeps until it is woken.

    Raises:
        UnmeasurableError: if it ends or does not answer in time.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **(environment or {})}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=errors, stderr=errors, env=variables)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(f"{url}/health"):
                if process.poll() is not None:
                    errors.seek(0)
                    last = (errors.read().strip().splitlines() or ["?"])[-1]
                    raise UnmeasurableError(f"ended at its start: {last[:160]}")
                if time.monotonic() > deadline:
                    raise UnmeasurableError(f"did not answer within {START_SECONDS} s")
                time.sleep(0.2)
            watched = psutil.Process(process.pid)
            watched.suspend()
            yield Server(name, url, model, watched)
        finally:
            process.send_signal(signal.SIGCONT)
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
