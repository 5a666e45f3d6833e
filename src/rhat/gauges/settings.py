"""How much is measured of the two gauges."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.errors import StudyError
from rhat.reprs import one_line
from rhat.vocabulary import DEFAULT_PRESET, JUDGED_TOKENS, PRESETS, Preset


@dataclass(frozen=True)
class GaugeSettings:
    """How much is measured, and where.

    layer          layer of the harmfulness direction; None: that of r̂
    preset         how many test prompts of each label are answered
    seed           of what is drawn
    judged_tokens  tokens of each answer that are generated and judged

    Raises:
        StudyError: if a number is outside what it may be.
    """

    layer: int | None = None
    preset: str = DEFAULT_PRESET
    seed: int = 0
    judged_tokens: int = JUDGED_TOKENS

    __repr__ = one_line

    def __post_init__(self) -> None:
        if self.layer is not None and self.layer < 1:
            raise StudyError(
                f"layer: got {self.layer}, expected 1 or more: the input of block 0 has seen no token but its own"
            )
        if self.preset not in PRESETS:
            raise StudyError(f"preset {self.preset!r}: expected one of {', '.join(PRESETS)}")

    @property
    def sizes(self) -> Preset:
        """How many prompts."""
        return PRESETS[self.preset]
