"""The full candidate grid: rhat's selection against the published procedure done plainly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Times, once, seconds
from plain import Plain, score_candidate
from subject import Subject

KEPT = Path(__file__).with_name("full_grid.json")
SURVEYING = ("refusal tokens", "activations")  # stages of `find` that come before candidates are scored
SCORES = ("induce_score", "ablation_score", "kl")


def measure(subject: Subject) -> list[Row]:
    """Time the selection as `find` does it, every score of some candidates by rhat, and the plain procedure on the same."""
    from rhat.selection.finding import find

    runs = 1 if subject.quick else 2
    lazy, stages, finding = Times(), [], None
    for run in range(runs):
        finding = find(subject.model, subject.contrast, subject.settings)
        spent = [(name, took) for name, took in finding.timings if name not in SURVEYING]
        lazy.wall.append(sum(took for _, took in spent))
        stages.append(dict(spent))
        subject.say(f"selection {run + 1} of {runs}: {seconds(lazy.wall[-1])}")
    assert finding is not None
    assert finding.means is not None, finding.why_not
    harmful, harmless = ([p.text for p in finding.kept["validation"][label]] for label in ("harmful", "harmless"))
    candidates = spread(finding.means, 3 if subject.quick else 12)
    every_score = Times()
    ours = once(lambda: all_scores(subject.model, finding, candidates, harmful, harmless), every_score)
    subject.say(f"every score of {len(ours)} candidates: {seconds(every_score.median)}")
    plain = Plain.load(subject.folder, subject.model.dtype)
    theirs, times = plain_scores(plain, finding, candidates, harmful, harmless, subject.say)
    n = len(every(finding.means))
    scaled = times.median * n
    ratio = scaled / lazy.median
    ratio_all = times.median / (every_score.median / len(ours))
    agreement = differences(ours, theirs)
    return [
        Row(
            "grid",
            f"candidate grid: {n} candidates, {len(harmful)} + {len(harmless)} validation prompts",
            seconds(lazy.median),
            f"{seconds(scaled)} (plain procedure, {len(times.wall)} candidates × {n / len(times.wall):.0f})",
            "≥ 20×",
            ratio,
            limit=20,
            runs=runs,
            note=agreement_note(agreement) + "; " + choice_note(finding),
            details={
                "lazy": lazy.wall,
                "stages": stages,
                "outcome": finding.outcome,
                "chosen": chosen(finding),
                "removed": dict(finding.removed),
                "every_score": every_score.said() | {"candidates": len(ours), "ratio": ratio_all},
                "plain_per_candidate": times.said(),
                "agreement": agreement,
                "candidates": [{"key": f"{a}, {b}", "rhat": ours[a, b], "plain": theirs[a, b]} for a, b in theirs],
            },
        )
    ]


def chosen(finding: Any) -> dict[str, int] | None:
    """Layer and position of the direction that was found."""
    if finding.direction is None:
        return None
    return {"layer": finding.direction.site.layer, "position": finding.direction.position}


def choice_note(finding: Any) -> str:
    """What is known of the plain procedure's choice from the run of its whole grid."""
    kept = kept_grid()
    if kept is None:
        return "the whole plain grid has not been run: python benchmarks/full_grid.py"
    same = kept["plain_choice"] == chosen(finding)
    return f"the whole plain grid chose {'the same candidate' if same else 'another candidate: ' + str(kept['plain_choice'])}"


def every(means: Any) -> list[tuple[int, int]]:
    """All candidates: (layer, position)."""
    return [(layer, p) for layer in range(len(means.candidates)) for p in means.positions]


def spread(means: Any, n: int) -> list[tuple[int, int]]:
    """n candidates spread over layers and positions, layer 0 left out: its means are the same on both sides."""
    last = len(means.candidates) - 1
    layers = [1 + round(i * (last - 1) / max(n - 1, 1)) for i in range(n)]
    return [(layer, means.positions[(2 * i) % len(means.positions)]) for i, layer in enumerate(layers)]


def vector(means: Any, candidate: tuple[int, int]) -> torch.Tensor:
    """The difference of means of a candidate, float64."""
    layer, position = candidate
    return means.candidates[layer, means.positions.index(position)]


def all_scores(
    model: Any, finding: Any, candidates: list[tuple[int, int]], harmful: list[str], harmless: list[str]
) -> dict[tuple[int, int], dict[str, float]]:
    """Every score of these candidates by rhat's fast path, nothing left out."""
    from rhat.interventions import Intervention
    from rhat.model import cache_clean_run
    from rhat.model.logits import last_logits
    from rhat.scoring import kl_divergence, last_token_scores, refusal_score

    tokens = finding.token_ids
    calm, harm = model.plan(harmless), model.plan(harmful)
    kept = cache_clean_run(model, calm, sorted({layer for layer, _ in candidates}))
    base = {int(rows[0]): logits for rows, logits in last_logits(model, calm)}
    found = {}
    for layer, position in candidates:
        raw = vector(finding.means, (layer, position))
        norm = float(raw.norm())
        if norm == 0:
            continue
        unit = (raw / norm).float()
        ablate = Intervention("ablate", unit, layer, where="all layers").edits(model)
        add = Intervention("add", unit, layer, norm).edits(model)
        divergence = [kl_divergence(base[int(rows[0])], logits) for rows, logits in last_logits(model, calm, ablate)]
        induced = [refusal_score(logits, tokens) for _, logits in last_logits(model, calm, add, kept)]
        found[layer, position] = {
            "kl": float(torch.cat(divergence).mean()),
            "ablation_score": float(last_token_scores(model, harm, tokens, ablate).mean()),
            "induce_score": float(torch.cat(induced).mean()),
        }
    return found


def plain_scores(
    plain: Plain,
    finding: Any,
    candidates: list[tuple[int, int]],
    harmful: list[str],
    harmless: list[str],
    say: Callable[[str], None],
) -> tuple[dict[tuple[int, int], dict[str, float]], Times]:
    """The same by the plain procedure, each candidate timed."""
    base = plain.last_logits(harmless)
    found, times = {}, Times()
    for candidate in candidates:
        raw = vector(finding.means, candidate).float()
        if raw.norm() == 0:
            continue
        found[candidate] = once(
            lambda raw=raw, candidate=candidate: score_candidate(
                plain, raw, candidate[0], harmful, harmless, finding.token_ids, base
            ),
            times,
        )
        say(f"plain procedure, candidate {len(found)} of {len(candidates)}: {seconds(times.wall[-1])}")
    return found, times


def differences(ours: dict, theirs: dict) -> dict[str, dict[str, float]]:
    """Largest and median absolute difference of each score, and the spread of scores that it is to be seen against."""
    said = {}
    for score in SCORES:
        gaps = torch.tensor([abs(ours[c][score] - theirs[c][score]) for c in theirs], dtype=torch.float64)
        values = torch.tensor([theirs[c][score] for c in theirs], dtype=torch.float64)
        said[score] = {
            "max": float(gaps.max()),
            "median": float(gaps.median()),
            "spread": float(values.max() - values.min()),
        }
    return said


def agreement_note(agreement: dict[str, dict[str, float]]) -> str:
    """The agreement of scores in words."""
    return "scores differ by at most " + ", ".join(
        f"{name.removesuffix('_score')} {gap['max']:.3f} (of a spread of {gap['spread']:.2f})"
        for name, gap in agreement.items()
    )


def kept_grid() -> dict[str, Any] | None:
    """What the kept run of the whole plain grid chose; None while it is not done."""
    if not KEPT.exists():
        return None
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    return {k: v for k, v in kept.items() if k != "table"} if "plain_choice" in kept else None
