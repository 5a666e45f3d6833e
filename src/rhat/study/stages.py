"""Finished stages on disk: what an interrupted study goes on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rhat.artifacts.files import write_whole
from rhat.errors import ArtifactError
from rhat.lab import Measurement
from rhat.prompts import UNSAFE, ContrastSet
from rhat.selection.finding import Finding
from rhat.study.config import SPLITS

log = logging.getLogger(__name__)

FOUND = "finding.safetensors"  # what `find` found, in the folder of stages


@dataclass(frozen=True)
class Stages:
    """A folder of finished stages, each a JSON file written in one step; those of another study are not used."""

    folder: Path
    fingerprint: str

    def load(self, name: str) -> dict[str, Any] | None:
        """A finished stage of this very study, or None; one that is damaged is logged, and made anew."""
        path = self.folder / f"{name}.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            same, stage = held["fingerprint"] == self.fingerprint, held["stage"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s: damaged; this stage is run again", path)
            return None
        return stage if same else None

    def tell(self) -> None:
        """Log which stages an interrupted run of this study finished."""
        done = [
            path.stem for path in sorted(self.folder.glob("*.json")) if path.stem != "study" and self.load(path.stem)
        ]
        if done:
            log.info("%s: going on after the finished stages %s", self.folder, ", ".join(done))

    def save(self, name: str, stage: Mapping[str, Any]) -> None:
        """Keep a finished stage.

        Raises:
            ArtifactError: if it cannot be written; earlier stages stay.
        """
        text = json.dumps({"fingerprint": self.fingerprint, "stage": stage})
        write_whole(self.folder / f"{name}.json", text)

    def save_finding(self, finding: Finding) -> None:
        """Keep what `find` found: its file first, then the stage, so that a stage on disk has its file."""
        finding.save(self.folder / FOUND)
        self.save("find", {"file": FOUND})

    def load_finding(self, prompts: ContrastSet) -> Finding | None:
        """What `save_finding` kept, or None; a file that is damaged or gone is logged, and r̂ is found again."""
        if self.load("find") is None:
            return None
        try:
            return Finding.load(self.folder / FOUND, prompts)
        except ArtifactError as error:
            log.warning("%s; r̂ is found again", error)
            return None


def stage_name(experiment: str, splits: int) -> str:
    """The name under which a stage is kept: that of other splits says how many, so that more of them are another stage."""
    return f"{experiment}-{splits}" if experiment == SPLITS else experiment


def measurement_to_json(m: Measurement) -> dict[str, Any]:
    """A measurement as JSON; answers to harmful prompts are never kept."""
    return {
        "condition": m.condition,
        "label": m.label,
        "prompt_ids": list(m.prompt_ids),
        "scores": m.scores.tolist(),
        "verdicts": list(m.verdicts),
        "kl": None if m.kl is None else m.kl.tolist(),
        "texts": [] if m.label in UNSAFE else list(m.texts),
        "tokens": [] if m.label in UNSAFE else [list(some) for some in m.tokens],
        "panel": {judge: list(found) for judge, found in m.panel.items()},
        "hashes": list(m.hashes),
        "topics": list(m.topics),
        "shorter": {str(length): list(found) for length, found in m.shorter.items()},
    }


def measurement_from_json(held: Mapping[str, Any]) -> Measurement:
    """The inverse of `measurement_to_json`."""
    return Measurement(
        held["condition"],
        held["label"],
        tuple(held["prompt_ids"]),
        np.array(held["scores"]),
        tuple(held["verdicts"]),
        None if held["kl"] is None else np.array(held["kl"]),
        tuple(held["texts"]),
        tuple(map(tuple, held["tokens"])),
        {judge: tuple(found) for judge, found in held["panel"].items()},
        tuple(held["hashes"]),
        {int(length): tuple(found) for length, found in held["shorter"].items()},
        tuple(held["topics"]),
    )
