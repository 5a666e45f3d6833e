"""How much an audit measures, and against what."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rhat.errors import StudyError
from rhat.reprs import one_line
from rhat.vocabulary import DEFAULT_PRESET, JUDGED_TOKENS, PRESETS, Preset

RANDOMS = 20  # the fewest of which a rank can be told from chance at 5 %
SEARCHED = 32  # harmless validation prompts on which doses are searched


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit measures, and against what.

    kl             KL(unedited ‖ steered) of the next token that every dose is searched for, nats, mean over harmless prompts
    strength       in place of `kl`: the vector is added so many times at the length that its file has, and its KL there is every dose's
    randoms        random directions as controls
    margin         the difference of refusal rates that is too small to matter, as a share
    preset         how many test prompts of each label are answered, and how many are scored under each random direction
    seed           of the random directions
    judged_tokens  tokens of each answer that are generated and judged

    Raises:
        StudyError: if a number is outside what it may be.
    """

    kl: float = 0.5
    strength: float | None = None
    randoms: int = RANDOMS
    margin: float = 0.10
    preset: str = DEFAULT_PRESET
    seed: int = 0
    judged_tokens: int = JUDGED_TOKENS

    __repr__ = one_line

    def __post_init__(self) -> None:
        if not (math.isfinite(self.kl) and self.kl > 0):
            raise StudyError(f"kl: got {self.kl}, expected a number of nats above 0, such as 0.5")
        if self.strength is not None and not (math.isfinite(self.strength) and self.strength > 0):
            raise StudyError(
                f"strength: got {self.strength}, expected a number above 0; negate the vector to turn it round"
            )
        if self.randoms < RANDOMS:
            raise StudyError(
                f"randoms: got {self.randoms}, expected {RANDOMS} or more: among fewer no rank can be told from chance at 5 %"
            )
        if not 0 < self.margin < 1:
            raise StudyError(f"margin: got {self.margin}, expected a share between 0 and 1; 10 points is 0.10")
        if self.preset not in PRESETS:
            raise StudyError(f"preset {self.preset!r}: expected one of {', '.join(PRESETS)}")

    @property
    def sizes(self) -> Preset:
        """How many prompts and random directions: those of the preset, with as many directions as are asked for."""
        return replace(PRESETS[self.preset], randoms=self.randoms, dealt=self.randoms)
