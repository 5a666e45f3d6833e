"""Probes of contrast pairs: CCS and PCA, which see no labels; what labels reach on the same pairs; and CCS on noise.

CCS is held against two things. Its ceiling: a probe that is given the labels; where that is at chance, the pairs carry no linear
signal and CCS has nothing to find. Its floor: CCS on noise of the same size, whose loss shows what a loss is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rhat.directions import CCS, fit_ccs_each, reduced_width
from rhat.lab.chance import against_chance
from rhat.lab.pairs import Pairs
from rhat.lab.rows import alike_part, rate_part
from rhat.statistics.logistic import ridge_logistic

FOLDS = 4
UNSUPERVISED = ("ccs", "pca", "ccs_on_noise")
PENALTY = 1.0  # of the logistic probe, on differences of root mean square 1
Line = tuple[Tensor, float]  # weights over differences of pairs, and the threshold that they are held against
Fit = Callable[[Tensor, Tensor], Line]


def mean_line(differences: Float[Tensor, "n d"], truth: Bool[Tensor, " n"]) -> Line:
    """Difference of means of the pairs' differences; the threshold lies half-way between both means."""
    ends = differences[truth].mean(0), differences[~truth].mean(0)
    weights = ends[0] - ends[1]
    return weights, float(weights @ (ends[0] + ends[1]) / 2)


def logistic_line(differences: Float[Tensor, "n d"], truth: Bool[Tensor, " n"], penalty: float = PENALTY) -> Line:
    """Logistic regression with intercept: sum of log-losses + penalty/2 · |w|², on differences scaled to root mean square 1."""
    scale = differences.square().mean().sqrt().clamp_min(1e-12)
    weights, intercept = ridge_logistic((differences / scale).numpy(), truth.numpy(), penalty)
    return torch.from_numpy(weights) / scale, -intercept


CEILING: dict[str, Fit] = {"mean_difference": mean_line, "logistic": logistic_line}


def probe_rows(name: str, train: Pairs, test: Pairs, rhat: Tensor, seed: int) -> list[dict[str, Any]]:
    """Every probe at every layer, fitted on training pairs and tested on test pairs; `rhat` is its unit vector.

    One layer and one ceiling are `chosen`, by the accuracy in FOLDS folds of the training pairs: test pairs choose nothing.
    """
    width = reduced_width(len(train.yes))
    yes, no = ([*side.double().transpose(0, 1)] for side in (train.yes, train.no))
    noise = [_noise(*pair, seed + layer) for layer, pair in enumerate(zip(yes, no, strict=True))]
    probes = fit_ccs_each(yes, no, components=width, seed=seed)
    floors = fit_ccs_each([first for first, _ in noise], [second for _, second in noise], components=width, seed=seed)
    rows = []
    for layer, (probe, floor) in enumerate(zip(probes, floors, strict=True)):
        at = [side[:, layer].double() for side in (train.yes, train.no, test.yes, test.no)]
        for row in _at_layer(probe, floor, at, train, test, rhat, (seed, layer)):
            rows.append({"set": name, "n_pairs": len(train.yes), "layer": layer + 1, "components": width, **row})
    best = max((row for row in rows if "cross_validated" in row), key=lambda row: row["cross_validated"])
    told = {*UNSUPERVISED, best["method"]}
    return [row | {"chosen": row["layer"] == best["layer"] and row["method"] in told} for row in rows]


def _at_layer(
    probe: CCS, floor: CCS, at: Sequence[Tensor], train: Pairs, test: Pairs, rhat: Tensor, seeds: tuple[int, int]
) -> list[dict[str, Any]]:
    """Rows of one layer; `at` holds Yes and No of training and of test pairs."""
    yes, no, test_yes, test_no = at
    means = yes.mean(0), no.mean(0)
    differences, tested = (yes - means[0]) - (no - means[1]), (test_yes - means[0]) - (test_no - means[1])
    signed = probe.signed(yes, no, train.truth)
    rows = [
        {"method": "ccs", "loss": signed.loss, "consistency": signed.consistency(test_yes, test_no)}
        | _tested(signed.predict(test_yes, test_no), test)
        | _cosine(signed.direction.double(), rhat)
    ]
    axis = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    right = ((differences @ axis > 0) == train.truth).double().mean()
    axis = axis if float(right) >= 0.5 else -axis
    rows.append({"method": "pca"} | _tested(tested @ axis > 0, test) | _cosine(axis, rhat))
    for method, fit in CEILING.items():
        weights, threshold = fit(differences, train.truth)
        rows.append(
            {"method": method, "cross_validated": cross_validated(fit, yes - no, train.truth, train.groups)}
            | _tested(tested @ weights > threshold, test)
            | _cosine(weights, rhat)
        )
    known = _noise(yes, no, seeds[0] + seeds[1])
    fresh = _noise(yes, no, seeds[0] + seeds[1] + 1000, rows=len(test_yes))
    guess = floor.signed(*known, train.truth).predict(*fresh)
    rows.append({"method": "ccs_on_noise", "loss": floor.loss} | _tested(guess, test))
    return rows


def cross_validated(fit: Fit, differences: Tensor, truth: Tensor, groups: Sequence[str]) -> float:
    """Accuracy on folds that the fit did not see; a group lies in one fold."""
    names = list(dict.fromkeys(groups))
    fold = torch.tensor([names.index(group) % FOLDS for group in groups])
    right = torch.zeros(len(truth), dtype=torch.bool)
    for k in range(FOLDS):
        out = fold == k
        if not bool(out.any()) or len(set(truth[~out].tolist())) < 2:
            continue
        mean = differences[~out].mean(0)
        weights, threshold = fit(differences[~out] - mean, truth[~out])
        right[out] = ((differences[out] - mean) @ weights > threshold) == truth[out]
    return float(right.double().mean())


def _noise(yes: Tensor, no: Tensor, seed: int, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """Pairs of normal noise with the covariance of the centred pairs, both sides jointly: all that CCS sees but their shape."""
    draw = torch.randn((rows or len(yes), len(yes)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    draw = draw / len(yes) ** 0.5
    return draw @ (yes - yes.mean(0)), draw @ (no - no.mean(0))


def _tested(guess: Tensor, test: Pairs) -> dict[str, Any]:
    """How many test pairs are told right; those of one topic, or of one fact, are a cluster."""
    right = (guess == test.truth).numpy()
    found = rate_part(right, test.groups) | alike_part(right, test.groups)
    return {"accuracy": found.pop("rate"), **found, "verdict": against_chance(found["ci_low"], found["ci_high"])}


def _cosine(vector: Tensor, rhat: Tensor) -> dict[str, float]:
    length = float(vector.norm())
    return {"cosine_to_rhat": float(vector @ rhat.double()) / length} if length > 0 else {}
