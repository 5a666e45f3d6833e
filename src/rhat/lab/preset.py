"""How many prompts each preset spends on what."""

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
    horizon     tokens of an answer that are read at most, where it is asked how long answers must be read
    dealt       random directions confirmed by generation: each prompt gets one of them (full: every prompt gets each)
    """

    name: str
    headline: int
    sweep: int
    train: int | None
    validation: int
    randoms: int
    dealt: int
    every_random: bool = False
    all_kl: bool = False
    horizon: int = 160

    __repr__ = one_line


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("quick", 64, 32, 128, 32, 10, 5, horizon=64),
        Preset("standard", 200, 64, None, 64, 20, 5),
        Preset("full", 10_000, 200, None, 64, 20, 5, every_random=True, all_kl=True),
    )
}
"""The sizes of a study by name."""
