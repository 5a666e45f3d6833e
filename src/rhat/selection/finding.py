"""Finding r̂: from a contrast set to the chosen direction, on training and validation prompts only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import Moments, capture
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.generation import generate_tokens
from rhat.interventions import Intervention
from rhat.model.chat import ChatModel
from rhat.model.forward import Plan, keep_base, last_logits
from rhat.prompts import ContrastSet, Label, Prompt, Split
from rhat.scoring import (
    RefusalToken,
    find_refusal_tokens,
    is_refusal,
    kl_divergence,
    last_token_scores,
    refusal_score,
)
from rhat.scoring.phrases import JUDGED_TOKENS
from rhat.selection.choice import Choice, choose, choose_relaxed
from rhat.sites import Site
from rhat.statistics import mean_interval

log = logging.getLogger(__name__)

Outcome = Literal["found", "found_relaxed", "no_candidate", "no_refusal"]
Progress = Callable[[str, int, int], None]  # stage, done, total
SIDES: tuple[Label, Label] = ("harmful", "harmless")


def _silent(_stage: str, _done: int, _total: int) -> None:
    pass


@dataclass(frozen=True)
class FindSettings:
    """How r̂ is found.

    validation        prompts of each label that score candidates
    token_prompts     training prompts of each label from which refusal tokens are found
    min_kept          least prompts of each label and split that the behaviour filter must leave (train, validation)
    all_kl            measure KL for every candidate, not only until the choice is known
    """

    train: int | None = None
    validation: int | None = None
    token_prompts: int = 48
    min_kept: tuple[int, int] = (16, 6)
    kl_max: float = 0.1
    induce_min: float = 0.0
    skip_last: float = 0.2
    all_kl: bool = False


@dataclass(frozen=True, eq=False)
class Means:
    """Mean resid_pre of each side at every layer and template position, float64 [layer, position, d_model].

    positions runs −k … −1; halves holds the difference of means of two halves of the training prompts.
    """

    positions: tuple[int, ...]
    harmful: Float[Tensor, "layer position d_model"]
    harmless: Float[Tensor, "layer position d_model"]
    halves: tuple[Float[Tensor, "layer position d_model"], Float[Tensor, "layer position d_model"]]

    @property
    def difference(self) -> Float[Tensor, "layer position d_model"]:
        """The candidates: harmful minus harmless, not normalised."""
        return self.harmful - self.harmless


@dataclass(frozen=True, eq=False)
class Finding:
    """What `find` found: the direction (None when there is none), and everything that led to it."""

    outcome: Outcome
    sentence: str
    direction: Direction | None
    candidates: tuple[dict[str, Any], ...]
    refusal_tokens: tuple[RefusalToken, ...]
    prompts: dict[str, dict[str, dict[str, int]]]  # split → label → {given, kept}
    means: Means | None = None
    rule: str = "published"
    removed: Mapping[str, int] = field(default_factory=dict)
    split_half_cosine: float | None = None
    baseline_induce: float | None = None
    timings: tuple[tuple[str, float], ...] = ()
    kept: dict[str, dict[str, tuple[Prompt, ...]]] = field(default_factory=dict)  # split → label → prompts

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the refusal tokens."""
        return tuple(token.id for token in self.refusal_tokens)


class _Clock:
    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages.append((stage, round(now - self.last, 3)))
        self.last = now


def survey(
    model: ChatModel,
    prompts: ContrastSet,
    settings: FindSettings | None = None,
    *,
    progress: Progress = _silent,
) -> Finding:
    """What is needed before choosing: refusal tokens, the prompts on which the model behaves as labelled, their means.

    The outcome is "no_refusal" where there is too little of it, else "no_candidate": none has been scored yet.

    Raises:
        StudyError: if the contrast set has no prompts in a split that is needed.
    """
    settings = settings or FindSettings()
    clock = _Clock()
    limits: tuple[tuple[Split, int | None], ...] = (("train", settings.train), ("validation", settings.validation))
    given: dict[str, dict[str, tuple[Prompt, ...]]]
    given = {split: {label: prompts.select(label, split, limit) for label in SIDES} for split, limit in limits}
    for split, sides in given.items():
        for label, some in sides.items():
            if not some:
                raise StudyError(
                    f"{prompts.name}: got no {label} {split} prompts; give at least 8 prompts of each label"
                )
    tokens, said = _refusal_tokens(model, given["train"], settings.token_prompts, progress)
    clock.lap("refusal tokens")
    counts = _counts(given, {})
    if not tokens or said["harmful"] < 2:
        sentence = (
            f"{model.name} hardly refuses: {said['harmful']} of {said['n_harmful']} harmful training prompts were refused, so "
            "there is no refusal to study"
        )
        return Finding("no_refusal", sentence, None, (), tokens, counts, timings=tuple(clock.stages))
    ids = [token.id for token in tokens]
    moments, kept = _moments(model, given, ids, progress)
    clock.lap("activations")
    counts = _counts(given, kept)
    short = [
        f"{split} {label}: {len(kept[split][label])} kept of {len(given[split][label])}"
        for split, least in zip(("train", "validation"), settings.min_kept, strict=True)
        for label in ("harmful", "harmless")
        if len(kept[split][label]) < min(least, len(given[split][label]))
    ]
    if short:
        sentence = (
            f"{model.name} does not behave as labelled on enough prompts ({'; '.join(short)}; at least "
            f"{settings.min_kept[0]} in train and {settings.min_kept[1]} in validation are needed), so r̂ would mean little"
        )
        return Finding("no_refusal", sentence, None, (), tokens, counts, timings=tuple(clock.stages), kept=kept)
    return Finding(
        "no_candidate",
        "no candidate has been scored",
        None,
        (),
        tokens,
        counts,
        moments,
        timings=tuple(clock.stages),
        kept=kept,
    )


def find(
    model: ChatModel,
    prompts: ContrastSet,
    settings: FindSettings | None = None,
    *,
    progress: Progress = _silent,
) -> Finding:
    """Find the refusal direction of a chat model by difference of means and the published selection.

    Training prompts give the candidates (every layer and template position), validation prompts the choice; only prompts
    on which the model behaves as labelled are used (harmful: refusal score above 0; harmless: below). Test prompts are not
    touched. Arditi et al. 2024, sections 2.3 to 2.5 and appendix C.

    Raises:
        StudyError: if the contrast set has no prompts in a split that is needed.
    """
    settings = settings or FindSettings()
    surveyed = survey(model, prompts, settings, progress=progress)
    if surveyed.means is None:
        return surveyed
    means, clock = surveyed.means, _Clock()
    choice, baseline = _select(model, means, surveyed.kept["validation"], surveyed.token_ids, settings, progress, clock)
    outcome, sentence = _outcome(model, choice)
    finding = replace(
        surveyed,
        outcome=outcome,
        sentence=sentence,
        candidates=choice.table,
        rule=choice.rule,
        removed=choice.removed,
        baseline_induce=baseline,
        timings=(*surveyed.timings, *clock.stages),
    )
    if choice.candidate is None:
        return finding
    layer, position = choice.candidate["layer"], choice.candidate["position"]
    direction = direction_at(model, means, layer, position, prompts.fingerprint)
    return replace(finding, direction=direction, split_half_cosine=split_half(means, layer, position))


def direction_at(model: ChatModel, means: Means, layer: int, position: int, fingerprint: str = "") -> Direction:
    """The difference-of-means direction of one layer and position, with both sides' mean projections.

    Raises:
        StudyError: if the two means are the same there (layer 0 sees only the template).
    """
    from importlib.metadata import version

    at = means.positions.index(position)
    raw = means.difference[layer, at]
    norm = float(raw.norm())
    if norm == 0:
        raise StudyError(f"layer {layer}, position {position}: both sides have the same mean there; take a later layer")
    unit = raw / norm
    return Direction(
        unit=unit.float().cpu(),
        site=Site("resid_pre", layer),
        position=position,
        norm=norm,
        mean_harmful=float(means.harmful[layer, at] @ unit),
        mean_harmless=float(means.harmless[layer, at] @ unit),
        method="mean_difference",
        model=model.describe(),
        prompts=fingerprint,
        extra={"versions": {name: version(name) for name in ("torch", "transformers")}},
    )


def split_half(means: Means, layer: int, position: int) -> float:
    """Cosine of the two directions found on halves of the training prompts."""
    at = means.positions.index(position)
    a, b = (half[layer, at] for half in means.halves)
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _refusal_tokens(
    model: ChatModel, train: Mapping[str, Sequence[Prompt]], limit: int, progress: Progress
) -> tuple[tuple[RefusalToken, ...], dict[str, int]]:
    said = {}
    for index, label in enumerate(("harmful", "harmless")):
        some = [p.text for p in train[label][:limit]]

        def tell(done: int, total: int, before: int = index) -> None:
            progress("refusal tokens", done + before * total, 2 * total)

        said[label] = generate_tokens(
            model, model.tokenize(some), max_new_tokens=JUDGED_TOKENS, until=is_refusal, progress=tell
        )
    tokens = find_refusal_tokens(said["harmful"], said["harmless"], model.tokenizer.decode)
    return tokens, {"harmful": sum(is_refusal(c.text) for c in said["harmful"]), "n_harmful": len(said["harmful"])}


def _counts(given: Any, kept: Any) -> dict[str, dict[str, dict[str, int]]]:
    return {
        split: {
            label: {"given": len(some)} | ({"kept": len(kept[split][label])} if kept else {})
            for label, some in sides.items()
        }
        for split, sides in given.items()
    }


def _moments(
    model: ChatModel, given: Mapping[str, Mapping[str, Sequence[Prompt]]], ids: Sequence[int], progress: Progress
) -> tuple[Means, dict[str, dict[str, tuple[Prompt, ...]]]]:
    """One pass over training and validation prompts: scores for the filter, and means of those that pass it."""
    positions = tuple(range(-model.template_length, 0))
    sites = [Site("resid_pre", layer) for layer in range(model.n_layers)]
    kept: dict[str, dict[str, tuple[Prompt, ...]]] = {"train": {}, "validation": {}}
    halves: dict[str, list[Moments]] = {}
    total = sum(len(some) for sides in given.values() for some in sides.values())
    done = 0
    for split, sides in given.items():
        for label, some in sides.items():
            scores = torch.empty(len(some), dtype=torch.float64)
            sums: list[list[Moments]] = [[], []]

            def visit(rows, logits, activations, *, label=label, scores=scores, sums=sums):
                nonlocal done
                score = refusal_score(logits, ids)
                scores[rows.cpu()] = score.cpu()
                if activations:
                    right = (score > 0) if label == "harmful" else (score < 0)
                    stacked = torch.stack([activations[site].double() for site in sites], 1)  # [rows, layer, k, d]
                    for half in (0, 1):
                        inside = right & (rows % 2 == half)
                        if bool(inside.any()):
                            sums[half].append(Moments.of(stacked[inside]))
                done += len(rows)
                progress("activations", done, total)

            the_plan = model.plan([p.text for p in some])
            if split == "train":
                capture(model, the_plan, sites, positions, visit)
                halves[label] = [_total(part, model, len(positions)) for part in sums]
            else:
                for rows, logits in last_logits(model, the_plan):
                    visit(rows, logits, {})
            right = scores > 0 if label == "harmful" else scores < 0
            kept[split][label] = tuple(p for p, keep in zip(some, right.tolist(), strict=True) if keep)
    return _means(positions, halves), kept


def _total(parts: Sequence[Moments], model: ChatModel, k: int) -> Moments:
    zero = torch.zeros(
        model.n_layers, k, model.d_model, dtype=torch.float64, device=parts[0].total.device if parts else None
    )
    total = Moments(0, zero, zero)
    for part in parts:
        total = total + part
    return total


def _means(positions: tuple[int, ...], halves: Mapping[str, Sequence[Moments]]) -> Means:
    both = {label: parts[0] + parts[1] for label, parts in halves.items()}

    def mean(moments: Moments) -> Tensor:
        return moments.total / max(moments.count, 1)

    return Means(
        positions,
        mean(both["harmful"]),
        mean(both["harmless"]),
        tuple(mean(halves["harmful"][h]) - mean(halves["harmless"][h]) for h in (0, 1)),  # type: ignore[arg-type]
    )


def _plan(model: ChatModel, prompts: Sequence[Prompt]) -> Plan:
    return model.plan([p.text for p in prompts])


def _select(
    model: ChatModel,
    means: Means,
    validation: Mapping[str, Sequence[Prompt]],
    ids: Sequence[int],
    settings: FindSettings,
    progress: Progress,
    clock: _Clock,
) -> tuple[Choice, float]:
    """Score candidates and choose. Induce first, then ablation for those that pass, then KL in order of ablation score
    until one passes: the choice is the same as with every score known, because the rules are a conjunction."""
    n_layers = model.n_layers
    table = [
        {"position": p, "layer": layer, "norm": float(means.difference[layer, i].norm())}
        for layer in range(n_layers)
        for i, p in enumerate(means.positions)
    ]
    first_skipped = int((1 - settings.skip_last) * n_layers)
    open_ = [c for c in table if c["norm"] > 0 and c["layer"] < first_skipped]
    harmless, harmful = _plan(model, validation["harmless"]), _plan(model, validation["harmful"])
    rule, survivors, baseline = _score_induce(model, means, open_, harmless, ids, settings, progress)
    clock.lap("induce scores")
    for done, candidate in enumerate(survivors):
        edits = _ablation(model, means, candidate).edits(model)
        candidate["ablation_score"] = float(last_token_scores(model, harmful, ids, edits).mean())
        progress("ablation scores", done + 1, len(survivors))
    clock.lap("ablation scores")
    _score_kl(model, means, survivors, harmless, settings, progress)
    clock.lap("KL")
    if rule == "published":
        choice = choose(
            table,
            n_layers=n_layers,
            kl_max=settings.kl_max,
            induce_min=settings.induce_min,
            skip_last=settings.skip_last,
        )
        if choice.candidate is None:  # KL removed all that the published induce rule kept
            rule = "relaxed"
            survivors = [c for c in open_ if c["induce_rise_low"] > 0 and "ablation_score" not in c]
            for candidate in survivors:
                edits = _ablation(model, means, candidate).edits(model)
                candidate["ablation_score"] = float(last_token_scores(model, harmful, ids, edits).mean())
            _score_kl(model, means, survivors, harmless, settings, progress)
    if rule == "relaxed":
        choice = choose_relaxed(table, n_layers=n_layers, kl_max=settings.kl_max, skip_last=settings.skip_last)
    return choice, baseline


def _score_induce(
    model: ChatModel,
    means: Means,
    candidates: list[dict[str, Any]],
    harmless: Plan,
    ids: Sequence[int],
    settings: FindSettings,
    progress: Progress,
) -> tuple[str, list[dict[str, Any]], float]:
    base = keep_base(model, harmless, sorted({c["layer"] for c in candidates}))
    before = last_token_scores(model, harmless, ids)
    for done, candidate in enumerate(candidates):
        raw = means.difference[candidate["layer"], means.positions.index(candidate["position"])]
        edit = Intervention("add", (raw / raw.norm()).float(), candidate["layer"], float(raw.norm()))
        after = last_token_scores(model, harmless, ids, edit.edits(model), base)
        rise = mean_interval((after - before).numpy())
        candidate["induce_score"] = float(after.mean())
        candidate["induce_rise"], candidate["induce_rise_low"] = rise.estimate, rise.low
        progress("induce scores", done + 1, len(candidates))
    passing = [c for c in candidates if c["induce_score"] > settings.induce_min]
    if passing:
        return "published", passing, float(before.mean())
    return "relaxed", [c for c in candidates if c["induce_rise_low"] > 0], float(before.mean())


def _ablation(model: ChatModel, means: Means, candidate: Mapping[str, Any]) -> Intervention:
    raw = means.difference[candidate["layer"], means.positions.index(candidate["position"])]
    return Intervention("ablate", (raw / raw.norm()).float(), candidate["layer"], where="all layers")


def _score_kl(
    model: ChatModel,
    means: Means,
    candidates: list[dict[str, Any]],
    harmless: Plan,
    settings: FindSettings,
    progress: Progress,
) -> None:
    if not candidates:
        return
    before = {int(rows[0]): logits for rows, logits in last_logits(model, harmless)}
    order = sorted(candidates, key=lambda c: c["ablation_score"])
    for done, candidate in enumerate(order):
        edits = _ablation(model, means, candidate).edits(model)
        values = [kl_divergence(before[int(rows[0])], logits) for rows, logits in last_logits(model, harmless, edits)]
        candidate["kl"] = float(torch.cat(values).mean())
        progress("KL", done + 1, len(order) if settings.all_kl else done + 1)
        if candidate["kl"] <= settings.kl_max and not settings.all_kl:
            return


def _outcome(model: ChatModel, choice: Choice) -> tuple[Outcome, str]:
    removed = ", ".join(f"{name} {count}" for name, count in choice.removed.items() if count)
    if choice.candidate is None:
        return "no_candidate", (
            f"no candidate direction of {model.name} passes the rules, published or relaxed (removed by: {removed})"
        )
    where = f"layer {choice.candidate['layer']}, position {choice.candidate['position']}"
    if choice.rule == "published":
        return "found", f"r̂ of {model.name} is at {where}, by the published rules (removed by: {removed})"
    return "found_relaxed", (
        f"r̂ of {model.name} is at {where}, by the relaxed rule: no candidate meets the published induce threshold, so adding "
        f"it need only raise the refusal score of harmless prompts significantly (removed by: {removed})"
    )
