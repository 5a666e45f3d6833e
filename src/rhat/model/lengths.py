"""The lengths at which a model changes how it computes, and what is proved on both sides of each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor

from rhat.model.decoder import Decoder, slow
from rhat.model.fast_path import prompt_and_next
from rhat.model.finite import distance
from rhat.model.logits import last_logits
from rhat.model.plain import plain_forward
from rhat.model.plans import TokenIds
from rhat.model.precision import wide

SECONDS = 15.0  # that switches beyond ORDINARY may take
ORDINARY = (5, 12, 29)  # tokens of the sequences that are tried on any model
WINDOWS = {  # settings that say how far a token looks back
    "sliding_window": "sliding window",
    "attention_chunk_size": "attention chunk",
    "attention_window_size": "attention window",
    "window_size": "attention window",
}


@dataclass(frozen=True)
class Switch:
    """A length: sequences of more tokens are computed otherwise than those of so many or fewer."""

    length: int
    why: str

    def __str__(self) -> str:
        return f"{self.length} ({self.why})"


def switches(model: Decoder) -> tuple[Switch, ...]:
    """The lengths at which this model changes by its configuration, ascending."""
    config, found = model.text_config, dict[int, str]()
    for name, why in WINDOWS.items():
        length = getattr(config, name, None)
        if isinstance(length, int) and length > 0:
            found.setdefault(length, why)
    for rope in model.rotation.ropes:
        if rope.length:
            found[rope.length] = " and ".join(filter(None, (found.get(rope.length), f"{rope.kind} rotation")))
    return tuple(Switch(length, found[length]) for length in sorted(found))


@dataclass(frozen=True)
class Lengths:
    """What was tried on both sides of which lengths.

    tried    switches on both sides of which the model was run; `left` those that were not, with the reason
    ordinary lengths tried besides
    errors   way of running → relative error against plain transformers on each sequence alone
    """

    tried: tuple[Switch, ...]
    left: tuple[tuple[Switch, str], ...]
    ordinary: tuple[int, ...]
    errors: dict[str, float]


def try_lengths(model: Decoder, tokens: Sequence[int], seconds: float = SECONDS) -> Lengths:
    """Run sequences on both sides of every switch that `seconds` and memory allow, in all ways that rhat runs prompts, and
    compare their next-token logits with those of plain transformers on each sequence alone.

    `tokens` are what sequences are drawn from.
    """
    config = model.text_config
    most = None if model.rotation.ropes else getattr(config, "max_position_embeddings", None)
    ordinary = tuple(n for n in ORDINARY if most is None or n + 1 < most)
    points = switches(model)
    rate = _tokens_a_second(model, tokens[: max(ordinary)]) if points else 0.0
    tried: list[Switch] = []
    left: list[tuple[Switch, str]] = []
    need = 0.0
    for switch in points:
        reason = _too_long(model, switch.length, most)
        need += 0 if reason else 8 * (switch.length + 2) / rate  # two sequences, in about four ways
        if not reason and need > seconds and switch.length > max(ordinary):
            reason = f"about {need:.0f} s at {rate:.0f} tokens a second, {seconds:g} s at most"
        if reason:
            left.append((switch, reason))
        else:
            tried.append(switch)
    lengths = sorted({*ordinary, *(n for s in tried for n in (s.length, s.length + 1))})
    choice = torch.tensor(sorted(set(tokens)))
    draw = torch.Generator().manual_seed(0)  # not the same words again and again: a window of one period hides its edge
    text = choice[torch.randint(len(choice), (lengths[-1] + 1,), generator=draw)].tolist()
    errors = dict(_errors(model, [text[:n] for n in lengths], tried, text[-1]))
    return Lengths(tuple(tried), tuple(left), ordinary, errors)


def _tokens_a_second(model: Decoder, tokens: TokenIds) -> float:
    """How fast the model runs, by one pass of a prompt."""
    start = time.perf_counter()
    plain_forward(model, [tokens], torch.zeros(1, dtype=torch.long))
    return len(tokens) / (time.perf_counter() - start)


def _too_long(model: Decoder, length: int, most: int | None) -> str:
    """Why a sequence a little longer cannot be run; empty if it can."""
    if most is not None and length + 1 >= most:
        return f"the model takes {most} tokens at most"
    room = psutil.virtual_memory().available
    if model.device.type == "cuda":
        room = torch.cuda.mem_get_info(model.device)[0]
    room = min(room, model.memory or room) // 4
    need = 3 * (length + 1) * model.text_config.vocab_size * model.dtype.itemsize  # logits of three rows, all positions
    if need > room:
        return f"logits of its tokens take {need / 2**30:.1f} GiB, {room / 2**30:.1f} GiB at most"
    return ""


def _errors(
    model: Decoder, sequences: list[TokenIds], tried: Sequence[Switch], token: int
) -> Iterator[tuple[str, float]]:
    """Way of running → relative error of next-token logits."""
    fast = model.fast and not slow()
    both = [_alone(model, sequence, token if fast else None) for sequence in sequences]
    truth = torch.cat([logits for logits, _ in both])
    if fast:
        got, step = prompt_and_next(model, sequences, token).chunk(2)
        # recomputing a row that outgrows its rotation is part of decoding, not of one step of it
        going_on = [i for i, s in enumerate(sequences) if len(s) not in model.rotation.renewed]
        yield "in one batch", distance(got, truth)
        yield "one token on", distance(step[going_on], torch.cat([both[i][1] for i in going_on]))
    else:
        yield "in one batch", distance(_planned(model, sequences), truth)
    yield "padded on the left", distance(wide(plain_forward(model, sequences, torch.arange(len(sequences)))), truth)
    for switch in tried:
        sides = [i for i, s in enumerate(sequences) if len(s) in (switch.length, switch.length + 1)]
        some = _planned(model, [sequences[i] for i in sides])
        yield f"with the beginning shared, at {switch.length}", distance(some, truth[sides])


def _planned(model: Decoder, sequences: Sequence[TokenIds]) -> Tensor:
    """Logits after each sequence, laid out as any prompts are; float64."""
    found: dict[int, Tensor] = {}
    for rows, logits in last_logits(model, model.lay_out(sequences)):
        found.update(zip(rows.tolist(), wide(logits), strict=True))
    return torch.stack([found[i] for i in range(len(sequences))])


def _alone(model: Decoder, sequence: TokenIds, token: int | None) -> tuple[Tensor, Tensor]:
    """Plain transformers on one sequence, and on one more token after it with a cache of its own: logits, float64."""
    ids = torch.tensor([list(sequence)], device=model.device)
    with torch.no_grad(), model.running(None):
        if token is None:
            logits = wide(model.hf(input_ids=ids, use_cache=False).logits[:, -1])
            return logits, logits
        first = model.hf(input_ids=ids, use_cache=True)
        step = torch.tensor([[token]], device=model.device)
        then = model.hf(input_ids=step, past_key_values=first.past_key_values, use_cache=True)
        return wide(first.logits[:, -1]), wide(then.logits[:, -1])
