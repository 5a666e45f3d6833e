"""Verdict: Is adding as good as setting?"""

from __future__ import annotations

from collections.abc import Sequence

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import joined
from rhat.display.wording import Number, count, number, percent
from rhat.questions.induce.rows import ControlRank, LayerRow, Prediction, Rows
from rhat.questions.question import Verdict
from rhat.questions.sentences import describe

DOING = {"set_projection": "Setting", "add": "Adding", "ablate": "Ablating"}


def verdict(results: Results) -> Verdict | None:
    """Is adding as good as setting?"""
    row = results.comparison("add_average", "set_projection", "harmless")
    if row is None:
        return None
    rates = [results.find_rate(name, "harmless") for name in ("set_projection", "add_average", "add_difference")]
    shown = [f"{wording.condition(r.condition)} {percent(r.rate)}" for r in rates if r]
    sentence = describe(results, row)
    if shown:
        sentence = f"Refusals of harmless prompts: {', '.join(shown)}. {sentence}"
    reasons = []
    other = results.comparison("add_difference", "set_projection", "harmless")
    if other:
        reasons.append(describe(results, other))
    for compared in (row, other):
        if compared:
            holds = "is" if compared.noninferior else "is not shown to be"
            reasons.append(
                f"{wording.condition(compared.treatment)} {holds} non-inferior to setting at "
                f"{wording.margin_points(compared.margin)} (its 90% interval begins at "
                f"{wording.points(compared.ci90_low)})."
            )
    reasons += [_controls_reason(rank) for rank in results.part(Rows).control_ranks if rank.kind == "all"]
    if near := results.part(Rows).near_zero:
        text = f"{percent(near.prompts_share)} of {count(near.n_prompts, 'harmless prompt')}"
        if near.tokens_share is not None:
            text += f" and {percent(near.tokens_share)} of all edited tokens"
        reasons.append(f"{text} project to within {percent(near.threshold_share)} of the gap around zero.")
    if layers := results.part(Rows).layers:
        reasons.append(_layer_reason(layers, near.threshold_share if near else None))
    if prediction := results.part(Rows).prediction:
        reasons.append(_prediction_reason(prediction))
    return Verdict(row.verdict, sentence, tuple(reasons))


def _controls_reason(found: ControlRank) -> str:
    """Where r̂'s effect stands among the control directions of all kinds."""
    most = "does more than" if found.rank == 1 else "does more than most of"
    more = most if found.verdict == "better" else "is not shown to do more than"
    text = (
        f"{DOING[found.op]} r̂ {more} {count(found.n_controls, 'control direction')} at equal {found.match}: it "
        f"ranks {found.rank} of {found.n_controls + 1} (p {wording.p_value(found.p) if found.p < 0.001 else '= ' + wording.p_value(found.p)}), with {number(found.effect)} nats against "
        f"{number(found.best)} for the highest control"
    )
    if found.apart:
        text += f"; the damage of {count(found.apart, 'control')} could not be matched"
    return f"{text}."


def _prediction_reason(found: Prediction) -> str:
    """Setting's effect as adding's dose curve predicts it, against what was observed."""
    seen = wording.score(joined(found, score_mean=found.observed_score))
    text = (
        f"From adding's dose curve, read at the mean of all edited tokens, setting should score "
        f"{number(found.predicted_score)} nats; it scores {seen}, so "
        f"{_held(found.inside, found.error, found.error_ci_low, found.error_ci_high)}."
    )
    if found.predicted_score_last_token is not None:
        held = _held(
            bool(found.inside_last_token),
            found.error_last_token,
            found.error_last_token_ci_low,
            found.error_last_token_ci_high,
        )
        text += f" Read at the last prompt token alone it should score {number(found.predicted_score_last_token)} nats: {held}."
    return text


def _held(inside: bool, error: float | None, low: float | None, high: float | None) -> str:
    """What is known of a prediction's error, prompt by prompt; of older runs, where it lies."""
    if error is None or low is None or high is None:
        return f"the prediction lies {'inside' if inside else 'outside'} the interval"
    off = f"{wording.signed(error, 2)} nats {wording.interval(low, high)} per prompt"
    return f"the prediction {'cannot be told apart from what is seen' if inside else 'is off'} ({off})"


def _layer_reason(layers: Sequence[LayerRow], share: Number | None) -> str:
    """How the gap between setting and adding goes with the harmless mean, over layers."""
    apart = [row.layer for row in layers if row.verdict in ("better", "worse")]
    text = f"Setting and adding part at {len(apart)} of {count(len(layers), 'layer')}"
    if apart:
        opposed = sum(row.gap * row.harmless_mean_projection < 0 for row in layers if row.layer in apart)
        text += (
            f"; at {opposed} of them as the explanation says: setting does more where harmless prompts project below zero, "
            "less where above"
        )
    near: list[float] = []
    far: list[float] = []
    for row in layers:
        (near if row.near_zero else far).append(abs(row.gap))
    if not (near and far):
        return f"{text}."
    within = "near zero" if share is None else f"within {percent(share)} of the gap from zero"
    return (
        f"{text}. They differ by {number(sum(near) / len(near))} nats on average at the {count(len(near), 'layer')} where the "
        f"harmless mean lies {within}, by {number(sum(far) / len(far))} at the others."
    )
