"""The published selection rules, on any table of candidates, and what every rule leaves; no model needed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rhat.errors import StudyError
from rhat.reprs import one_line

Status = Literal["selected", "kept", "zero_norm", "layer", "induce", "kl", "unevaluated"]
RULES: tuple[Status, ...] = ("zero_norm", "layer", "induce", "kl")
FIELDS = ("position", "layer", "ablation_score", "induce_score", "kl")


@dataclass(frozen=True)
class Choice:
    """The selected candidate, as it was given (None if none is left), and the table with each candidate's status.

    rule     the name of a rule, such as "published" or "relaxed"
    removed  how many candidates each part of it removed, by the first that they failed
    """

    candidate: Any | None
    table: tuple[dict[str, Any], ...]
    rule: str
    removed: Mapping[str, int]

    __repr__ = one_line


def _value(candidate: Any, name: str) -> Any:
    if isinstance(candidate, Mapping):
        return candidate.get(name)
    return getattr(candidate, name, None)


def _required(candidate: Any, name: str, index: int) -> Any:
    value = _value(candidate, name)
    if value is None:
        raise StudyError(f"candidate {index}: got no {name!r}, expected {', '.join(FIELDS)}; add it to the table")
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def choose(
    candidates: Iterable[Any],
    *,
    n_layers: int,
    kl_max: float = 0.1,
    induce_min: float = 0.0,
    skip_last: float = 0.2,
) -> Choice:
    """Choose r̂ among candidates by the rules of Arditi et al. 2024, appendix C.

    A candidate (a mapping, or an object with these attributes) has `position`, `layer`, `ablation_score` (mean refusal
    score on harmful prompts with it ablated), `induce_score` (mean refusal score on harmless prompts with it added) and
    `kl` (mean KL(base ‖ ablated) on harmless prompts, nats); optionally `norm`. It is rejected by the first of these rules that applies:
    zero_norm: norm 0; layer: layer ≥ int((1 − skip_last) · n_layers); induce: induce_score not
    above `induce_min`; kl: kl above `kl_max`. Of those left the lowest ablation_score is selected; the first of equals.

    Scores of None were not measured: such a candidate cannot be selected and reads "unevaluated", unless a rule that
    comes first drops it.

    Raises:
        StudyError: if a candidate has no position or layer, or a score that is not finite though its norm is not 0; or if
            a setting makes no sense.
    """
    if not math.isfinite(induce_min):
        raise StudyError(f"induce_min: got {induce_min}, expected a finite number; the published threshold is 0")

    def induces(candidate: Any) -> bool | None:
        score = _number(_value(candidate, "induce_score"))
        return None if score is None else score > induce_min

    return _choose(list(candidates), n_layers, kl_max, skip_last, induces, "published")


def choose_relaxed(candidates: Iterable[Any], *, n_layers: int, kl_max: float = 0.1, skip_last: float = 0.2) -> Choice:
    """The relaxed rule, labelled as such, for models on which the published rules leave no candidate.

    As `choose`, but the induce rule asks only that adding the candidate raises the refusal score of harmless prompts above
    the baseline's: the low end of the paired 95 % interval, `induce_rise_low`, is above 0.
    """

    def induces(candidate: Any) -> bool | None:
        low = _number(_value(candidate, "induce_rise_low"))
        return None if low is None else low > 0

    return _choose(list(candidates), n_layers, kl_max, skip_last, induces, "relaxed")


def _choose(candidates: list[Any], n_layers: int, kl_max: float, skip_last: float, induces: Any, rule: str) -> Choice:
    if n_layers < 1 or not 0 <= skip_last < 1 or math.isnan(kl_max):
        raise StudyError(
            f"choose: got n_layers={n_layers}, skip_last={skip_last}, kl_max={kl_max}; "
            "expected n_layers ≥ 1, 0 ≤ skip_last < 1 and a number of nats"
        )
    first_skipped = int((1 - skip_last) * n_layers)
    statuses: list[Status] = []
    for index, candidate in enumerate(candidates):
        layer = _required(candidate, "layer", index)
        position = _required(candidate, "position", index)
        _check_scores(candidate, f"candidate {index} (layer {layer}, position {position})")
        statuses.append(_status(candidate, layer >= first_skipped, induces, kl_max))
    kept = [i for i, status in enumerate(statuses) if status == "kept"]
    best = min(kept, key=lambda i: float(_value(candidates[i], "ablation_score")), default=None)
    return chosen(candidates, best, statuses, rule, RULES)


def chosen(
    candidates: Sequence[Any], best: int | None, statuses: Sequence[str], rule: str, parts: Sequence[str]
) -> Choice:
    """What a rule leaves: the candidate of number `best`, and the table, in which the others read `statuses`.

    `parts` are the statuses that stand for a removal by the rule, in its order.
    """
    removed = Counter(statuses)
    told = ["selected" if i == best else status for i, status in enumerate(statuses)]
    return Choice(
        candidate=None if best is None else candidates[best],
        table=tuple(_row(c, s) for c, s in zip(candidates, told, strict=True)),
        rule=rule,
        removed={name: removed[name] for name in parts},
    )


def _check_scores(candidate: Any, which: str) -> None:
    """A NaN is neither above nor below a threshold, so it would decide without a word."""
    if _number(_value(candidate, "norm")) == 0:
        return
    for name in ("norm", *FIELDS[2:], "induce_rise_low"):
        score = _number(_value(candidate, name))
        if score is not None and not math.isfinite(score):
            raise StudyError(
                f"{which}: got {name} {score}, expected a finite number; measure it again, with a wider dtype where "
                "activations overflow, or give norm 0 where both sides have the same mean"
            )


def _status(candidate: Any, too_late: bool, induces: Any, kl_max: float) -> Status:
    scores = [_number(_value(candidate, name)) for name in ("ablation_score", "induce_score", "kl")]
    norm = _number(_value(candidate, "norm"))
    if norm == 0:
        return "zero_norm"
    if too_late:
        return "layer"
    inducing = induces(candidate)
    if inducing is False:
        return "induce"
    ablation, _, kl = scores
    if kl is not None and kl > kl_max:
        return "kl"
    return "unevaluated" if None in (inducing, ablation, kl) else "kept"


def _row(candidate: Any, status: str) -> dict[str, Any]:
    if isinstance(candidate, Mapping):
        row = dict(candidate)
    else:
        names = (*FIELDS, "norm", "induce_rise_low")
        row = {name: _value(candidate, name) for name in names if _value(candidate, name) is not None}
    return {**{k: v for k, v in row.items() if v is not None}, "status": status}
