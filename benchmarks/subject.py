"""What is measured: the default model, the built-in prompts, and a finding made once for all rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

MODEL = "qwen2.5-coder-0.5b"
TRAIN = 64  # training prompts of each label that make the candidates of the grid
CACHE = Path(os.environ.get("RHAT_BENCH_CACHE", "~/.cache/rhat-bench")).expanduser()


@dataclass
class Subject:
    """The model and prompts, loaded when first asked for.

    quick          measure less, to try a benchmark; its numbers mean little
    with_standard  run the standard study as well
    say            is told how far a topic has come
    """

    quick: bool = False
    with_standard: bool = False
    say: Callable[[str], None] = lambda _text: None

    @cached_property
    def model(self) -> Any:
        """The default model, as `rhat.load` gives it."""
        import rhat

        return rhat.load(MODEL)

    @cached_property
    def folder(self) -> Path:
        """The folder that the default model is loaded from, for the peers to load as well."""
        from rhat.model.catalogue import CATALOGUE, cache_folder

        _ = self.model  # downloads and converts it if need be
        return cache_folder() / "models" / CATALOGUE[MODEL].sha256[:16]

    @cached_property
    def prompts(self) -> Any:
        """The built-in contrast set."""
        from rhat.prompts import builtin

        return builtin()

    def texts(self, n: int, split: str = "test") -> list[str]:
        """n prompts, harmful and harmless in turn; from all splits where one is too small."""
        sides = [self.prompts.select(label, split) for label in ("harmful", "harmless")]
        if 2 * min(map(len, sides)) < n:
            sides = [
                [p for s in ("train", "validation", "calibration", "test") for p in self.prompts.select(label, s)]
                for label in ("harmful", "harmless")
            ]
        both = [p.text for pair in zip(*sides, strict=False) for p in pair]
        repeats = [f"{text} ({i})" for i in range(2, 2 + n // len(both)) for text in both]
        return [*both, *repeats][:n]

    @cached_property
    def contrast(self) -> Any:
        """Training prompts, and 32 + 32 validation prompts on which the model behaves as labelled.

        The model refuses about a third of the harmful ones, so the calibration split, of which nothing else is made here,
        helps out.
        """
        from rhat.prompts import ContrastSet
        from rhat.scoring import last_token_scores
        from rhat.selection.settings import FindSettings
        from rhat.selection.survey import survey

        n = 8 if self.quick else 32
        train = [p for label in ("harmful", "harmless") for p in self.prompts.select(label, "train", TRAIN)]
        chosen = {}
        found = survey(self.model, self.prompts, FindSettings(train=TRAIN, validation=32, min_kept=(4, 2)))
        for label, sign in (("harmful", 1), ("harmless", -1)):
            pool = [*self.prompts.select(label, "validation"), *self.prompts.select(label, "calibration")]
            scores = last_token_scores(self.model, self.model.plan([p.text for p in pool]), found.token_ids)
            chosen[label] = [p for p, s in zip(pool, scores.tolist(), strict=True) if sign * s > 0][:n]
        validation = [replace(p, split="validation") for some in chosen.values() for p in some]
        return ContrastSet("benchmark", tuple(train + validation), 0)

    @property
    def settings(self) -> Any:
        """How the candidates of the grid are found."""
        from rhat.selection.settings import FindSettings

        return FindSettings(train=TRAIN, min_kept=(4, 2))

    @cached_property
    def survey(self) -> Any:
        """Refusal tokens, kept prompts and candidates of the grid, before anything is scored."""
        from rhat.selection.survey import survey

        return survey(self.model, self.contrast, self.settings)

    @cached_property
    def direction(self) -> Any:
        """A direction to intervene with: mean difference two thirds up, at the last position."""
        from rhat.selection.finding import direction_at

        return direction_at(self.model, self.survey.means, 2 * self.model.n_layers // 3, -1)
