"""Running a study: find r̂, run the experiments, write the folder. Finished stages are kept and used again."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rhat import model as models
from rhat import results as contract
from rhat.errors import ArtifactError, StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.interventions import set_projection
from rhat.model.allocator import give_back_freed_memory
from rhat.prompts import ContrastSet, builtin, read
from rhat.selection.finding import Finding, find
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.study.borderline import borderline
from rhat.study.config import PRESETS, StudyConfig
from rhat.study.damage import damage
from rhat.study.doses import doses
from rhat.study.finders import finders
from rhat.study.guard import guard
from rhat.study.heads import heads
from rhat.study.lab import Lab
from rhat.study.layers import layers
from rhat.study.primary import PRIMARY
from rhat.study.projections import components, projections
from rhat.study.repe import repe
from rhat.study.rows import adjust, judged, merge, rate_row, score_row
from rhat.study.scopes import scopes
from rhat.study.setting import ablating, agreement_rows, setting
from rhat.study.stability import stability
from rhat.study.stages import Stages, pack, unpack, write_whole

log = logging.getLogger(__name__)

Experiment = Callable[[Lab], dict[str, Any]]
EXPERIMENTS: dict[str, Experiment] = {
    "setting": setting,
    "ablating": ablating,
    "projections": projections,
    "layers": layers,
    "components": components,
    "damage": damage,
    "scopes": scopes,
    "repe": repe,
    "heads": heads,
    "finders": finders,
    "borderline": borderline,
    "doses": doses,
    "stability": stability,
    "guard": guard,
}
AUDITED = 16  # harmless prompts whose answers are generated past the verdict
AUDIT_TOKENS = 48


def open_prompts(config: StudyConfig) -> ContrastSet:
    """The contrast set that a configuration names: the built-in one, or the user's files."""
    if config.harmful is None or config.harmless is None:
        return builtin(config.seed)
    return read(
        config.harmful, config.harmless, config.borderline, config.seed, column=config.column, offline=config.offline
    )


def model_arguments(config: StudyConfig) -> dict[str, Any]:
    """What `rhat.load` is given for a configuration; it can be pickled, so that other processes load the same model."""
    said: dict[str, Any] = {
        "name": config.model,
        "dtype": config.dtype,
        "revision": config.revision,
        "offline": config.offline,
        "chat_template": config.chat_template,
        "system": config.system,
        "trust_remote_code": config.trust_remote_code,
        "device": config.device,
    }
    for name in ("max_memory", "adapter", "response_prefix"):
        if getattr(config, name):
            said[name] = getattr(config, name)
    return said


def open_model(config: StudyConfig, progress: Progress = silent) -> models.ChatModel:
    """The model that a configuration names."""
    return models.load(
        **model_arguments(config), progress=lambda stage, done, total: progress(stage, int(done), int(total))
    )


def open_lab(
    model: models.ChatModel,
    prompts: ContrastSet,
    finding: Finding,
    preset: str = "standard",
    *,
    seed: int = 0,
    margin: float = 0.10,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Lab:
    """A lab for single experiments from Python: `rhat.study.EXPERIMENTS["heads"](lab)`.

    Raises:
        StudyError: if nothing was found.
    """
    if finding.direction is None:
        raise StudyError(f"no direction to study: {finding.sentence}")
    return Lab(
        model.with_response_prefix(finding.response_prefix),
        prompts,
        finding,
        finding.direction,
        PRESETS[preset],
        seed,
        margin,
        progress,
        executor or SerialExecutor(),
    )


def run(
    config: StudyConfig,
    progress: Progress = silent,
    draw: Callable[[Path], Any] | None = None,
    *,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Run a study and write its folder; returns what results.json holds.

    Stages that an earlier, interrupted run of the same study finished are not run again. `draw(folder)` makes the report.
    `executor` says who runs prompts and candidates; by default this process does.

    Raises:
        RhatError: if the model or prompts cannot be used, the folder holds another study (and `overwrite` is off), or a
            file cannot be written; finished stages stay.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out}: is a file; give a folder with --out")
    prompts, phrases = open_prompts(config), config.phrases
    started = time.perf_counter()
    model = open_model(config, progress)
    fingerprint = config.fingerprint(model.identity, prompts.fingerprint)
    stages = Stages(out / "stages", fingerprint)
    _claim(out, stages, config)
    loading = time.perf_counter() - started
    finding = stages.load_finding(model, prompts)
    if finding is None:
        sizes = config.sizes
        settings = FindSettings(
            train=sizes.train,
            validation=sizes.validation,
            all_kl=sizes.all_kl,
            phrases=phrases,
            refusal_tokens=config.refusal_tokens,
        )
        if sizes.train is not None:
            settings = replace(settings, token_prompts=min(settings.token_prompts, sizes.train // 4))
        finding = find(model, prompts, settings, progress=progress, executor=executor)
        stages.save_finding(finding)
        give_back_freed_memory()
    model = model.with_response_prefix(finding.response_prefix)
    results = _head(config, model, prompts, finding)
    results["timings"] = [{"stage": "loading", "seconds": round(loading, 3)}] + [
        {"stage": stage, "seconds": seconds} for stage, seconds in finding.timings
    ]
    lab = _lab(config, model, prompts, finding, progress, executor or SerialExecutor())
    names = config.experiments if finding.direction is not None else ("unrefused",)
    for name in names:
        if name in EXPERIMENTS or name == "unrefused":
            _stage(name, lab, stages, results, progress)
    _finish(results, lab)
    _write(out, config, model, results, lab, prompts)
    if draw is not None:
        began = time.perf_counter()
        draw(out)
        log.info("report drawn in %.1f s", time.perf_counter() - began)
    return results


def _lab(
    config: StudyConfig, model: Any, prompts: ContrastSet, finding: Finding, progress: Progress, executor: Executor
) -> Lab:
    return Lab(model, prompts, finding, finding.direction, config.sizes, config.seed, config.margin, progress, executor)


def _claim(out: Path, stages: Stages, config: StudyConfig) -> None:
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
                f"{out}: holds another study (other model, prompts or settings); give another folder with --out, "
                "or --overwrite to replace it"
            )
        shutil.rmtree(stages.folder, ignore_errors=True)
    elif held is not None and config.overwrite:
        shutil.rmtree(stages.folder, ignore_errors=True)
    write_whole(marker, json.dumps({"fingerprint": stages.fingerprint, "settings": config.settings()}))


def _stage(name: str, lab: Lab, stages: Stages, results: dict[str, Any], progress: Progress) -> None:
    held = stages.load(name)
    if held is None:
        progress(name, 0, 1)
        before = set(lab.measurements), set(lab.conditions)
        began = time.perf_counter()
        part = unrefused(lab) if name == "unrefused" else EXPERIMENTS[name](lab)
        held = {
            "part": part,
            "measurements": [pack(m) for key, m in lab.measurements.items() if key not in before[0]],
            "conditions": {k: v for k, v in lab.conditions.items() if k not in before[1]},
            "seconds": round(time.perf_counter() - began, 3),
        }
        stages.save(name, held)
        give_back_freed_memory()
        progress(name, 1, 1)
    for packed in held["measurements"]:
        m = unpack(packed)
        lab.measurements.setdefault((m.condition, m.label), m)
    lab.conditions.update(held["conditions"])
    merge(results, held["part"])
    results["timings"].append({"stage": name, "seconds": held["seconds"]})


def unrefused(lab: Lab) -> dict[str, Any]:
    """When there is no direction to study: the baseline's refusal rates on test prompts, which say why."""
    measured = []
    for label in ("harmful", "harmless"):
        n = min(lab.sizes.headline, len(lab.test(label)))
        if not lab.finding.refusal_tokens:
            measured.append(_plain_rates(lab, label, n))
        else:
            measured.append(lab.measure("baseline", None, label, n))
    part: dict[str, Any] = {"rates": [rate_row(m) for m in measured]}
    if lab.finding.refusal_tokens:
        part["scores"] = [score_row(m) for m in measured]
    return part


def _plain_rates(lab: Lab, label: str, n: int) -> Any:
    """Verdicts without scores, for a model that has no refusal tokens."""
    import numpy as np

    from rhat.scoring import refusals
    from rhat.study.lab import Measurement

    prompts = lab.test(label, n)
    done = refusals(
        lab.model,
        lab.model.tokenize([p.text for p in prompts]),
        phrases=lab.finding.phrases,
        progress=lambda d, t: lab.progress(f"baseline, {label}", d, t),
    )
    lab.describe("baseline", None)
    m = Measurement("baseline", label, tuple(p.id for p in prompts), np.full(len(prompts), np.nan), done.verdicts)
    lab.measurements["baseline", label] = m
    return m


def _head(config: StudyConfig, model: Any, prompts: ContrastSet, finding: Finding) -> dict[str, Any]:
    """What is known once r̂ is found, or is not."""
    made: dict[str, Any] = head(model, finding) | {
        "prompts_fingerprint": prompts.fingerprint,
        "settings": config.settings(),
        "manifest": manifest(config),
        "conditions": {},
        "prompts": _prompt_rows(prompts, finding, config),
        "refusal_tokens": [{"id": t.id, "text": t.text, "share": t.share} for t in finding.refusal_tokens],
    }
    if finding.openings and finding.outcome == "no_refusal":
        head["openings"] = [{"text": text, "count": count} for text, count in finding.openings]
    if finding.candidates:
        made["candidates"] = [dict(c) for c in finding.candidates]
        made["selection"] = {
            "rule": finding.rule,
            "kl_max": FindSettings.kl_max,
            "induce_min": FindSettings.induce_min,
            "last_layer": max(0, int((1 - FindSettings.skip_last) * model.n_layers) - 1),
            "removed": dict(finding.removed),
        }
    return made


def head(model: Any, finding: Finding) -> dict[str, Any]:
    """What every results.json begins with: the outcome, the model, and r̂ where there is one."""
    made: dict[str, Any] = {
        "schema_version": contract.SCHEMA_VERSION,
        "outcome": finding.outcome,
        "outcome_sentence": finding.sentence,
        "model": model.describe(),
    }
    d = finding.direction
    if d is not None:
        made["direction"] = {
            "site": str(d.site),
            "layer": d.layer,
            "position": d.position,
            "norm": d.norm,
            "method": d.method,
            "harmful_mean": d.mean_harmful,
            "harmless_mean": d.mean_harmless,
        }
    return made


def _prompt_rows(prompts: ContrastSet, finding: Finding, config: StudyConfig) -> list[dict[str, Any]]:
    rows = []
    for label, splits in prompts.counts().items():
        for split, given in splits.items():
            if not given:
                continue
            row: dict[str, Any] = {"split": split, "label": label, "given": given}
            counts = finding.prompts.get(split, {}).get(label, {})
            if counts.get("given", given) < given:
                row["used"] = counts["given"]
            if "kept" in counts:
                row["kept"] = counts["kept"]
            if split == "test" and config.sizes.headline < given:
                row["used"] = config.sizes.headline
            rows.append(row)
    return rows


def _finish(results: dict[str, Any], lab: Lab) -> None:
    """What needs every experiment: adjusted p values, the primary claims, the agreement of the two scorers."""
    results["conditions"] = {
        k: {name: value for name, value in v.items() if name != "dealt"} for k, v in lab.conditions.items()
    }
    compared = results.get("comparisons", [])
    if compared:
        adjust(compared)
        results["primary"] = _primary(compared)
        if not results["primary"]:
            del results["primary"]
    if lab.finding.refusal_tokens:
        merge(results, agreement_rows(lab))


def _primary(compared: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from rhat.statistics import holm

    found = []
    for claim_id, claim, treatment, reference, label in PRIMARY:
        row = next(
            (r for r in compared if (r["treatment"], r["reference"], r["prompts"]) == (treatment, reference, label)),
            None,
        )
        if row is not None:
            found.append((claim_id, claim, row))
    adjusted = holm([row["mcnemar_p"] for _, _, row in found]).tolist() if found else []
    return [
        {
            "id": claim_id,
            "claim": claim,
            "treatment": row["treatment"],
            "reference": row["reference"],
            "prompts": row["prompts"],
            "holm_p": float(min(p, 1.0)),
            "verdict": judged(row, float(p)),
        }
        for (claim_id, claim, row), p in zip(found, adjusted, strict=True)
    ]


def manifest(config: StudyConfig) -> dict[str, Any]:
    """Versions, seed, command line and machine."""
    versions = {}
    for name in ("rhat", "torch", "transformers", "numpy", "scipy", "statsmodels"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed as a package"
    return {
        "versions": versions | {"python": platform.python_version()},
        "seed": config.seed,
        "command": sys.argv,
        "machine": {"platform": platform.platform(), "processor": _processor(), "cores": _cores()},
    }


def _peak_memory() -> float | None:
    """The most main memory that this process has held, GiB; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return round(peaks[0] / 2**20, 3) if peaks else None


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _write(out: Path, config: StudyConfig, model: Any, results: dict[str, Any], lab: Lab, prompts: ContrastSet) -> None:
    if lab.finding.direction is not None:
        lab.finding.direction.save(out / "direction.safetensors")
    results["manifest"] |= {
        "peak_memory_gib": _peak_memory(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_whole(out / "manifest.json", json.dumps(results["manifest"], indent=2))
    write_whole(out / "completions.jsonl", _completions(lab))
    write_whole(out / "per_prompt.parquet", _per_prompt(lab, prompts))
    contract.write(results, out)


def _completions(lab: Lab) -> str:
    """Verdicts of every answer; texts of answers to harmless and borderline prompts only."""
    lines = []
    for (condition, label), m in lab.measurements.items():
        for i, (prompt_id, verdict) in enumerate(zip(m.prompt_ids, m.verdicts, strict=True)):
            row = {"prompt_id": prompt_id, "label": label, "condition": condition, "verdict": verdict}
            if label != "harmful" and m.texts:
                row["text"] = m.texts[i]
            lines.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _per_prompt(lab: Lab, prompts: ContrastSet) -> bytes:
    """One row a prompt and condition, as Parquet: id, label, split, condition, verdict, refusal score, KL, projection."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    by_id = {p.id: p for p in prompts.prompts}
    projected = _projections(lab)
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "prompt_id",
            "label",
            "split",
            "category",
            "topic",
            "condition",
            "verdict",
            "score",
            "kl",
            "projection",
        )
    }
    for (condition, label), m in lab.measurements.items():
        for i, prompt_id in enumerate(m.prompt_ids):
            prompt = by_id[prompt_id]
            row = (
                prompt_id,
                label,
                prompt.split,
                prompt.category,
                prompt.topic,
                condition,
                m.verdicts[i] if m.verdicts else None,
                float(m.scores[i]),
                None if m.kl is None or i >= len(m.kl) else float(m.kl[i]),
                projected.get(prompt_id),
            )
            for name, value in zip(columns, row, strict=True):
                columns[name].append(value)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _projections(lab: Lab) -> dict[str, float]:
    """r̂·x of the test prompts whose activations an experiment has kept."""
    if lab.finding.direction is None or "testing" not in lab.__dict__:
        return {}
    d = lab.finding.direction
    return {
        p.id: float(v)
        for label, kept in lab.testing.items()
        for p, v in zip(lab.test(label, len(kept)), d.project(kept[:, d.layer]).tolist(), strict=True)
    }


def audit(lab: Lab) -> dict[str, Any]:
    """A fixed sample of answers to harmless prompts run past the verdict, kept for auditing the phrase scorer.

    They are in completions.jsonl under `audit:…`: an answer that refuses and then complies shows there.
    """
    d = lab.direction
    for name, doing in (("baseline", None), ("set_projection", set_projection(d))):
        lab.measure(f"audit:{name}", doing, "harmless", AUDITED, max_new_tokens=AUDIT_TOKENS)
    return {}


EXPERIMENTS["audit"] = audit
