"""What r̂ reads: refused against complied inside harmful prompts, beside the words alone; and r̂ found without a category, tested on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhat.lab import Lab
from rhat.lab.chance import against_chance
from rhat.lab.measurement import topics_of
from rhat.prompts import Prompt
from rhat.statistics import auroc, judge
from rhat.statistics.logistic import ridge_logistic
from rhat.statistics.paired_ranking import auroc_difference

Row = dict[str, Any]
WORD = re.compile(r"\w+(?:['’]\w+)?")


class Words:
    """A logistic regression on which words a prompt holds, fitted on training prompts: what the text alone gives away."""

    def __init__(self, positive: Sequence[str], negative: Sequence[str], penalty: float = 1.0) -> None:
        """Fit it: harmful prompts against harmless ones, the labels that r̂ was found with."""
        texts = [*positive, *negative]
        self.vocabulary = {word: i for i, word in enumerate(sorted({w for text in texts for w in words(text)}))}
        truth = np.arange(len(texts)) < len(positive)
        self.weights, self.intercept = ridge_logistic(self.features(texts), truth, penalty)

    def features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """1 where a text holds a word of the training prompts, [n, words]."""
        found = np.zeros((len(texts), len(self.vocabulary)))
        for row, text in zip(found, texts, strict=True):
            row[[self.vocabulary[word] for word in words(text) if word in self.vocabulary]] = 1
        return found

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log-odds of harmful by the words of each text."""
        return np.asarray(self.features(texts) @ self.weights + self.intercept, dtype=np.float64)


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(WORD.findall(text.lower()))


def beside_words(
    lab: Lab, projected: NDArray[np.float64], some: Sequence[Prompt], refused: NDArray[np.bool_]
) -> list[Row]:
    """The same separation of refused from complied prompts by the words alone, and how much better the projection does."""
    kept = lab.finding.kept["train"]
    harmful, harmless = [p.text for p in kept["harmful"]], [p.text for p in kept["harmless"]]
    by_words = Words(harmful, harmless)([p.text for p in some])
    topics = np.array(topics_of(some))
    groups = topics[refused], topics[~refused]
    area = auroc(by_words[refused], by_words[~refused], groups=groups)
    apart = auroc_difference(
        (projected[refused], by_words[refused]), (projected[~refused], by_words[~refused]), groups=groups
    )
    return [
        {
            "comparison": f"refused vs complied, {some[0].label}",
            "auroc": area.estimate,
            "ci_low": area.low,
            "ci_high": area.high,
            "difference": apart.estimate,
            "difference_ci_low": apart.low,
            "difference_ci_high": apart.high,
            "n_positive": int(refused.sum()),
            "n_negative": int((~refused).sum()),
            "verdict": judge((apart.low, apart.high)),
        }
    ]


def transfer(lab: Lab) -> list[Row]:
    """r̂ found without each category of harmful prompts, tested on each: harmful test prompts of a category against all harmless ones.

    The direction is the difference of means of the training activations at r̂'s layer and position; on the diagonal stands what was never seen,
    beside a classifier by words that has not seen it either. Topics are clusters.
    """
    kept = {label: lab.finding.kept["train"][label][:256] for label in ("harmful", "harmless")}
    tests = {label: lab.test(label, len(lab.testing[label])) for label in ("harmful", "harmless")}
    layer = lab.direction.layer
    trained = {label: lab.training[label][:, layer].double().numpy() for label in kept}
    tested = {label: lab.testing[label][:, layer].double().numpy() for label in tests}
    names = sorted(
        {p.category for p in kept["harmful"] if p.category} & {p.category for p in tests["harmful"] if p.category}
    )
    if len(names) < 2:
        return []
    topics = {label: np.array(topics_of(some)) for label, some in tests.items()}
    columns = {name: np.array([p.category == name for p in tests["harmful"]]) for name in names}
    rows = []
    for name in names:
        others = np.array([p.category != name for p in kept["harmful"]])
        gap = trained["harmful"][others].mean(0) - trained["harmless"].mean(0)
        on = {label: tested[label] @ gap for label in tested}
        for column, mine in columns.items():
            groups = topics["harmful"][mine], topics["harmless"]
            area = auroc(on["harmful"][mine], on["harmless"], groups=groups)
            row = {"left_out": name, "tested": column, "auroc": area.estimate, "ci_low": area.low, "ci_high": area.high}
            row |= {"n_positive": int(mine.sum()), "n_negative": len(on["harmless"])}
            row["verdict"] = against_chance(area.low, area.high)
            if column == name:
                seen = [p.text for p, other in zip(kept["harmful"], others, strict=True) if other]
                by_words = Words(seen, [p.text for p in kept["harmless"]])
                told = {label: by_words([p.text for p in some]) for label, some in tests.items()}
                known = auroc(told["harmful"][mine], told["harmless"], groups=groups)
                row |= {"words_auroc": known.estimate, "words_ci_low": known.low, "words_ci_high": known.high}
            rows.append(row)
    return rows
