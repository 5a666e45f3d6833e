"""Presets: how much a study measures. A new preset is one record in `_RECORDS`."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.reprs import one_line


@dataclass(frozen=True)
class Preset:
    """How much a study measures.

    headline    test prompts of each label for comparisons by generation (fewer than 200 decide little)
    sweep       test prompts for sweeps by log-odds, and for generation along curves
    train       training prompts of each label, of which candidates are made (None: all)
    validation  validation prompts of each label that score candidates
    randoms     random directions scored by log-odds
    dealt       random directions confirmed by generation: each prompt gets one of them
    horizon     tokens of an answer that are read at most, where it is asked how long answers must be read
    borderline  test prompts of over-refusal: harmless ones with alarming words, and as many unsafe twins
    duration    in help texts: how long it takes with the default model on the reference machine
    prompts     in documentation: how many prompts it uses
    """

    name: str
    headline: int
    sweep: int
    train: int | None
    validation: int
    randoms: int
    dealt: int
    all_kl: bool = False
    horizon: int = 160
    borderline: int = 100
    duration: str = ""
    prompts: str = ""

    __repr__ = one_line

    def tested(self, label: str) -> int:
        """Test prompts of a label for comparisons by generation."""
        return min(self.headline, self.borderline) if label in ("borderline", "twin") else self.headline


_RECORDS = (
    Preset(
        "quick",
        64,
        32,
        128,
        32,
        10,
        5,
        horizon=64,
        duration="a few minutes",
        prompts="64; also 128 training prompts and 10 random directions",
    ),
    Preset("standard", 200, 64, None, 64, 20, 5, duration="about a quarter of an hour", prompts="200"),
    Preset(
        "full",
        10_000,
        200,
        None,
        64,
        20,
        5,
        all_kl=True,
        borderline=10_000,
        duration="longer",
        prompts="all available",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _RECORDS}
"""The sizes of a study by name."""

DEFAULT_PRESET = "standard"
"""The preset of `rhat study` if none is given."""

AUTO = "auto"
"""The largest preset that ends within a budget of time on this machine."""

DURATIONS: str = "; ".join(f"{preset.name}: {preset.duration}" for preset in _RECORDS)
"""How long each preset takes, for help texts."""
