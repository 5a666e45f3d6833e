"""What a study is asked to do, and how many prompts each preset spends on what."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rhat.errors import StudyError
from rhat.questions import QUESTIONS
from rhat.reprs import one_line
from rhat.scoring.phrases import Phrases
from rhat.vocabulary import AUTO, JUDGED_TOKENS, PRESETS, THINKING_TOKENS, Preset

# Which presets run an experiment, in the order in which experiments run; the audit belongs to no question.
PRESETS_OF: dict[str, tuple[str, ...]] = {
    experiment.name: experiment.presets for question in QUESTIONS for experiment in question.experiments
} | {"audit": ("standard", "full")}
SPLITS = "seeds"  # the experiment that runs where other splits are asked for, whatever the preset
NAMES = tuple(PRESETS_OF)
"""The names of the experiments that `only` takes, in the order in which they run."""


@dataclass(frozen=True)
class StudyConfig:
    """One study: the model, the prompts, the preset, and where results go.

    preset           a name of `rhat.lab.PRESETS`, or "auto": the largest that ends within `budget` seconds on this machine
    only             names of experiments to run, instead of the preset's
    response_prefix  what every answer is made to begin with; empty: what leads past markup, where answers have it
    thinking         whether the model thinks before its answers: off, on or skip; a think block has `thinking_tokens` at most
    refusal_phrases  a file of refusal phrases, one a line, read beside the built-in ones
    judges           further judges of every answer, as `find_judge` names them; the default one reads in any case
    keep_answers     a file that all answers are appended to, those to harmful prompts too; None: they are nowhere kept
    judged_tokens    tokens of each answer that are generated and judged
    refusal_tokens   token ids, or texts of one token each, instead of those that `find` finds
    seeds            splits of the prompts that r̂ is found on: this one, and others with the seeds that follow
    """

    model: str = "qwen2.5-coder-0.5b"
    preset: str = "standard"
    budget: float = 15 * 60.0
    out: Path = Path("runs/default")
    harmful: str | None = None
    harmless: str | None = None
    borderline: str | None = None
    twins: str | None = None
    column: str | None = None
    seed: int = 0
    seeds: int = 1
    margin: float = 0.10
    dtype: str = "auto"
    revision: str | None = None
    offline: bool = False
    chat_template: str | None = None
    system: str | None = None
    response_prefix: str = ""
    thinking: str = "off"
    thinking_tokens: int = THINKING_TOKENS
    refusal_phrases: str | None = None
    refusal_tokens: tuple[int | str, ...] = ()
    judged_tokens: int = JUDGED_TOKENS
    judges: tuple[str, ...] = ()
    keep_answers: Path | None = None
    trust_remote_code: bool = False
    device: str | None = None
    adapter: str | None = None
    overwrite: bool = False
    only: tuple[str, ...] = ()
    executor: str = "serial"
    max_memory: str | None = None

    __repr__ = one_line

    def __post_init__(self) -> None:
        if self.preset not in (*PRESETS, AUTO):
            raise StudyError(f"preset {self.preset!r}: expected one of {', '.join((*PRESETS, AUTO))}")
        if not 0 < self.budget < math.inf:
            raise StudyError(f"budget: got {self.budget} seconds, expected a time above 0, such as 900")
        if unknown := [name for name in self.only if name not in NAMES]:
            raise StudyError(f"experiment {unknown[0]!r}: expected some of {', '.join(NAMES)}")
        if (self.harmful is None) != (self.harmless is None):
            raise StudyError("prompts: got one of --harmful and --harmless; give both, or neither for the built-in set")
        if self.borderline is not None and self.harmful is None:
            raise StudyError("prompts: got --borderline with the built-in set; give --harmful and --harmless as well")
        if self.twins is not None and self.borderline is None:
            raise StudyError("prompts: got --twins without --borderline; give the prompts that they are the twins of")
        if self.judged_tokens < 1:
            raise StudyError(f"judged_tokens: got {self.judged_tokens}, expected at least 1, such as {JUDGED_TOKENS}")
        if self.seeds < 1:
            raise StudyError(f"seeds: got {self.seeds}, expected at least 1, the study's own split")
        if SPLITS in self.only and self.seeds == 1:
            raise StudyError(f"experiment {SPLITS!r}: got --seeds 1, expected at least 2: how many splits to find r̂ on")
        if not 0 < self.margin < 1:
            raise StudyError(f"margin: got {self.margin}, expected a share between 0 and 1, such as 0.10")

    @property
    def sizes(self) -> Preset:
        """The preset's numbers.

        Raises:
            StudyError: if the preset is "auto", which is known once the model is loaded.
        """
        if self.preset == AUTO:
            raise StudyError(f"preset {AUTO!r}: not chosen yet; expected one of {', '.join(PRESETS)}")
        return PRESETS[self.preset]

    @property
    def phrases(self) -> Phrases:
        """What answers are read with.

        Raises:
            PromptError: if the file of refusal phrases cannot be used.
        """
        return Phrases.read(self.refusal_phrases) if self.refusal_phrases else Phrases()

    @property
    def experiments(self) -> tuple[str, ...]:
        """What is run after finding r̂, in the order of the questions."""
        asked = set(self.only) or {name for name, presets in PRESETS_OF.items() if self.preset in presets}
        asked |= {SPLITS} if self.seeds > 1 else set()
        return tuple(name for name in NAMES if name in asked)

    def settings(self) -> dict[str, Any]:
        """What results.json says of the configuration: all but where it is written and what changes no number."""
        said = asdict(self)
        for name in ("out", "budget", "overwrite", "only", "executor", "max_memory", "keep_answers", "seeds"):
            del said[name]
        if self.refusal_phrases:
            said["refusal_phrases"] = {"file": self.refusal_phrases, **self.phrases.describe()}
        for name in ("response_prefix", "refusal_tokens", "judges"):
            if not said[name]:
                del said[name]
        if self.thinking != "on":
            del said["thinking_tokens"]
        if self.thinking == "off":
            del said["thinking"]
        return {k: v for k, v in said.items() if v is not None}

    def fingerprint(self, model_identity: str, prompts_fingerprint: str) -> str:
        """What finished stages must have in common with this run to be used again: the preset's numbers too, not its name alone."""
        text = json.dumps([self.settings(), asdict(self.sizes), model_identity, prompts_fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
