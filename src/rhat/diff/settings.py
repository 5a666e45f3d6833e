"""How two models are compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from rhat.errors import StudyError
from rhat.reprs import one_line
from rhat.vocabulary import DEFAULT_PRESET, JUDGED_TOKENS, PRESETS, Preset

MEAN_PROMPTS = 128  # training prompts of each label whose activations are averaged in both models


@dataclass(frozen=True)
class DiffSettings:
    """How two models are compared.

    preset         a name of `rhat.vocabulary.PRESETS`: how many prompts; or such a record
    margin         how much fewer (or, of harmless prompts, more) refusals do not matter, as a share: 0.10 is 10 percentage points
    seed           of the splits and of the random directions
    judged_tokens  tokens of each answer that are generated and judged
    randoms        random directions that r̂'s length in each matrix of weights is held against

    Raises:
        StudyError: if one of them cannot be used.
    """

    preset: str | Preset = DEFAULT_PRESET
    margin: float = 0.10
    seed: int = 0
    judged_tokens: int = JUDGED_TOKENS
    randoms: int = 400
    sizes: Preset = field(init=False)

    __repr__ = one_line

    def __post_init__(self) -> None:
        if isinstance(self.preset, str) and self.preset not in PRESETS:
            raise StudyError(f"preset {self.preset!r}: expected one of {', '.join(PRESETS)}")
        if not 0 < self.margin < 1:
            raise StudyError(f"margin: got {self.margin}, expected a share between 0 and 1; 10 points is margin=0.10")
        if self.judged_tokens < 1:
            raise StudyError(f"judged_tokens: got {self.judged_tokens}, expected at least 1, such as {JUDGED_TOKENS}")
        if self.randoms < 200:
            raise StudyError(
                f"randoms: got {self.randoms} random directions, expected at least 200: fewer promise no false rate"
            )
        sizes = PRESETS[self.preset] if isinstance(self.preset, str) else self.preset
        object.__setattr__(self, "sizes", sizes)
