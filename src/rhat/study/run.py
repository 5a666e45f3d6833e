"""Running a study: find r̂, run the experiments, write the folder. Finished stages are kept and used again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rhat import model as models
from rhat import results as contract
from rhat.artifacts.files import write_whole
from rhat.errors import ArtifactError
from rhat.executor import Executor, SerialExecutor
from rhat.lab import Lab
from rhat.lab.rows import merge
from rhat.model.allocator import give_back_freed_memory
from rhat.model.work import counting
from rhat.prompts import ContrastSet
from rhat.scoring.keeping import Keeping
from rhat.scoring.pieces import Pieces
from rhat.selection.finding import Finding, find
from rhat.selection.settings import Progress, silent
from rhat.selection.told import Told
from rhat.study.answers import check_readers
from rhat.study.budget import Forecast
from rhat.study.config import StudyConfig
from rhat.study.cost import find_settings
from rhat.study.differing import differing
from rhat.study.experiments import EXPERIMENTS
from rhat.study.manifest import peak_memory
from rhat.study.opening import lab_of, open_model, open_prompts
from rhat.study.per_prompt import completions, per_prompt, projections
from rhat.study.stages import Stages, measurement_from_json, measurement_to_json, stage_name
from rhat.study.summary import finish, header
from rhat.study.unrefused import unrefused
from rhat.vocabulary import AUTO

log = logging.getLogger(__name__)

DIRECTION = "direction.safetensors"


def run(
    config: StudyConfig,
    progress: Progress = silent,
    draw: Callable[[Path], Any] | None = None,
    *,
    executor: Executor | None = None,
    told: Callable[[Told], None] | None = None,
) -> dict[str, Any]:
    """Run a study and write its folder; returns what results.json holds.

    Stages that an earlier, interrupted run of the same study finished are not run again, nor are the finished pieces of the one
    that it was at: each condition, each batch of activations, each candidate's scores. `draw(folder)` makes the report.
    `executor` says who runs prompts and candidates; by default this process does. `told` is told, before the work begins, how
    long it will take on this machine, which is measured then; the same goes for the preset "auto".

    Raises:
        RhatError: if the model or prompts cannot be used, the folder holds another study (and `overwrite` is off), or a
            file cannot be written; finished stages stay.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out}: is a file; give a folder with --out")
    prompts, _ = open_prompts(config), config.phrases  # both are read before the model is
    check_readers(config.judges, config.keep_answers)
    started = time.perf_counter()
    model = open_model(config, progress)
    loading = time.perf_counter() - started
    folder, identity = out / "stages", (model.identity, prompts.fingerprint)
    forecast = None if told is None and config.preset != AUTO else Forecast.of(config, model, prompts)
    if forecast is not None:
        config = forecast.chosen(folder, *identity)
    stages = Stages(folder, config.fingerprint(*identity))
    _check_folder(out, stages, config)
    stages.tell()
    pieces = Pieces.of(folder / "pieces", model)
    with counting() as ledger:
        if told is not None and forecast is not None and (known := forecast.told(config, stages, pieces)) is not None:
            known.follow(ledger)
            told(known)
        return _results(config, model, prompts, stages, pieces, loading, progress, draw, executor)


def _results(
    config: StudyConfig,
    model: models.ChatModel,
    prompts: ContrastSet,
    stages: Stages,
    pieces: Pieces,
    loading: float,
    progress: Progress,
    draw: Callable[[Path], Any] | None,
    executor: Executor | None,
) -> dict[str, Any]:
    """All stages one after the other, and the folder."""
    out = Path(config.out)
    finding = _finding(config, model, prompts, stages, progress, executor, pieces)
    if finding.direction is not None:  # at once: whatever ends the study, what it found can be used
        finding.direction.save(out / DIRECTION)
    model = model.with_response_prefix(finding.response_prefix)
    results = header(config, model, prompts, finding)
    results["timings"] = [{"stage": "loading", "seconds": round(loading, 3)}] + [
        {"stage": stage, "seconds": seconds, **finding.work.get(stage, {})} for stage, seconds in finding.timings
    ]
    keeping = Keeping(executor or SerialExecutor(), pieces)
    lab = lab_of(config, model, prompts, finding, progress, keeping)
    names = config.experiments if finding.direction is not None else ("unrefused",)
    projected: dict[str, float] = {}
    for name in names:
        projected |= _stage(name, lab, stages, results, progress)
    finish(results, lab)
    _write(out, results, lab, per_prompt(lab, prompts, projected))
    pieces.remove()
    if draw is not None:
        began = time.perf_counter()
        draw(out)
        log.info("report drawn in %.1f s", time.perf_counter() - began)
    return results


def _finding(
    config: StudyConfig,
    model: models.ChatModel,
    prompts: ContrastSet,
    stages: Stages,
    progress: Progress,
    executor: Executor | None,
    pieces: Pieces,
) -> Finding:
    """r̂ and what was found with it: kept by an earlier run, or found now."""
    finding = stages.load_finding(prompts)
    if finding is None:
        finding = find(model, prompts, find_settings(config), progress=progress, executor=executor, pieces=pieces)
        stages.save_finding(finding)
        give_back_freed_memory()
    return finding


def _check_folder(out: Path, stages: Stages, config: StudyConfig) -> None:
    """Make sure the folder is free, or holds this very study.

    Raises:
        ArtifactError: if it holds another one and may not be overwritten.
    """
    marker = stages.folder / "study.json"
    held = None
    if marker.exists():
        try:
            held = json.loads(marker.read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError):
            held = "unreadable"
    elif (out / "results.json").exists():
        held = "unknown"
    if held not in (None, stages.fingerprint):
        if not config.overwrite:
            raise ArtifactError(
                f"{out}: holds another study ({differing(marker, config.settings())}); give another folder with --out, "
                "or --overwrite to replace it"
            )
        shutil.rmtree(stages.folder, ignore_errors=True)
    elif held is not None and config.overwrite:
        shutil.rmtree(stages.folder, ignore_errors=True)
    write_whole(marker, json.dumps({"fingerprint": stages.fingerprint, "settings": config.settings()}))


def _stage(name: str, lab: Lab, stages: Stages, results: dict[str, Any], progress: Progress) -> dict[str, float]:
    """One experiment, done now or kept; gives the projections of test prompts that it was the first to read."""
    kept_as = stage_name(name, lab.splits)
    held = stages.load(kept_as)
    if held is None:
        progress(name, 0, 1)
        before = dict(lab.measurements), dict(lab.conditions)
        known = projections(lab)
        began = time.perf_counter()
        with counting() as done:
            part = unrefused(lab) if name == "unrefused" else EXPERIMENTS[name](lab)
        held = {
            "part": part.plain(),
            "measurements": [measurement_to_json(m) for k, m in lab.measurements.items() if before[0].get(k) is not m],
            "conditions": {k: v for k, v in lab.conditions.items() if before[1].get(k) != v},
            "projections": {} if known else projections(lab),
            "seconds": round(time.perf_counter() - began, 3),
            "work": done.total.said(),
        }
        stages.save(kept_as, held)
        give_back_freed_memory()
        progress(name, 1, 1)
    for packed in held["measurements"]:
        m = measurement_from_json(packed)
        lab.measurements[m.condition, m.label] = m  # also in place of one of fewer prompts
    lab.conditions.update(held["conditions"])
    merge(results, held["part"])
    results["timings"].append({"stage": name, "seconds": held["seconds"], **held.get("work", {})})
    found: dict[str, float] = held.get("projections", {})
    return found


def _write(out: Path, results: dict[str, Any], lab: Lab, kept: bytes) -> None:
    results["manifest"] |= {
        "peak_memory_gib": peak_memory(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    results["manifest"]["sha256"] = {"per_prompt.parquet": hashlib.sha256(kept).hexdigest()}
    write_whole(out / "manifest.json", json.dumps(results["manifest"], indent=2))
    write_whole(out / "completions.jsonl", completions(lab))
    write_whole(out / "per_prompt.parquet", kept)
    contract.write(results, out)
