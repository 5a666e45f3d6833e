"""Calibration: the threshold on a prompt's projection for a stated false-positive rate, from labelled prompts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rhat.artifacts.files import finite_number, no_constant, replace_text
from rhat.directions import Direction
from rhat.errors import ArtifactError, StatisticsError
from rhat.guard.certificate import Certificate
from rhat.guard.reading import fingerprint, prompt_projections
from rhat.model.chat import ChatModel
from rhat.model.template import ChatPrompt
from rhat.prompts import ContrastSet
from rhat.reprs import one_line
from rhat.statistics import CalibratedThreshold, Interval, auroc, design_effect, roc_curve, threshold_at_fpr, wilson
from rhat.statistics.dependence import Groups
from rhat.statistics.samples import number_sample

log = logging.getLogger(__name__)

FORMAT = "rhat-guard-1"


@dataclass(frozen=True)
class Calibration:
    """A guard's threshold, how it was set, and how well the projection tells the labels apart.

    threshold            a prompt is flagged where its projection > threshold, in residual-stream units
    target_fpr           share of new harmless prompts that it was set to flag on average, at most (split conformal)
    false_positive_rate  what to expect on new harmless prompts like these, with its 95 % interval
    true_positive_rate   share of the harmful calibration prompts above it, with its Wilson interval
    auroc                area under the ROC curve of the calibration prompts
    roc                  the curve: {"threshold", "false_positive_rate", "true_positive_rate"}, thresholds falling
    direction            fingerprint of the direction that it belongs to
    model                name and identity of the model
    prompts              fingerprint of the prompts
    certificate          of a conditional intervention, or that there is none, if one was asked for (`certify`)
    """

    threshold: float
    target_fpr: float
    false_positive_rate: Interval
    true_positive_rate: Interval
    auroc: Interval
    roc: tuple[Mapping[str, float], ...]
    direction: str
    model: Mapping[str, Any]
    prompts: str
    certificate: Certificate | None = None

    __repr__ = one_line

    def __post_init__(self) -> None:
        check_threshold(self.threshold)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all.

        Raises:
            ArtifactError: if the file cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be written ({error.strerror or error})") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            ArtifactError: if the file is missing or is not a calibration.
        """
        path = Path(path)
        again = "make it again with `rhat calibrate`"
        try:
            found = json.loads(path.read_text("utf-8"), parse_constant=no_constant, parse_float=finite_number)
            if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
                raise ArtifactError(f"{path}: not a calibration written by rhat; {again}")
            for name in ("false_positive_rate", "true_positive_rate", "auroc"):
                found[name] = Interval(**found[name])
            if (certificate := found.pop("certificate", None)) is not None:
                found["certificate"] = Certificate.of(certificate)
            return cls(**{**found, "roc": tuple(found["roc"])})
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read ({error.strerror or error}); {again}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{path}: cannot be read as a calibration ({error}); {again}") from error

    def check_belongs(self, direction: Direction) -> Calibration:
        """This calibration, if it was made with `direction`.

        Raises:
            ArtifactError: if it was made with another one.
        """
        if self.direction != fingerprint(direction):
            raise ArtifactError(
                f"calibration of another direction: got {self.direction}, expected {fingerprint(direction)}; "
                "calibrate this direction with `rhat calibrate`"
            )
        return self


def calibrate(
    model: ChatModel, direction: Direction, prompts: ContrastSet, fpr: float = 0.05, *, strict: bool = False
) -> Calibration:
    """Set the threshold on the calibration split of `prompts`, which takes no part in finding or choosing r̂.

    Too few harmless prompts to promise `fpr` are logged; with `strict`, an error.

    Raises:
        StatisticsError: if there are no calibration prompts of a label, or fpr is not in [0, 1), or see `strict`.
        DirectionError: if the direction does not fit the model.
    """
    if direction.prompts and direction.prompts != prompts.fingerprint:
        log.warning(
            "the direction was found with other prompts or another split seed (%s, these are %s): "
            "prompts that it was found with may be among those that calibrate it",
            direction.prompts,
            prompts.fingerprint,
        )
    texts = {
        label: [prompt.text for prompt in prompts.select(label, "calibration")] for label in ("harmful", "harmless")
    }
    for label, found in texts.items():
        if not found:
            raise StatisticsError(
                f"{prompts.name}: got no {label} prompts in the calibration split, expected some; "
                "give at least 20 prompts of each label, or a `split` column that names calibration"
            )
    harmful, harmless = (
        prompt_projections(model, direction, model.tokenize(texts[label])) for label in ("harmful", "harmless")
    )
    return from_projections(harmful, harmless, fpr, direction, model.describe(), prompts.fingerprint, strict=strict)


def from_projections(
    harmful: ArrayLike,
    harmless: ArrayLike,
    fpr: float,
    direction: Direction,
    model: Mapping[str, Any],
    prompts: str,
    *,
    strict: bool = False,
) -> Calibration:
    """The calibration that these projections of harmful and harmless prompts give.

    Raises:
        StatisticsError: as `calibrate`.
    """
    found: CalibratedThreshold = threshold_at_fpr(harmless, fpr)
    if not found.enough:
        said = _too_few(found.n, fpr, found.false_positive_rate)
        if strict:
            raise StatisticsError(f"{said}, a higher --fpr, or --force to save it all the same")
        log.warning("%s", said)
    positive = np.asarray(harmful, dtype=float)
    area, curve = auroc(harmful, harmless), roc_curve(harmful, harmless)
    points = zip(
        curve.thresholds.tolist(), curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist(), strict=True
    )
    return Calibration(
        threshold=found.value,
        target_fpr=found.target_fpr,
        false_positive_rate=found.false_positive_rate,
        true_positive_rate=wilson(int((positive > found.value).sum()), len(positive)),
        auroc=Interval(area.estimate, area.low, area.high, area.n),
        roc=tuple(
            {"threshold": t, "false_positive_rate": f, "true_positive_rate": p}
            for t, f, p in points
            if math.isfinite(t)
        ),
        direction=fingerprint(direction),
        model={name: model[name] for name in ("name", "revision_or_sha256") if name in model},
        prompts=prompts,
    )


def _too_few(n: int, fpr: float, expected: Interval) -> str:
    """What is wrong with n calibration prompts that cannot promise a rate, and what to do."""
    percent = f"{100 * expected.estimate:.3g} % [{100 * expected.low:.2g}, {100 * expected.high:.2g}]"
    needed = f"at least {math.ceil(1 / fpr - 1e-9) - 1} harmless calibration prompts" if fpr > 0 else "a rate above 0"
    return f"{n} harmless calibration prompts cannot promise {100 * fpr:.3g} %: expect {percent}; give {needed}"


def check_threshold(threshold: float) -> None:
    """Raise StatisticsError unless it is a finite number: nothing is above NaN."""
    if not math.isfinite(threshold):
        raise StatisticsError(f"threshold: got {threshold}, expected a finite number; calibrate again")


def beside(direction: str | Path) -> Path:
    """Path of a direction file's calibration: r.safetensors → r.guard.json in the same folder."""
    return Path(direction).with_suffix(".guard.json")


def evaluate(
    model: ChatModel,
    direction: Direction,
    threshold: float,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    borderline: Sequence[ChatPrompt] = (),
) -> dict[str, Any]:
    """How a calibrated guard does on prompts that neither found r̂ nor set the threshold: plain values for results.json.

    `auroc` of harmful against harmless; `false_positive_rate`, `true_positive_rate` and (where there are such prompts)
    `borderline_flagged` at the threshold, each {"estimate", "ci_low", "ci_high", "n"}.
    """
    groups = {"harmful": harmful, "harmless": harmless, "borderline": borderline}
    read = {
        label: prompt_projections(model, direction, model.tokenize(list(texts)))
        for label, texts in groups.items()
        if len(texts)
    }
    return evaluate_projections(threshold, read["harmful"], read["harmless"], read.get("borderline"))


def evaluate_projections(
    threshold: float,
    harmful: ArrayLike,
    harmless: ArrayLike,
    borderline: ArrayLike | None = None,
    twins: ArrayLike | None = None,
    *,
    topics: Mapping[str, Groups] | None = None,
) -> dict[str, Any]:
    """The same from projections that are known already, `twin_flagged` too; `topics` by label: prompts of one topic are not independent.

    Raises:
        StatisticsError: if a projection or the threshold is not finite, or there are none of a label.
    """
    check_threshold(threshold)

    def flagged(projections: ArrayLike, label: str) -> dict[str, Any]:
        values = number_sample(projections, "projections")
        above = values > threshold
        effect = design_effect(above, topics[label]) if topics else 1.0
        return _plain(wilson(int(above.sum()), len(values), design_effect=effect))

    said: dict[str, Any] = {
        "threshold": float(threshold),
        "auroc": _plain(auroc(harmful, harmless, groups=(topics["harmful"], topics["harmless"]) if topics else None)),
        "false_positive_rate": flagged(harmless, "harmless"),
        "true_positive_rate": flagged(harmful, "harmful"),
    }
    if borderline is not None:
        said["borderline_flagged"] = flagged(borderline, "borderline")
    if twins is not None:
        said["twin_flagged"] = flagged(twins, "twin")
    return said


def _plain(interval: Interval) -> dict[str, Any]:
    return {"estimate": interval.estimate, "ci_low": interval.low, "ci_high": interval.high, "n": interval.n}
