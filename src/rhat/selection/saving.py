"""Findings as files: what `find` found in one safetensors file, so that a lab opens after a restart."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhat.artifacts.files import replace_bytes
from rhat.directions import Direction
from rhat.errors import ArtifactError
from rhat.prompts import ContrastSet
from rhat.scoring import Phrases, RefusalToken
from rhat.selection.means import Means
from rhat.selection.survey import Survey
from rhat.sites import Site

if TYPE_CHECKING:
    from rhat.selection.finding import Finding

FORMAT = "rhat-finding-1"
PLAIN = (
    *("outcome", "sentence", "prompts", "rule", "split_half_cosine", "baseline_induce", "response_prefix", "markup"),
)


def save_finding(finding: Finding, path: str | Path) -> Path:
    """Write a finding in one step; of its prompts the ids only.

    Raises:
        ArtifactError: if it cannot be written.
    """
    from safetensors.torch import save

    path, means, direction = Path(path), finding.means, finding.direction
    tensors = {}
    if means is not None:
        tensors = {
            "harmful": means.harmful,
            "harmless": means.harmless,
            "half0": means.halves[0],
            "half1": means.halves[1],
        }
        tensors |= {} if means.found is None else {"found": means.found}
    held: dict[str, Any] = {name: getattr(finding, name) for name in PLAIN} | {
        "candidates": list(finding.candidates),
        "refusal_tokens": [asdict(token) for token in finding.refusal_tokens],
        "removed": dict(finding.removed),
        "timings": list(finding.timings),
        "survey_timings": list(finding.survey.timings),
        "work": {stage: dict(said) for stage, said in finding.work.items()},
        "openings": list(finding.openings),
        "phrases": list(finding.phrases.added),
        "kept": {
            s: {label: [p.id for p in some] for label, some in sides.items()} for s, sides in finding.kept.items()
        },
        "positions": None if means is None else list(means.positions),
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
    try:
        whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        replace_bytes(path, save(whole, {"format": FORMAT, "rhat": json.dumps(held)}))
    except Exception as error:
        raise ArtifactError(
            f"{path}: cannot write the finding ({getattr(error, 'strerror', None) or error})"
        ) from error
    return path


def load_finding(path: str | Path, prompts: ContrastSet) -> Finding:
    """The finding that `save_finding` wrote, with the prompts that it was made from.

    Raises:
        ArtifactError: if the file is missing, is no finding, or was made from other prompts.
    """
    from safetensors import SafetensorError, safe_open

    from rhat.selection.finding import Finding

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
        kept = held["kept"]
        missing = [i for sides in kept.values() for some in sides.values() for i in some if i not in known]
        direction = held["direction"]
        if missing or (direction and direction["prompts"] not in ("", prompts.fingerprint)):
            raise ArtifactError(
                f"{path}: found with other prompts or another split seed than these ({prompts.name}); load it with those"
            )
        means = None
        if held["positions"] is not None:
            halves = tensors["half0"], tensors["half1"]
            means = Means(
                tuple(held["positions"]), tensors["harmful"], tensors["harmless"], halves, tensors.get("found")
            )
        survey = Survey(
            # the outcome says the same where there is no refusal
            why_not=held["sentence"] if held["outcome"] == "no_refusal" else "",
            refusal_tokens=tuple(RefusalToken(**token) for token in held["refusal_tokens"]),
            prompts=held["prompts"],
            kept={s: {la: tuple(known[i] for i in ids) for la, ids in sides.items()} for s, sides in kept.items()},
            means=means,
            response_prefix=held["response_prefix"],
            phrases=Phrases(tuple(held["phrases"])),
            markup=held["markup"],
            openings=tuple((text, count) for text, count in held["openings"]),
            timings=tuple((name, seconds) for name, seconds in held["survey_timings"]),
            work=held.get("work", {}),
        )
        return Finding(
            held["outcome"],
            held["sentence"],
            direction
            and Direction(**{**direction, "site": Site.parse(direction["site"]), "unit": tensors["direction"]}),
            tuple(held["candidates"]),
            survey,
            held["rule"],
            held["removed"],
            held["split_half_cosine"],
            held["baseline_induce"],
            tuple((name, seconds) for name, seconds in held["timings"]),
            survey.work,
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read as a finding ({error}); find again with rhat.find") from error
