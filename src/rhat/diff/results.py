"""What two visits brought home, as the records of diff.json."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from rhat.artifacts.header import Model, PromptCount
from rhat.artifacts.measured import rate_part, rate_row
from rhat.diff.changes import changes
from rhat.diff.document import SCHEMA_VERSION, Diff, worst
from rhat.diff.rows import Apart, FoundDirection, LayerCosine, Matrix, Projected, Removal, SetRate, Side
from rhat.diff.seen import Seen, Under
from rhat.diff.sentences import sentences
from rhat.diff.settings import DiffSettings
from rhat.diff.weights import false_rate, is_removed
from rhat.lab.measurement import topics_of
from rhat.prompts import ContrastSet
from rhat.statistics import auroc

Row = dict[str, Any]


def results(a: Seen, b: Seen, prompts: ContrastSet, settings: DiffSettings) -> Diff:
    """The whole of diff.json.

    Raises:
        StatisticsError: if the prompts have no test split.
    """
    sides: dict[Side, Seen] = {"A": a, "B": b}
    found = changes(a.answers, b.answers, settings.margin)
    cosines, why_none = _cosines(a, b)
    every = [(side, whose, under) for side, seen in sides.items() for whose, under in sorted(seen.under.items())]
    fit = [one for one in every if not one[2].unfit]
    ra, rb = a.direction, b.direction
    one_width = ra is not None and rb is not None and len(ra.unit) == len(rb.unit)
    fields: Row = {
        "schema_version": SCHEMA_VERSION,
        "outcome": worst([row.outcome for row in found]),
        "sentences": (),
        "margin": settings.margin,
        "a": Model.of(dict(a.described)),
        "b": Model.of(dict(b.described)),
        "prompt_set": prompts.name,
        "prompts_fingerprint": prompts.fingerprint,
        "prompts": tuple(_counts(prompts, a)),
        "changes": found,
        "rates": tuple(rate_row(m) for seen in sides.values() for m in _measured(seen)),
        "directions": tuple(_direction(side, seen) for side, seen in sides.items()),
        "direction_cosine": ra.cosine(rb) if one_width and ra is not None and rb is not None else None,
        "cosines": tuple(cosines),
        "projections": tuple(row for one in fit for row in _projected(*one)),
        "separations": tuple(_apart(*one, prompts) for one in fit),
        "set_rates": tuple(
            _set_rate(side, whose, under, sides[side]) for side, whose, under in fit if under.set_to is not None
        ),
        "removals": tuple(_removal(*one, settings.randoms) for one in fit if one[2].lengths),
        "matrices": tuple(row for one in fit for row in _matrices(*one)),
        "notes": (*why_none, *_notes(every, sides)),
        "settings": {
            "preset": settings.sizes.name,
            "seed": settings.seed,
            "judged_tokens": settings.judged_tokens,
            "randoms": settings.randoms,
        },
        "manifest": {"versions": _versions()},
    }
    made = Diff.of({name: value for name, value in fields.items() if value is not None})
    return made.changed(sentences=tuple(sentences(made)))


def _measured(seen: Seen) -> list[Any]:
    return [*seen.answers.values(), *(u.set_to for _, u in sorted(seen.under.items()) if u.set_to is not None)]


def _counts(prompts: ContrastSet, a: Seen) -> list[PromptCount]:
    """Training and validation prompts as they are given; of test prompts, how many were measured."""
    rows = []
    for label, by_split in prompts.counts().items():
        for split, given in by_split.items():
            if given and split != "calibration":
                used = len(a.answers[label].verdicts) if split == "test" and label in a.answers else None
                rows.append(PromptCount.of({"split": split, "label": label, "given": given, "used": used}))
    return rows


def _direction(side: Side, seen: Seen) -> FoundDirection:
    finding, r = seen.finding, seen.direction
    row: Row = {"model": side, "outcome": finding.outcome, "sentence": wordless(finding.sentence)}
    if r is not None:
        row |= {"layer": r.layer, "position": r.position, "norm": r.norm, "harmful_mean": r.means[0]}
        row["split_half_cosine"] = finding.split_half_cosine
    return FoundDirection.of(row)


def wordless(sentence: str) -> str:
    """What a search says, without the words of answers to harmful prompts that it quotes where there is no refusal."""
    return re.sub("«.*»", "«…»", sentence, flags=re.DOTALL)


def _cosines(a: Seen, b: Seen) -> tuple[list[LayerCosine], list[str]]:
    """Cosines of the differences of means, layer by layer, at r̂'s position in A (or B, or the last); or why there are none."""
    shapes = [tuple(seen.halves["harmful"][0].shape) for seen in (a, b)]
    if shapes[0][0] != shapes[1][0] or shapes[0][2] != shapes[1][2]:
        said = " and ".join(f"{layers} layers of {width}" for layers, _, width in shapes)
        return [], [f"The models have {said}: nothing can be compared layer by layer"]
    r = a.direction or b.direction
    position = -1 if r is None or -r.position > min(shape[1] for shape in shapes) else r.position
    gaps, relative = [], []
    for seen in (a, b):
        pairs = zip(seen.halves["harmful"], seen.halves["harmless"], strict=True)
        halves = [(harmful - harmless)[:, position].double() for harmful, harmless in pairs]
        gaps.append((halves[0], halves[1], (halves[0] + halves[1]) / 2))
        relative.append((gaps[-1][2].norm(dim=1) / seen.halves["harmless"][0][:, position].norm(dim=1)).tolist())

    def cosine(x: torch.Tensor, y: torch.Tensor) -> list[float]:
        return [float(c) for c in torch.nn.functional.cosine_similarity(x, y, dim=1).clamp(-1, 1)]

    both, own = cosine(gaps[0][2], gaps[1][2]), [cosine(gap[0], gap[1]) for gap in gaps]
    rows = zip(range(len(both)), both, *own, strict=True)
    return [
        LayerCosine.of({"layer": layer, "position": position, "cosine": c, "a_split_half": sa, "b_split_half": sb})
        for layer, c, sa, sb in rows
        if all(sizes[layer] > 1e-9 for sizes in relative)  # layer 0 sees only the template
    ], []


def _projected(side: Side, whose: Side, under: Under) -> list[Projected]:
    return [
        Projected.of(
            {
                "model": side,
                "direction": whose,
                "prompts": label,
                "n": len(values),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
            }
        )
        for label, values in under.projected.items()
    ]


def _apart(side: Side, whose: Side, under: Under, prompts: ContrastSet) -> Apart:
    harmful, harmless = under.projected["harmful"], under.projected["harmless"]
    groups = tuple(
        topics_of(prompts.select(label, "test", len(values)))  # type: ignore[arg-type]
        for label, values in (("harmful", harmful), ("harmless", harmless))
    )
    area = auroc(harmful, harmless, groups=(groups[0], groups[1]))
    return Apart.of(
        {
            "model": side,
            "direction": whose,
            "auroc": area.estimate,
            "ci_low": area.low,
            "ci_high": area.high,
            "n_positive": area.n_positive,
            "n_negative": area.n_negative,
        }
    )


def _set_rate(side: Side, whose: Side, under: Under, seen: Seen) -> SetRate:
    m = under.set_to
    assert m is not None
    before = seen.answers["harmless"].refused[: len(m.verdicts)]
    row = rate_part(m.refused, m.topics)
    return SetRate.of(
        {
            "model": side,
            "direction": whose,
            "target": under.target,
            "baseline_rate": float(before.mean()),
            "degenerate": sum(v == "degenerate" for v in m.verdicts),
            **row,
        }
    )


def _matrices(side: Side, whose: Side, under: Under) -> list[Matrix]:
    rows = []
    for one in under.lengths:
        row: Row = {"model": side, "direction": whose, "writes": one.writes, "layer": one.layer, "name": one.name}
        rows.append(Matrix.of(row | {"ratio": one.ratios[0], "least": one.least, "low": one.low[0]}))
    return rows


def _removal(side: Side, whose: Side, under: Under, randoms: int) -> Removal:
    low = sum(one.low[0] for one in under.lengths)
    return Removal.of(
        {
            "model": side,
            "direction": whose,
            "matrices": len(under.lengths),
            "low": low,
            "median_ratio": float(np.median([one.ratios[0] for one in under.lengths])),
            "removed": is_removed(low, len(under.lengths)),
            "false_rate": false_rate(randoms),
            "unread": tuple(under.unread),
        }
    )


def _notes(every: list[tuple[Side, Side, Under]], sides: dict[Side, Seen]) -> list[str]:
    """What could not be compared, one line each."""
    said = [f"r̂ of {whose} was not used in {side}: {under.unfit}" for side, whose, under in every if under.unfit]
    for side, whose, under in every:
        if not under.unfit and under.set_to is None:
            said.append(f"r̂ of {whose} was not set in {side}: its harmful mean is unknown")
        if under.unread:
            parts = f"{len(under.unread)} part{'s' * (len(under.unread) > 1)} of {side} that write{'s' * (len(under.unread) == 1)}"
            said.append(
                f"r̂ of {whose} could not be looked for in {parts} to the residual stream: {'; '.join(under.unread[:3])}"
            )
    for side, seen in sides.items():
        if seen.direction is None:
            said.append(f"{side} has no r̂: {wordless(seen.finding.sentence)}")
    return said


def _versions() -> dict[str, str]:
    found = {}
    for name in ("rhat", "torch", "transformers", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
