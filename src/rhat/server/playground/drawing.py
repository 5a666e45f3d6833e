"""What the page shows, as HTML: tokens coloured by projection, and scales between the two means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rhat.directions import Direction
from rhat.server.events import AnswerToken

HARMLESS, HARMFUL = (33, 102, 172), (214, 96, 18)  # blue and orange: told apart by colour-blind eyes as well
STRONGEST = 0.6  # opacity at the ends of the scale: text keeps a contrast of 4.5:1 on light and dark pages


@dataclass(frozen=True)
class Range:
    """The projections that a scale spans."""

    low: float
    high: float

    @classmethod
    def around(cls, direction: Direction) -> Range:
        """From well below the lower mean to well above the higher one, in whole units."""
        means = (direction.mean_harmless, direction.mean_harmful)
        room = max(abs(means[1] - means[0]), 1e-3)
        return cls(float(math.floor(min(*means, 0.0) - room / 2)), float(math.ceil(max(means) + room)))

    def percent(self, value: float) -> float:
        """Where a value stands from left to right, held within the scale."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def number(value: float | None) -> str:
    """Two decimals and a true minus sign; a dash for what is unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def colour(value: float | None, direction: Direction) -> str:
    """Background of a token: clear half-way between the means, blue towards harmless, orange towards harmful.

    It is strongest at the ends of the scale, so that values beyond the means can still be told apart.
    """
    if value is None or not math.isfinite(value):
        return "transparent"
    span = Range.around(direction)
    middle = (direction.mean_harmful + direction.mean_harmless) / 2
    towards_high = value > middle
    share = min(1.0, abs(value - middle) / ((span.high - middle) if towards_high else (middle - span.low)))
    harmful_side = towards_high == (direction.mean_harmful >= direction.mean_harmless)
    red, green, blue = HARMFUL if harmful_side else HARMLESS
    return f"rgba({red},{green},{blue},{share * STRONGEST:.2f})"


def answer(
    note: str,
    tokens: Sequence[AnswerToken],
    rest: str,
    state: str,
    direction: Direction,
    *,
    busy: bool = False,
) -> str:
    """One answer: its tokens coloured, and the same numbers as a list for those who cannot use colours.

    `busy` says that it is still being written, to the eye and to screen readers, which then wait for the end.
    """
    spans: list[str] = []
    for token in tokens:
        if not token.text:
            continue
        text = escape(token.text).replace("\n", "<br>")
        said = f"projection {number(token.arriving)}"
        if token.leaving is not None and token.arriving is not None and abs(token.leaving - token.arriving) > 1e-6:
            said += f", edited to {number(token.leaving)}"
        background = colour(token.arriving, direction)
        spans.append(f'<span class="rhat-token" style="background:{background}" title="{said}">{text}</span>')
    body = "".join(spans) + escape(rest)
    numbers = ""
    if tokens:
        rows = "".join(
            f"<tr><td>{escape(repr(t.text)[1:-1])}</td><td>{number(t.arriving)}</td><td>{number(t.leaving)}</td></tr>"
            for t in tokens
        )
        numbers = (
            '<details><summary>Projections as numbers</summary><div class="rhat-numbers" tabindex="0"><table><thead><tr><th>Token</th>'
            f"<th>Projection</th><th>After edits</th></tr></thead><tbody>{rows}</tbody></table></div></details>"
        )
    working = str(busy).lower()
    return (
        f'<div class="rhat-answer" aria-busy="{working}"><p class="rhat-note">{escape(note)}</p>'
        f'<div class="rhat-text" aria-live="polite" aria-busy="{working}">{body or "&nbsp;"}</div>'
        f'<p class="rhat-state">{escape(state)}</p>{numbers}</div>'
    )


def problem(message: str) -> str:
    """What stands in the place of an answer that cannot be given."""
    return f'<div class="rhat-answer"><p class="rhat-state">{escape(message)}</p></div>'


def nothing_yet() -> str:
    """What stands there before anything was asked."""
    return problem("The answer appears here.")


def _mark(name: str, label: str, value: float, span: Range) -> str:
    at = span.percent(value)
    side = " rhat-left" if at > 80 else " rhat-right" if at < 20 else ""
    return (
        f'<span class="rhat-mark rhat-{name}{side}" style="left:{at:.2f}%"><i></i>'
        f"<b>{escape(label)}<br>mean {number(value)}</b></span>"
    )


def marks(direction: Direction) -> str:
    """The two means below the scale."""
    span = Range.around(direction)
    return (
        '<div class="rhat-marks" aria-hidden="true">'
        + _mark("harmless", "harmless", direction.mean_harmless, span)
        + _mark("harmful", "harmful", direction.mean_harmful, span)
        + "</div>"
    )


def scale(direction: Direction, prompt: float | None, threshold: float | None) -> str:
    """The prompt's projection between the two means, and the guard's threshold if there is one."""
    span = Range.around(direction)
    if prompt is None:
        said, pointer = "The prompt's projection appears here.", ""
    else:
        said = f"The prompt's projection is {number(prompt)}: {_where(direction, prompt)}"
        if threshold is not None:
            said += f", and {'above' if prompt > threshold else 'not above'} the guard's threshold"
        pointer = f'<span class="rhat-pointer" style="left:{span.percent(prompt):.2f}%"></span>'
        said += "."
    guard = (
        "" if threshold is None else f'<span class="rhat-threshold" style="left:{span.percent(threshold):.2f}%"></span>'
    )
    legend = "" if threshold is None else f' <span class="rhat-legend">┊ threshold {number(threshold)}</span>'
    return (
        f'<figure class="rhat-scale"><figcaption>{said}{legend}</figcaption>'
        f'<div class="rhat-bar" aria-hidden="true">{guard}{pointer}</div>{marks(direction)}</figure>'
    )


def _where(direction: Direction, value: float) -> str:
    gap = direction.mean_harmful - direction.mean_harmless
    share = (value - direction.mean_harmless) / gap if gap else 0.0
    if share < 0:
        return "below the mean of harmless prompts"
    if share > 1:
        return "above the mean of harmful prompts"
    return f"{share:.0%} of the way from the harmless to the harmful mean"


def legend() -> str:
    """What the colours mean."""

    def chip(rgb: tuple[int, int, int], words: str) -> str:
        return f'<span class="rhat-token" style="background:rgba({",".join(map(str, rgb))},{STRONGEST})">&ensp;{words}&ensp;</span>'

    return (
        '<p class="rhat-legend-line">Each token is coloured by its projection on r̂ as it reaches the layer, the stronger the '
        f"further out: {chip(HARMLESS, 'towards harmless')} {chip(HARMFUL, 'towards harmful')}. "
        "Hover over a token, or open the numbers, to read it.</p>"
    )
