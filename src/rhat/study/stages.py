"""Finished stages on disk: what an interrupted study goes on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rhat.artifacts.files import write_whole
from rhat.directions import Direction
from rhat.lab import Measurement
from rhat.prompts import UNSAFE, ContrastSet
from rhat.scoring import Phrases, RefusalToken
from rhat.selection.finding import Finding, direction_at
from rhat.selection.means import Means
from rhat.selection.survey import Survey

log = logging.getLogger(__name__)


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
        """Keep what `find` found."""
        from safetensors.torch import save

        if finding.means is not None:
            means = finding.means
            blob = save(
                {
                    "harmful": means.harmful.contiguous(),
                    "harmless": means.harmless.contiguous(),
                    "half0": means.halves[0].contiguous(),
                    "half1": means.halves[1].contiguous(),
                    **({} if means.found is None else {"found": means.found.contiguous()}),
                }
            )
            write_whole(self.folder / "means.safetensors", blob)
        direction = finding.direction
        self.save(
            "find",
            {
                "outcome": finding.outcome,
                "sentence": finding.sentence,
                "candidates": list(finding.candidates),
                "refusal_tokens": [asdict(t) for t in finding.refusal_tokens],
                "prompts": finding.prompts,
                "rule": finding.rule,
                "removed": dict(finding.removed),
                "split_half_cosine": finding.split_half_cosine,
                "baseline_induce": finding.baseline_induce,
                "timings": list(finding.timings),
                "work": {stage: dict(said) for stage, said in finding.work.items()},
                "positions": None if finding.means is None else list(finding.means.positions),
                "threshold": None if finding.means is None else finding.means.threshold,
                "kept": {
                    s: {la: [p.id for p in some] for la, some in sides.items()} for s, sides in finding.kept.items()
                },
                "at": None if direction is None else [direction.layer, direction.position, direction.method],
                "extra": {} if direction is None else dict(direction.extra),
                "response_prefix": finding.response_prefix,
                "phrases": list(finding.phrases.added),
                "markup": finding.markup,
                "openings": list(finding.openings),
            },
        )

    def load_finding(self, model: Any, prompts: ContrastSet) -> Finding | None:
        """What `save_finding` kept, or None."""
        from safetensors.torch import load

        held = self.load("find")
        if held is None:
            return None
        means = None
        if held["positions"] is not None:
            try:
                tensors = load((self.folder / "means.safetensors").read_bytes())
            except Exception:  # a file cut short: find again
                log.warning("%s: damaged or gone; r̂ is found again", self.folder / "means.safetensors")
                return None
            means = Means(
                tuple(held["positions"]),
                tensors["harmful"],
                tensors["harmless"],
                (tensors["half0"], tensors["half1"]),
                tensors.get("found"),
                held.get("threshold", 0.0),
            )
        by_id = {p.id: p for p in prompts.prompts}
        kept = {s: {la: tuple(by_id[i] for i in ids) for la, ids in sides.items()} for s, sides in held["kept"].items()}
        direction: Direction | None = None
        if held["at"] is not None and means is not None:
            model = model.with_response_prefix(held["response_prefix"])
            layer, position, finder = held["at"]
            direction = direction_at(model, means, layer, position, prompts.fingerprint, finder)
            direction = replace(direction, extra=held["extra"])
        survey = Survey(
            held["sentence"] if means is None else "",
            tuple(RefusalToken(**t) for t in held["refusal_tokens"]),
            held["prompts"],
            kept,
            means,
            held["response_prefix"],
            Phrases(tuple(held["phrases"])),
            held["markup"],
            tuple((text, count) for text, count in held["openings"]),
            tuple((s, t) for s, t in held["timings"]),
            held.get("work", {}),  # stages that an earlier version finished have none
        )
        return Finding(
            held["outcome"],
            held["sentence"],
            direction,
            tuple(held["candidates"]),
            survey,
            held["rule"],
            held["removed"],
            held["split_half_cosine"],
            held["baseline_induce"],
            survey.timings,
            survey.work,
        )


def pack(m: Measurement) -> dict[str, Any]:
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


def unpack(held: Mapping[str, Any]) -> Measurement:
    """The inverse of `pack`."""
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
