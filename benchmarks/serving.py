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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil
from measuring import Row, seconds
from subject import CACHE, MODEL, Subject

AT_ONCE = 16
TOKENS = 32
ONE, MANY, MIXED = "one at a time", "16 at once", "16 at once, four interventions"
START_SECONDS, INSTALL_SECONDS, ANSWER_SECONDS = 300, 1800, 600
INTERVENTIONS: tuple[Any, ...] = (
    [],
    {"op": "set_projection"},
    {"op": "add", "scope": "template"},
    {"op": "ablate"},
)
PEER = {  # how `transformers serve` is started: as it comes, and with the batching that it offers
    "transformers serve": (),
    # Left to itself it takes more than half of the memory for keys and values; a tenth holds far more than 16 answers.
    "transformers serve --continuous-batching": ("--continuous-batching", "--cb-max-memory-percent", "0.1"),
}


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


def measure(subject: Subject) -> list[Row]:
    """Streams of at most 32 tokens over HTTP, greedy, the same prompts for everybody; servers take turns, the others sleep."""
    runs, single = (1, 2) if subject.quick else (3, 6)
    texts = [p.text for p in subject.prompts.select("harmless", "test", AT_ONCE)]
    tokenizer = subject.model.tokenizer

    def load(server: Server, name: str, at_once: int, n: int, more: Sequence[Any] = ({},)) -> None:
        asked = [
            {**more[i % len(more)], "model": server.model, "messages": [{"role": "user", "content": text}]}
            for i, text in enumerate(texts[:n])
        ]
        used = _processor(server.process)
        answers, wall = asyncio.run(clients(server.url, asked, at_once, tokenizer))
        served = Served(answers, wall, _processor(server.process) - used)
        server.rounds.setdefault(name, []).append(served)

    def round_of(server: Server) -> None:
        with server.awake():
            load(server, ONE, 1, single)
            load(server, MANY, AT_ONCE, AT_ONCE)
            if server is ours:
                load(server, MIXED, AT_ONCE, AT_ONCE, [{"rhat": spec} for spec in INTERVENTIONS])

    def warm(server: Server) -> None:
        with server.awake():
            load(server, "warm", 2, 2)
        del server.rounds["warm"]

    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        direction = Path(folder) / "direction.safetensors"
        subject.direction.save(direction)
        ours = stack.enter_context(started("rhat serve", "default", rhat_command(direction)))
        warm(ours)
        servers = [ours]
        for name, options in PEER.items():
            with measurable(name, skipped):
                command = peer_command(subject, options)
                server = stack.enter_context(started(name, str(subject.folder), command))
                warm(server)
                servers.append(server)
        for run in range(runs):
            for server in servers[:: 1 if run % 2 == 0 else -1]:
                if server is ours:
                    round_of(server)
                elif server.name not in skipped:
                    with measurable(server.name, skipped):
                        round_of(server)
    peers = [server for server in servers if server is not ours and server.name not in skipped]
    return rows(ours, peers, skipped, runs)


def rows(ours: Server, peers: Sequence[Server], skipped: dict[str, str], runs: int) -> list[Row]:
    """What the table says."""
    one, sixteen = ours.median(ONE, "rate"), ours.median(MANY, "rate")
    made = [
        Row(
            "serving-batching",
            f"server, tokens per second: {AT_ONCE} streaming clients against one",
            f"{sixteen:.1f} tokens/s",
            f"{one:.1f} tokens/s (rhat serve, one at a time)",
            "≥ 4×",
            sixteen / one,
            limit=4,
            runs=runs,
            note=f"{ours.median(MIXED, 'rate'):.1f} tokens/s when clients request four different interventions",
            details={
                "rhat": ours.said(),
                "peers": {**{p.name: p.said() for p in peers}, **{n: {"skipped": why} for n, why in skipped.items()}},
                "transformers": version("transformers"),
            },
        )
    ]
    note = "; ".join(f"{name} could not be measured: {why}" for name, why in skipped.items())
    for title, load in (("one client", ONE), (f"{AT_ONCE} clients", MANY)):
        for what, name in (("first", "time to first token"), ("rate", "tokens per second")):
            times = what == "first"
            mine = ours.median(load, what)
            theirs, value = "could not be measured", None
            if peers:
                best = (min if times else max)(peers, key=lambda p, load=load, what=what: p.median(load, what))
                other = best.median(load, what)
                theirs = f"{seconds(other) if times else f'{other:.1f} tokens/s'} ({best.name})"
                value = other / mine if times else mine / other
            made.append(
                Row(
                    f"serving-{what}-{load.split()[0]}",
                    f"server, {name}, {title}",
                    seconds(mine) if times else f"{mine:.1f} tokens/s",
                    theirs,
                    "–",
                    value,
                    runs=runs,
                    note=note,
                )
            )
    return made


@contextmanager
def measurable(name: str, skipped: dict[str, str]) -> Iterator[None]:
    """Note why a server cannot be measured, and go on."""
    try:
        yield
    except UnmeasurableError as error:
        skipped[name] = str(error)
    except httpx.HTTPError as error:
        skipped[name] = f"did not answer: {type(error).__name__} {error}".strip()


def _processor(process: psutil.Process) -> float:
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


def rhat_command(direction: Path) -> list[str]:
    """How our server is started."""
    command = [sys.executable, "-m", "rhat", "serve", "--model", MODEL, "--offline", "--no-playground"]
    return [*command, "--slots", str(AT_ONCE), "--direction", str(direction)]


def peer_command(subject: Subject, options: Sequence[str]) -> list[str]:
    """How `transformers serve` is started, in a venv of its own, on the same folder.

    Raises:
        UnmeasurableError: if the venv cannot be made.
    """
    main = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    command = [_peer_python(), "-c", main, "serve", str(subject.folder), "--host", "127.0.0.1"]
    return [*command, "--device", "cpu", "--dtype", "bfloat16", *options]


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
def started(name: str, model: str, command: Sequence[str]) -> Iterator[Server]:
    """Run a server on a free port until the `with` ends; it sleeps until it is woken.

    Raises:
        UnmeasurableError: if it ends or does not answer in time.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=errors, stderr=errors, env=environment)
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
