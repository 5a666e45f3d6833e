"""Findings as files: what `find` found in one safetensors file, so that a lab opens after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from rhat.artifacts.files import replace_bytes
from rhat.directions import Direction
from rhat.errors import ArtifactError
from rhat.prompts import ContrastSet, Prompt
from rhat.scoring import Phrases, RefusalToken
from rhat.selection.means import Means
from rhat.selection.scored import Scored
from rhat.selection.survey import Survey
from rhat.sites import Site

FORMAT = "rhat-finding-1"
# Fields that JSON holds as they are, of a finding and of its survey.
OWN = ("outcome", "sentence", "rule", "split_half_cosine", "baseline_induce")
SURVEYED = ("prompts", "response_prefix", "markup")


def save_finding(finding: Mapping[str, Any], path: str | Path) -> Path:
    """Write the fields of a finding, by name, in one step; of its prompts the ids only.

    Raises:
        ArtifactError: if it cannot be written.
    """
    from safetensors.torch import save

    survey: Survey = finding["survey"]
    direction: Direction | None = finding["direction"]
    tensors = _tensors(survey.means)
    held: dict[str, Any] = {name: finding[name] for name in OWN} | {name: getattr(survey, name) for name in SURVEYED}
    held |= {
        "candidates": list(finding["candidates"]),
        "refusal_tokens": [asdict(token) for token in survey.refusal_tokens],
        "removed": dict(finding["removed"]),
        "timings": list(finding["timings"]),
        "survey_timings": list(survey.timings),
        "work": {stage: dict(said) for stage, said in finding["work"].items()},
        "openings": list(survey.openings),
        "phrases": list(survey.phrases.added),
        "kept": {s: {label: [p.id for p in some] for label, some in sides.items()} for s, sides in survey.kept.items()},
        "positions": None if survey.means is None else list(survey.means.positions),
        "threshold": None if survey.means is None else survey.means.threshold,
        "scored": None if finding["scored"] is None else finding["scored"].plain(),
        "direction": None,
    }
    if direction is not None:
        tensors["direction"] = direction.unit
        held["direction"] = {
            "site": str(direction.site),
            "position": direction.position,
            "norm": direction.norm,
            "mean_harmful": direction.means[0],
            "mean_harmless": direction.means[1],
            "method": direction.method,
            "model": dict(direction.model),
            "prompts": direction.prompts,
            "extra": dict(direction.extra),
        }
    path = Path(path)
    try:
        whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        replace_bytes(path, save(whole, {"format": FORMAT, "rhat": json.dumps(held)}))
    except Exception as error:
        raise ArtifactError(
            f"{path}: cannot write the finding ({getattr(error, 'strerror', None) or error})"
        ) from error
    return path


def _tensors(means: Means | None) -> dict[str, Tensor]:
    if means is None:
        return {}
    both = {"harmful": means.harmful, "harmless": means.harmless, "half0": means.halves[0], "half1": means.halves[1]}
    return both | ({} if means.found is None else {"found": means.found})


def load_finding(path: str | Path, prompts: ContrastSet) -> dict[str, Any]:
    """The fields of the finding that `save_finding` wrote, by name, with the prompts that it was made from.

    Raises:
        ArtifactError: if the file is missing, is no finding, or was made from other prompts.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; make one with `rhat.find(model, prompts).save({str(path)!r})`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ArtifactError(
                    f"{path}: not a finding written by rhat (format {metadata.get('format')!r}); save one with Finding.save"
                )
            held = json.loads(metadata["rhat"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = {prompt.id: prompt for prompt in prompts.prompts}
        missing = [i for sides in held["kept"].values() for some in sides.values() for i in some if i not in known]
        direction = held["direction"]
        if missing or (direction and direction["prompts"] not in ("", prompts.fingerprint)):
            raise ArtifactError(
                f"{path}: found with other prompts or another split seed than these ({prompts.name}); load it with those"
            )
        return {name: held[name] for name in (*OWN, "removed")} | {
            "direction": direction
            and Direction(**{**direction, "site": Site.parse(direction["site"]), "unit": tensors["direction"]}),
            "candidates": tuple(held["candidates"]),
            "survey": _survey(held, tensors, known),
            "timings": tuple((name, seconds) for name, seconds in held["timings"]),
            "work": held.get("work", {}),
            "scored": Scored.of(held.get("scored")),
        }
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read as a finding ({error}); find again with rhat.find") from error


def _survey(held: Mapping[str, Any], tensors: Mapping[str, Tensor], known: Mapping[str, Prompt]) -> Survey:
    means = None
    if held["positions"] is not None:
        means = Means(
            tuple(held["positions"]),
            tensors["harmful"],
            tensors["harmless"],
            (tensors["half0"], tensors["half1"]),
            tensors.get("found"),
            held.get("threshold", 0.0),  # earlier versions did not write it
        )
    kept = held["kept"].items()
    return Survey(
        # the outcome says the same where there is no refusal
        why_not=held["sentence"] if held["outcome"] == "no_refusal" else "",
        refusal_tokens=tuple(RefusalToken(**token) for token in held["refusal_tokens"]),
        kept={s: {label: tuple(known[i] for i in ids) for label, ids in sides.items()} for s, sides in kept},
        means=means,
        phrases=Phrases(tuple(held["phrases"])),
        openings=tuple((text, count) for text, count in held["openings"]),
        timings=tuple((name, seconds) for name, seconds in held["survey_timings"]),
        work=held.get("work", {}),
        **{name: held[name] for name in SURVEYED},
    )
