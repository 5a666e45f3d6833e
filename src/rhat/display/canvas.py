"""What all figures share: colours, the bare figure, and dots and lines with intervals as error bars."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import Number, Row

R = TypeVar("R")

# Tones with a contrast of at least 3:1 on white and on near-black, apart for colour-blind readers as well.
HARMFUL, HARMLESS, BORDERLINE, TWIN = "#d9601a", "#3b82c4", "#a66bbe", "#c2484d"
GREEN, AMBER, GREY = "#1f9d74", "#b7860b", "#7a828e"
LABELS = {"harmful": HARMFUL, "harmless": HARMLESS, "borderline": BORDERLINE, "twin": TWIN}
CONDITIONS = {"baseline": GREY, "random": GREY, "set": GREEN, "scope": GREEN, "add": AMBER, "ablate": GREEN}
CONDITIONS |= {"subtract": AMBER, "repe": BORDERLINE, "heads": HARMLESS}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Measure:
    """Which number of a row is drawn, its interval, and how its axis reads."""

    value: str
    low: str
    high: str
    title: str
    tick: str
    span: tuple[float, float] | None = None


RATE = Measure("rate", "ci_low", "ci_high", "Refusal rate", ".0%", (0.0, 1.0))
SPREAD = Measure("mean", "low", "high", "Projection on r̂ (units)", "")
PALE = [[0, "#f3f6fa"], [1, "#6ea8dc"]]  # dark numbers are readable on all of it
DIFFERENCE = Measure("difference", "ci_low", "ci_high", "Difference in refusal rates", ".0%")
SCORE = Measure("score_mean", "score_ci_low", "score_ci_high", "Refusal score (nats)", "")


def measure_of(rows: Sequence[Row]) -> Measure:
    """Rates where most rows have one, otherwise scores."""
    return RATE if 2 * sum(getattr(row, "rate", None) is not None for row in rows) >= len(rows) else SCORE


def having(rows: Sequence[R], measure: Measure) -> tuple[R, ...]:
    """The rows that carry the measure."""
    return tuple(row for row in rows if getattr(row, measure.value, None) is not None)


def colour(condition: str) -> str:
    """The colour of a condition id."""
    return next((tone for start, tone in CONDITIONS.items() if condition.startswith(start)), HARMLESS)


def bare(x: str = "", y: str = "", *, height: int = 380, rows: int = 1, columns: int = 1, **subplots: Any) -> Any:
    """An empty figure in the report's style; `x` and `y` title the axes of the last row and first column."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=rows, cols=columns, **subplots)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 12, "r": 14, "t": 30, "b": 12},
        font={"family": FONT, "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
        },
        hovermode="closest",
    )
    line = {"automargin": True, "gridcolor": "rgba(122,130,142,0.22)", "zeroline": False}
    line |= {"title_standoff": 8, "title_font_size": 13}
    figure.update_xaxes(tickangle=0, **line)
    figure.update_yaxes(**line)
    if x:
        figure.update_xaxes(title_text=x, row=rows)
    if y:
        figure.update_yaxes(title_text=y, col=1)
    return figure


def error(values: Sequence[Number], low: Sequence[Number], high: Sequence[Number], tone: str) -> dict[str, Any]:
    """Error bars from interval ends."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [top - value for value, top in zip(values, high, strict=True)],
        "arrayminus": [value - bottom for value, bottom in zip(values, low, strict=True)],
        "thickness": 1.4,
        "width": 3,
        "color": tone,
    }


def curve(
    x: Sequence[Any],
    rows: Sequence[Row],
    measure: Measure,
    name: str,
    tone: str,
    *,
    mode: str = "lines+markers",
    symbol: str = "circle",
    dash: str = "solid",
    **more: Any,
) -> Any:
    """Values of rows against x, with error bars."""
    import plotly.graph_objects as go

    values = [getattr(row, measure.value) for row in rows]
    bars = error(
        values, [getattr(row, measure.low) for row in rows], [getattr(row, measure.high) for row in rows], tone
    )
    return go.Scatter(
        x=list(x),
        y=values,
        error_y=bars,
        name=name,
        mode=mode,
        line={"color": tone, "dash": dash, "width": 1.8},
        marker={"color": tone, "symbol": symbol, "size": 7},
        **more,
    )


def dots(names: Sequence[Any], rows: Sequence[Row], measure: Measure, tones: Sequence[str], name: str = "") -> Any:
    """One row a line, its name on the y axis, its value along x with error bars."""
    import plotly.graph_objects as go

    values = [getattr(row, measure.value) for row in rows]
    bars = error(
        values, [getattr(row, measure.low) for row in rows], [getattr(row, measure.high) for row in rows], GREY
    )
    return go.Scatter(
        x=values,
        y=list(names),
        error_x=bars,
        mode="markers",
        name=name,
        showlegend=bool(name),
        marker={"color": list(tones), "size": 9},
        customdata=[getattr(row, "n", "") for row in rows],
        hovertemplate="%{y}: %{x} (n = %{customdata})<extra></extra>",
    )


def forest(names: Sequence[str], rows: Sequence[Row], measure: Measure, tones: Sequence[str]) -> Any:
    """A figure of `dots`, first row on top."""
    figure = bare(x=measure.title, height=110 + 34 * len(rows))
    figure.add_trace(dots(names, rows, measure, tones))
    down(figure, len(rows))
    scale(figure.update_xaxes, measure, rows)
    return figure


def down(figure: Any, count: int, **where: Any) -> None:
    """Make the y axis list `count` categories, the first on top."""
    figure.update_yaxes(type="category", range=[count - 0.5, -0.5], showgrid=False, dtick=1, **where)


def spread(place: int, count: int, width: float = 0.6) -> list[float]:
    """Places for `count` dots around `place`, side by side."""
    return [place + width * ((index + 0.5) / count - 0.5) for index in range(count)]


def scale(update: Any, measure: Measure, rows: Sequence[Row], **where: Any) -> None:
    """Give an axis the measure's ticks; rates begin at 0 and end just above the highest interval."""
    update(tickformat=measure.tick, **where)
    if measure.span:
        top = max(
            (getattr(row, measure.high) for row in rows if getattr(row, measure.high, None) is not None), default=1.0
        )
        update(range=[-0.015 * max(top, 0.1), min(1.03, 1.1 * top)], **where)


def line(x: Sequence[Any], y: Sequence[Any], name: str, tone: str, *, dash: str = "dot", **more: Any) -> Any:
    """A thin line without markers: a reference or a single trajectory."""
    import plotly.graph_objects as go

    style = {"color": tone, "dash": dash, "width": 1.5}
    return go.Scatter(x=list(x), y=list(y), name=name, mode="lines", line=style, **more)


def rates(results: Results, prompts: str) -> Any | None:
    """Refusal rates on one kind of prompts, one dot a condition; None where there are none."""
    rows = [row for row in results.rates if row.prompts == prompts]
    if not rows:
        return None
    names = [wording.condition(row.condition) for row in rows]
    return forest(names, rows, RATE, [colour(row.condition) for row in rows])


def differences(results: Results, question: str) -> Any | None:
    """The paired differences of a question's comparisons, one dot a comparison; None where there are none."""
    rows = [row for row in results.comparisons if row.question == question]
    if not rows:
        return None
    names = [f"{wording.condition(row.treatment)} − {wording.inside(wording.condition(row.reference))}" for row in rows]
    return forest(names, rows, DIFFERENCE, [colour(row.treatment) for row in rows])


def heat(x: list[Any], y: list[Any], z: list[list[Number | None]], unit: str, *, text: bool = True) -> Any:
    """A heat map with its scale; None is an empty cell."""
    import plotly.graph_objects as go

    form = ".0%" if unit == "rate" else ".2f"
    return go.Heatmap(
        x=x,
        y=y,
        z=z,
        colorscale=PALE if text else "Cividis",
        texttemplate=f"%{{z:{form}}}" if text else None,
        textfont={"color": "#1c2026"},
        colorbar={"title": {"text": unit}, "thickness": 10, "len": 1, "outlinewidth": 0},
        xgap=1,
        ygap=1,
        hovertemplate=f"%{{y}}, %{{x}}: %{{z:{form}}} {unit}<extra></extra>",
    )


def unique(names: Iterable[str]) -> list[str]:
    """Names without repetition, in order."""
    return list(dict.fromkeys(names))


def around_mean(row: Row) -> Any:
    """A row of mean and sd with the ends of one standard deviation, for `SPREAD`."""
    return SimpleNamespace(**dict(row), low=row.mean - row.sd, high=row.mean + row.sd)
