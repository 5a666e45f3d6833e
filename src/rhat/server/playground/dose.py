"""The held-out refusal curve below the slider: what a study measured at each α, with its interval as a band."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rhat import results
from rhat.directions import Direction
from rhat.errors import RhatError
from rhat.questions.dose_response.rows import Rows
from rhat.server.playground.dial import SPAN
from rhat.vocabulary import OPERATORS

MEASURED = "set_projection"  # the operator whose answers a study judges at each dose
MATCH = 1e-3  # how far the means of one direction may lie apart, as a share of the gap: precisions differ
WIDTH, HEIGHT = 300, 60  # of the drawing's own coordinates; the page stretches it to the slider


@dataclass(frozen=True)
class Dose:
    """The share of held-out harmless prompts that were refused at one α, its 95 % interval, and how many prompts."""

    alpha: float
    rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Study:
    """What the playground knows of a study's doses: which direction they are of, and the doses; or why there are none."""

    reason: str = ""
    where: tuple[str, int, float, float] | None = None  # site, position, harmless and harmful mean
    doses: tuple[Dose, ...] = ()

    @classmethod
    def read(cls, folder: Path | None) -> Study:
        """The doses of the study in a folder; a reason in one line where it has none."""
        if folder is None:
            return cls("Start the server with --study FOLDER to see here what a study measured at each α.")
        if not (folder / results.FILE_NAME).is_file():
            return cls(f"{folder} holds no {results.FILE_NAME}: there is no refusal curve to show.")
        try:
            run = results.load(folder)
        except RhatError as error:
            return cls(str(error))
        d = run.direction
        rows = [
            row
            for row in run.part(Rows).dose
            if (row.op or MEASURED) == MEASURED and None not in (row.rate, row.ci_low, row.ci_high)
        ]
        if d is None or d.harmless_mean is None or d.harmful_mean is None or not rows:
            return cls(
                f"The study in {folder} has no dose-response rates; measure them: rhat study --only dose_response"
            )
        gap = (d.harmful_mean - d.harmless_mean) or 1.0
        doses = [
            Dose(
                round((row.target - d.harmless_mean) / gap, 4),
                row.rate or 0.0,
                row.ci_low or 0.0,
                row.ci_high or 0.0,
                row.n,
            )
            for row in rows
        ]
        where = (d.site, d.position, d.harmless_mean, d.harmful_mean)
        return cls("", where, tuple(sorted(doses, key=lambda dose: dose.alpha)))

    def reason_against(self, direction: Direction, operator: str) -> str:
        """Why its curve does not describe this direction under this operator; "" where it does."""
        if self.where is None:
            return self.reason
        site, position, *means = self.where
        mine = direction.mean_harmless, direction.mean_harmful
        near = MATCH * abs(means[1] - means[0])
        alike = all(math.isclose(one, other, abs_tol=near) for one, other in zip(mine, means, strict=True))
        if (site, position) != (str(direction.site), direction.position) or not alike:
            return (
                f"The study measured another direction ({site}, position {position}): its refusal curve is not shown."
            )
        if operator != MEASURED:
            return f"The study judged answers under “{OPERATORS[MEASURED].label}” only: no refusal curve for this operator."
        return ""


def curve(study: Study, direction: Direction, operator: str) -> str:
    """The curve below the slider as HTML, or in one line why there is none; nothing for an operator without α."""
    parameter = OPERATORS[operator].parameter
    if parameter is None or not parameter.by_means:
        return ""
    reason = study.reason_against(direction, operator)
    if reason:
        return f'<p class="rhat-note rhat-no-curve">{escape(reason)}</p>'
    doses = [dose for dose in study.doses if SPAN[0] <= dose.alpha <= SPAN[1]]
    least, most = min(dose.n for dose in doses), max(dose.n for dose in doses)
    count = str(most) if least == most else f"{least} to {most}"
    name = f"Refused, of {count} held-out harmless prompts, with 95% intervals"
    told = "; ".join(f"α {dose.alpha:g}: {_told(dose)}" for dose in doses)
    known = json.dumps([[dose.alpha, _told(dose)] for dose in doses], ensure_ascii=False)
    return (
        f'<figure class="rhat-dose" data-doses="{escape(known)}">'
        f'<div class="rhat-plot rhat-aligned" role="img" aria-label="{escape(f"{name}. {told}")}">'
        f'{_drawn(doses)}<span class="rhat-cursor"></span>'
        '<span class="rhat-top" aria-hidden="true">100%</span><span class="rhat-bottom" aria-hidden="true">0%</span></div>'
        f'<figcaption>{name}.<br><span class="rhat-read" aria-live="polite">&nbsp;</span></figcaption></figure>'
    )


def _told(dose: Dose) -> str:
    return f"{dose.rate:.0%} [{dose.low:.0%}, {dose.high:.0%}]"


def _drawn(doses: list[Dose]) -> str:
    """Band, line and points; the strokes keep their width however the drawing is stretched."""

    def at(alpha: float, share: float) -> str:
        return f"{WIDTH * (alpha - SPAN[0]) / (SPAN[1] - SPAN[0]):.2f} {HEIGHT * (1 - share):.2f}"

    upper = [at(dose.alpha, dose.high) for dose in doses]
    lower = [at(dose.alpha, dose.low) for dose in reversed(doses)]
    line = [at(dose.alpha, dose.rate) for dose in doses]
    points = "".join(f"M{point}h0" for point in line)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="rhat-band" d="M{"L".join(upper + lower)}Z"/><path class="rhat-line" d="M{"L".join(line)}"/>'
        f'<path class="rhat-points" d="{points}"/></svg>'
    )
