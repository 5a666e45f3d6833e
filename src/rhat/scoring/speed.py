"""How fast this machine runs a model: measured on the model itself, and kept by model, machine, threads and precision."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rhat.artifacts.files import write_whole
from rhat.errors import ArtifactError
from rhat.generation.completions import generate_tokens
from rhat.model.catalogue import cache_folder
from rhat.model.chat import ChatModel
from rhat.model.passes import lm_head
from rhat.model.prefill import prefill
from rhat.model.work import Work, counting
from rhat.scoring.load import other_work
from rhat.vocabulary import JUDGED_TOKENS

log = logging.getLogger(__name__)

SHORT, LONG = 64, 512  # tokens of the two passes
FEW, MANY, STEPS = 4, 48, 4  # rows of the two decodes, and steps of each
STATES = 8, 64  # hidden states that meet the vocabulary
QUIET = 0.3  # cores that others may use while a machine is measured: a busier one is measured again next time
SLOW = 2.0  # seconds of the short pass from which nothing longer is tried
CAPS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "DNNL_MAX_CPU_ISA")


@dataclass(frozen=True)
class Speed:
    """Seconds that each part of the work takes.

    a_pass, a_token             of one block: a pass of many tokens, and each of these
    a_step, a_step_token        of one block: a pass of one token a row, and each of these
    a_head, a_state             of the vocabulary: a pass, and each hidden state
    answer_tokens, answers_cut  mean length of answers to a few training prompts, of at most 24 tokens, and the share that
                                was cut off there
    """

    a_pass: float
    a_token: float
    a_step: float
    a_step_token: float
    a_head: float
    a_state: float
    answer_tokens: float = float(JUDGED_TOKENS)
    answers_cut: float = 1.0

    def seconds(self, work: Work) -> float:
        """How long this work takes."""
        return (
            self.a_pass * work.block_passes
            + self.a_token * work.block_tokens
            + self.a_step * work.block_steps
            + self.a_step_token * work.block_step_tokens
            + self.a_head * work.vocabulary_passes
            + self.a_state * work.vocabulary_tokens
        )


def speed_of(model: ChatModel, texts: Sequence[str], *, folder: Path | None = None) -> Speed:
    """This machine's speed with a model: as it was measured before, or measured now, which takes some seconds.

    `texts` are a few prompts, whose answers say how long answers are. What is measured is kept in `folder` (rhat's cache), unless
    other processes kept the machine busy meanwhile.
    """
    path = (folder or cache_folder() / "speed") / f"{_key(model, texts)}.json"
    try:
        return Speed(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError):
        log.warning("%s: damaged; this machine is measured again", path)
    with counting(apart=True), other_work() as beside:
        found = measured_speed(model, texts)
    if beside.others > QUIET:
        return found
    try:
        write_whole(path, json.dumps(asdict(found)))
    except ArtifactError as error:
        log.warning("%s; this machine is measured again next time", error)
    return found


def _key(model: ChatModel, texts: Sequence[str]) -> str:
    """All that decides how fast a model runs, and how long its answers are."""
    from importlib.metadata import version

    said = [
        model.identity if model.identity != "in memory" else [model.name, model.n_layers, model.d_model],
        model.fast,
        str(model.dtype),
        str(model.device),
        _machine(model.device),
        os.cpu_count(),
        torch.get_num_threads(),
        torch.backends.cpu.get_cpu_capability(),
        [os.environ.get(name, "") for name in CAPS],
        [version(name) for name in ("rhat", "torch", "transformers")],
        model.tokenize(list(texts)),
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    pairs = [line.partition(":") for line in reversed(lines) if ":" in line]
    said = {name.strip(): value.strip() for name, _, value in pairs}  # of the first core, which is read last
    names = [said[name] for name in ("model name", "cpu family", "model", "stepping") if name in said]
    return " ".join(names) or platform.processor() or platform.machine()


def measured_speed(model: ChatModel, texts: Sequence[str]) -> Speed:
    """Passes of two sizes, hidden states through the vocabulary, and a few steps of decoding at two numbers of rows."""
    layers = model.n_layers
    _pass(model, 2, SHORT // 2)  # what is set up once
    short = _timed(model, lambda: _pass(model, 2, SHORT // 2))
    if short > SLOW:  # so slow that what a pass costs whatever its tokens does not matter
        a_token = short / SHORT / layers
        a_state = _timed(model, lambda: _head(model, STATES[0])) / STATES[0]
        return Speed(0.0, a_token, 0.0, a_token, 0.0, a_state)
    a_pass, a_token = _line((SHORT, LONG), (short, _timed(model, lambda: _pass(model, 16, LONG // 16))))
    _head(model, 1)
    a_head, a_state = _line(STATES, [_timed(model, partial(_head, model, n)) for n in STATES])
    steps = [_step(model, rows) for rows in (FEW, MANY)]
    for_states = [a_head + a_state * rows for rows in (FEW, MANY)]
    a_step, a_step_token = _line((FEW, MANY), [max(s - h, 0.0) for s, h in zip(steps, for_states, strict=True)])
    prompts = model.tokenize(list(texts))
    answers = generate_tokens(model, prompts, max_new_tokens=JUDGED_TOKENS) if prompts else []
    lengths = [len(answer.block) + len(answer.tokens) for answer in answers] or [JUDGED_TOKENS]
    return Speed(
        a_pass / layers,
        a_token / layers,
        a_step / layers,
        a_step_token / layers,
        a_head,
        a_state,
        sum(lengths) / len(lengths),
        sum(n >= JUDGED_TOKENS for n in lengths) / len(lengths),
    )


def _line(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """(what a pass costs, what each of its tokens costs), neither below 0, of two sizes and their seconds."""
    each = max(0.0, (seconds[1] - seconds[0]) / (sizes[1] - sizes[0]))
    return max(0.0, seconds[1] - each * sizes[1]), each


def _timed(model: ChatModel, run: Callable[[], Any]) -> float:
    """Seconds of one run; the smaller of two, for other work on the machine only adds to them."""
    found = []
    for _ in range(2):
        _wait(model)
        began = time.perf_counter()
        run()
        _wait(model)
        found.append(time.perf_counter() - began)
    return min(found)


def _wait(model: ChatModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _prompts(model: ChatModel, rows: int, tokens: int) -> list[tuple[int, ...]]:
    """Sequences of one length, each of other tokens."""
    some = sorted(set(model.tokenize(["Name a river in Peru, and why is 7 odd?"])[0]) - model.eos_ids)
    return [tuple(some[(i + j) % len(some)] for j in range(tokens)) for i in range(rows)]


def _pass(model: ChatModel, rows: int, tokens: int) -> None:
    for _ in prefill(model, model.lay_out(_prompts(model, rows, tokens), 1, share_prefix=False)):
        pass


def _head(model: ChatModel, n: int) -> None:
    with torch.no_grad():
        lm_head(model, torch.zeros(n, model.d_model, dtype=model.dtype, device=model.device))


def _step(model: ChatModel, rows: int) -> float:
    """Seconds of one step of decoding of so many rows."""

    def run(n: int) -> Callable[[], Any]:
        prompts = _prompts(model, rows, 4)
        return lambda: generate_tokens(model, prompts, max_new_tokens=n, ignore_eos=True)

    return max(0.0, _timed(model, run(1 + STEPS)) - _timed(model, run(1))) / STEPS
