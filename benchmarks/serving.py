"""The server: 16 clients at once against one at a time, and time to first token, beside `transformers serve`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from measuring import Row, seconds
from servers import AT_ONCE, Server, UnmeasurableError, rhat_command, started
from subject import CACHE, Subject

ONE, MANY, MIXED = "one at a time", "16 at once", "16 at once, four interventions"
INSTALL_SECONDS = 1800
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


def measure(subject: Subject) -> list[Row]:
    """Streams of at most 32 tokens over HTTP, greedy, the same prompts for everybody; servers take turns, the others sleep."""
    runs, single = (1, 2) if subject.quick else (3, 6)
    texts = [p.text for p in subject.prompts.select("harmless", "test", AT_ONCE)]
    tokenizer = subject.model.tokenizer

    def round_of(server: Server) -> None:
        with server.awake():
            server.loaded(ONE, texts[:single], 1, tokenizer)
            server.loaded(MANY, texts, AT_ONCE, tokenizer)
            if server is ours:
                server.loaded(MIXED, texts, AT_ONCE, tokenizer, [{"rhat": spec} for spec in INTERVENTIONS])

    def warm(server: Server) -> None:
        with server.awake():
            server.loaded("warm", texts[:2], 2, tokenizer)
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
