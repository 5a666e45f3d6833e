"""Stability: what r̂'s effect owes to the prompts that it was found on, made again from the answers under each direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rhat.questions.stability.effects import effect_part, pipeline_part, split_part
from rhat.verification.kept import Kept
from rhat.verification.recomputed import Recomputed

Written = Mapping[str, Any]


def pipeline(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The effect of each direction that was found again, and the interval over all of them."""
    said = written.get("pipeline")
    if said is None:
        return
    again = []
    for i, row in enumerate(written.get("resamples", [])):
        found = kept.judged(f"resampled:{row['seed']}", "harmless", row["effect"]["n"])
        if found is None:
            return
        again.append(found)
        yield Recomputed(("resamples", i, "effect"), effect_part(found), whole=True)
    both = [kept.judged(name, "harmless", said["n"]) for name in ("set_projection", "baseline")]
    if both[0] is not None and both[1] is not None:
        place = written.get("direction") or {}
        here = [(row["layer"], row["position"]) for row in written.get("resamples", [])]
        counts = {"found": len(again), "same_place": here.count((place.get("layer"), place.get("position")))}
        yield Recomputed(("pipeline",), counts | pipeline_part(both[0], both[1], again))


def splits(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The headline rates on each split."""
    for i, row in enumerate(written.get("splits", [])):
        prefix = f"split:{row['split']}:" if row["split"] else ""
        for label, name in (("harmless", "set_projection"), ("harmful", "ablate")):
            if name in row:
                both = [kept.judged(prefix + key, label, row[name]["n"]) for key in ("baseline", name)]
                if both[0] is not None and both[1] is not None:
                    yield Recomputed(("splits", i), split_part(both[0], both[1]))


SECTIONS = (pipeline, splits)
