"""How long a study will take on this machine, and which preset ends in time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rhat.errors import StudyError
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.scoring.speed import Speed
from rhat.selection.told import Told, in_seconds, measured, span
from rhat.study.config import StudyConfig
from rhat.study.cost import study_work
from rhat.study.stages import Stages, stage_name
from rhat.vocabulary import AUTO, PRESETS

SEARCH = ("refusal tokens", "activations", "induce scores", "ablation scores", "KL")  # kept as one stage, "find"
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Seconds of "30m", "90s", "1h", "1h30m", or of a bare number of minutes.

    Raises:
        StudyError: if it is none of these, or no time at all.
    """
    given = text.strip().lower().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)(s|min|m|h)", given)
    if re.fullmatch(r"\d+(\.\d+)?", given):
        parts = [(given, "m")]
    if "".join(n + unit for n, unit in parts) not in (given, given + "m") or not parts:
        raise StudyError(f"budget {text!r}: expected a time such as 30m, 90s, 1h30m, or a number of minutes")
    seconds = sum(float(n) * UNITS[unit] for n, unit in parts)
    if not seconds:
        raise StudyError(f"budget {text!r}: got no time at all; expected a time such as 30m")
    return seconds


@dataclass(frozen=True, eq=False)
class Forecast:
    """Seconds of every stage of a study under each preset: preset → stage → seconds. Empty where the plain path is taken,
    of which no speed is known."""

    config: StudyConfig
    seconds: dict[str, dict[str, float]]
    speed: Speed | None

    @classmethod
    def of(cls, config: StudyConfig, model: ChatModel, prompts: ContrastSet) -> Forecast:
        """Measures this machine on the model, or takes what was measured before."""
        if not model.fast:
            return cls(config, {}, None)
        speed, answers = measured(model, prompts)
        return cls(
            config,
            {
                name: in_seconds(study_work(replace(config, preset=name), model, prompts, answers=answers), speed)
                for name in PRESETS
            },
            speed,
        )

    def whole(self, preset: str) -> float:
        """Seconds of a study under a preset."""
        return sum(self.seconds[preset].values())

    def chosen(self, folder: Path, identity: str, fingerprint: str) -> StudyConfig:
        """The configuration with its preset: the one given; for "auto" that of the study that the folder holds, or the largest
        that ends within the budget, or the smallest where none does."""
        if self.config.preset != AUTO:
            return self.config
        every = [replace(self.config, preset=name) for name in PRESETS]
        held = _held(folder)
        for one in every:
            if not self.config.overwrite and held == one.fingerprint(identity, fingerprint):
                return one
        within = [one for one in every if self.seconds and self.whole(one.preset) <= self.config.budget]
        return within[-1] if within else every[0]

    def told(self, chosen: StudyConfig, stages: Stages, pieces: Pieces) -> Told | None:
        """What the chosen study will take, without what is kept of it; None where that is not known."""
        if self.speed is None:
            return None
        mine = self.seconds[chosen.preset]
        kept_as = {stage: "find" if stage in SEARCH else stage_name(stage, chosen.seeds) for stage in mine}
        kept = {stage for stage, name in kept_as.items() if stages.load(name) is not None}
        others = {name: self.whole(name) for name in PRESETS if name != chosen.preset}
        return Told(mine, self.speed, frozenset(kept), self.speed.seconds(pieces.work()), others, self._note(chosen))

    def _note(self, chosen: StudyConfig) -> str:
        if self.config.preset != AUTO:
            return ""
        if self.whole(chosen.preset) > self.config.budget:
            return f"; no preset ends within {span(self.config.budget)}, so {chosen.preset} was taken"
        return f"; {chosen.preset} is the largest preset that ends within {span(self.config.budget)}"


def _held(folder: Path) -> str | None:
    """The fingerprint of the study that a folder of stages holds."""
    try:
        found = json.loads((folder / "study.json").read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found)
