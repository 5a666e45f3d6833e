"""What a study is asked to do, and how many prompts each preset spends on what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhat.errors import StudyError

if TYPE_CHECKING:
    from rhat.scoring.phrases import Phrases


@dataclass(frozen=True)
class Preset:
    """How much a study measures.

    headline    test prompts of each label for comparisons by generation (fewer than 200 decide little)
    sweep       test prompts for sweeps by log-odds, and for generation along curves
    train       training prompts of each label, of which candidates are made (None: all)
    validation  validation prompts of each label that score candidates
    randoms     random directions scored by log-odds
    dealt       random directions confirmed by generation: each prompt gets one of them (full: every prompt gets each)
    experiments names of what is run after finding r̂
    """

    name: str
    headline: int
    sweep: int
    train: int | None
    validation: int
    randoms: int
    dealt: int
    experiments: tuple[str, ...]
    every_random: bool = False
    all_kl: bool = False


QUESTIONS = (
    "setting",
    "ablating",
    "projections",
    "layers",
    "components",
    "damage",
    "scopes",
    "repe",
    "heads",
    "finders",
    "borderline",
    "doses",
    "stability",
    "guard",
    "audit",
)
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("quick", 64, 32, 128, 32, 10, 5, ("setting", "ablating", "projections", "components", "doses")),
        Preset("standard", 200, 64, None, 64, 20, 5, QUESTIONS),
        Preset("full", 10_000, 200, None, 64, 20, 5, QUESTIONS, every_random=True, all_kl=True),
    )
}


@dataclass(frozen=True)
class StudyConfig:
    """One study: the model, the prompts, the preset, and where results go.

    only             names of experiments to run, instead of the preset's
    response_prefix  what every answer is made to begin with; empty: what leads past markup, where answers have it
    refusal_phrases  a file of refusal phrases, one a line, read beside the built-in ones
    refusal_tokens   token ids, or texts of one token each, instead of those that `find` finds
    """

    model: str = "qwen2.5-coder-0.5b"
    preset: str = "standard"
    out: Path = Path("runs/default")
    harmful: str | None = None
    harmless: str | None = None
    borderline: str | None = None
    column: str | None = None
    seed: int = 0
    margin: float = 0.10
    dtype: str = "auto"
    revision: str | None = None
    offline: bool = False
    chat_template: str | None = None
    system: str | None = None
    response_prefix: str = ""
    refusal_phrases: str | None = None
    refusal_tokens: tuple[int | str, ...] = ()
    trust_remote_code: bool = False
    device: str | None = None
    adapter: str | None = None
    overwrite: bool = False
    only: tuple[str, ...] = ()
    executor: str = "serial"
    max_memory: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise StudyError(f"preset {self.preset!r}: expected one of {', '.join(PRESETS)}")
        if unknown := [name for name in self.only if name not in QUESTIONS]:
            raise StudyError(f"experiment {unknown[0]!r}: expected some of {', '.join(QUESTIONS)}")
        if (self.harmful is None) != (self.harmless is None):
            raise StudyError("prompts: got one of --harmful and --harmless; give both, or neither for the built-in set")
        if not 0 < self.margin < 1:
            raise StudyError(f"margin: got {self.margin}, expected a share between 0 and 1, such as 0.10")

    @property
    def sizes(self) -> Preset:
        """The preset's numbers."""
        return PRESETS[self.preset]

    @property
    def phrases(self) -> Phrases:
        """What answers are read with.

        Raises:
            PromptError: if the file of refusal phrases cannot be used.
        """
        from rhat.scoring.phrases import Phrases

        return Phrases.read(self.refusal_phrases) if self.refusal_phrases else Phrases()

    @property
    def experiments(self) -> tuple[str, ...]:
        """What is run after finding r̂, in order."""
        return self.only or self.sizes.experiments

    def settings(self) -> dict[str, Any]:
        """What results.json says of the configuration: all but where it is written and what changes no number."""
        said = asdict(self)
        for name in ("out", "overwrite", "extra", "only", "executor", "max_memory"):
            del said[name]
        if self.refusal_phrases:
            said["refusal_phrases"] = {"file": self.refusal_phrases, **self.phrases.describe()}
        for name in ("response_prefix", "refusal_tokens"):
            if not said[name]:
                del said[name]
        return {k: v for k, v in said.items() if v is not None}

    def fingerprint(self, model_identity: str, prompts_fingerprint: str) -> str:
        """What finished stages must have in common with this run to be used again: the preset's numbers too, not its name alone."""
        text = json.dumps([self.settings(), asdict(self.sizes), model_identity, prompts_fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
