"""The report's Plotly figures as SVG, drawn by matplotlib: no browser is needed.

It knows what the figures use: scatter (lines, markers, error bars), bars, heat maps, subplots, and linear,
log and category axes. An unknown kind of trace raises rather than being left out.
"""

import io
import re
from typing import Any

from rhat.errors import RhatError

INK, FAINT = "#1c2026", "#c9ced6"
WIDTH = 720  # pixels of the drawing, at 72 to the inch
SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "circle-open": "o"}
DASHES: dict[str, Any] = {"solid": "-", "dash": "--", "dot": ":"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rhat",  # the same figure gives the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def to_svg(figure: Any, title: str = "") -> str:
    """The Plotly `figure` as an SVG document with `title` on top.

    Raises:
        RhatError: for a kind of trace that it does not know.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    spec = figure.to_plotly_json()
    layout = spec["layout"]
    height = layout.get("height", 380)
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(page)
        panels = _panels(page, spec["data"], layout)
        for trace in spec["data"]:
            _draw(panels[_axis_names(trace)], trace, layout)
        for names, axes in panels.items():
            _finish(axes, names, layout, len(panels) > 3)
        _heading(page, spec["data"], title)
        out = io.StringIO()
        page.savefig(out, format="svg", metadata={"Date": None, "Title": title})
    return out.getvalue()


def _panels(page: Any, traces: list[dict[str, Any]], layout: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """One matplotlib axes per pair of Plotly axes, in the grid that the axes' domains span."""
    names = list(dict.fromkeys(_axis_names(trace) for trace in traces))
    lefts = sorted({_domain(layout, x)[0] for x, _ in names})
    tops = sorted({_domain(layout, y)[0] for _, y in names}, reverse=True)
    grid = page.add_gridspec(len(tops), len(lefts))
    titles = [note["text"] for note in layout.get("annotations", ())]
    panels = {}
    for index, (x, y) in enumerate(names):
        axes = page.add_subplot(grid[tops.index(_domain(layout, y)[0]), lefts.index(_domain(layout, x)[0])])
        if len(titles) == len(names):
            axes.set_title(_plain(titles[index]), fontsize=9)
        panels[x, y] = axes
    return panels


def _draw(axes: Any, trace: dict[str, Any], layout: dict[str, Any]) -> None:
    kind = trace["type"]
    known = {"scatter": _scatter, "bar": _bar, "heatmap": _heatmap}
    if kind not in known:
        raise RhatError(f"to_svg draws {', '.join(known)} traces, got {kind}; add it to static.py")
    known[kind](axes, trace)


def _scatter(axes: Any, trace: dict[str, Any]) -> None:
    x, y = _values(trace["x"]), _values(trace["y"])
    mode, marker, line = trace.get("mode", "lines"), trace.get("marker", {}), trace.get("line", {})
    tone = marker.get("color") or line.get("color") or INK
    tone = tone if isinstance(tone, str) else list(tone)
    alpha = marker.get("opacity", trace.get("opacity", 1))
    for error in ("error_x", "error_y"):
        if error in trace:
            bars = trace[error]
            spans = {"xerr" if error == "error_x" else "yerr": [bars["arrayminus"], bars["array"]]}
            axes.errorbar(x, y, **spans, fmt="none", ecolor=bars["color"], elinewidth=1.2, capsize=2, alpha=alpha)
    if "lines" in mode:
        dash = DASHES[line.get("dash", "solid")]
        axes.plot(
            x,
            y,
            dash,
            color=line.get("color", tone),
            lw=line.get("width", 1.5),
            alpha=trace.get("opacity", 1),
        )
    if "markers" in mode:
        symbol = marker.get("symbol", "circle")
        hollow = symbol.endswith("-open")
        filled = {"facecolors": "none", "edgecolors": tone} if hollow else {"color": tone}
        area = marker.get("size", 6) ** 2 * 0.6
        width = 1.5 if hollow else 0
        axes.scatter(x, y, s=area, marker=SYMBOLS[symbol], alpha=alpha, linewidths=width, zorder=3, **filled)


def _bar(axes: Any, trace: dict[str, Any]) -> None:
    x, y, marker = _values(trace["x"]), _values(trace["y"]), trace.get("marker", {})
    tone, alpha = marker.get("color", INK), marker.get("opacity", 1)
    tone = tone if isinstance(tone, str) else list(tone)
    if trace.get("orientation") == "h":
        axes.barh(y, x, height=0.7, color=tone, alpha=alpha, zorder=2)
    else:
        axes.bar(x, y, width=trace.get("width", 0.8), color=tone, alpha=alpha, zorder=2)


def _heatmap(axes: Any, trace: dict[str, Any]) -> None:
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    tones = LinearSegmentedColormap.from_list("scale", [tuple(stop) for stop in trace["colorscale"]])
    z = np.array([[np.nan if cell is None else cell for cell in row] for row in trace["z"]], dtype=float)
    x, y = _values(trace["x"]), _values(trace["y"])
    categories = isinstance(x[0], str), isinstance(y[0], str)
    columns, rows = (list(range(len(v))) if named else v for v, named in zip((x, y), categories, strict=True))
    mesh = axes.pcolormesh(columns, rows, z, cmap=tones, edgecolors="white", linewidth=0.8, shading="nearest")
    if categories[0]:
        axes.set_xticks(columns, x)
    if categories[1]:
        axes.set_yticks(rows, y)
    if trace.get("texttemplate"):
        form = ".0%" if ":.0%" in trace["texttemplate"] else ".2f"
        for row, column in np.argwhere(~np.isnan(z)):
            at = (columns[column], rows[row])
            axes.annotate(
                format(z[row, column], form),
                at,
                ha="center",
                va="center",
                color=trace["textfont"]["color"],
                fontsize=9,
            )
    if trace.get("showscale", True):
        axes.figure.colorbar(mesh, ax=axes, label=trace["colorbar"]["title"]["text"], fraction=0.05)


def _finish(axes: Any, names: tuple[str, str], layout: dict[str, Any], small: bool) -> None:
    """Titles, scales, ticks and grid of one panel."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for which, name in zip("xy", names, strict=True):
        spec = layout.get(_key(name), {})
        axis = getattr(axes, f"{which}axis")
        title = spec.get("title", {}).get("text")
        if title:
            getattr(axes, f"set_{which}label")(_plain(title))
        if spec.get("type") == "log":
            getattr(axes, f"set_{which}scale")("log")
        if spec.get("range"):
            getattr(axes, f"set_{which}lim")(*spec["range"])
        if spec.get("autorange") == "reversed":
            getattr(axes, f"invert_{which}axis")()
        if spec.get("tickmode") == "array":
            axis.set_ticks(list(spec["tickvals"]), [_plain(text) for text in spec["ticktext"]])
        if spec.get("tickformat") == ".0%":
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        if spec.get("dtick") == 1 and spec.get("type") not in ("log", "category"):
            axis.set_major_locator(MaxNLocator(integer=True))
        if spec.get("showticklabels") is False:
            axis.set_ticks([])
        if spec.get("showgrid", True) and not small:
            axes.grid(axis=which, color=FAINT, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _heading(page: Any, traces: list[dict[str, Any]], title: str) -> None:
    """The title and below it the named traces, above the panels."""
    from matplotlib.lines import Line2D

    handles = []
    for trace in traces:
        if trace["type"] == "heatmap" or not trace.get("name") or trace.get("showlegend") is False:
            continue
        marker, line, mode = trace.get("marker", {}), trace.get("line", {}), trace.get("mode", "markers")
        tone = marker.get("color") or line.get("color")
        handles.append(
            Line2D(
                [],
                [],
                color=tone,
                linestyle=DASHES[line.get("dash", "solid")] if "lines" in mode else "none",
                marker="s"
                if trace["type"] == "bar"
                else SYMBOLS[marker.get("symbol", "circle")]
                if "markers" in mode
                else None,
                label=_plain(trace["name"]),
            )
        )
    bold = {"size": 12, "weight": "bold"}
    if handles:
        page.legend(
            handles=handles,
            loc="outside upper left",
            ncols=min(4, len(handles)),
            frameon=False,
            fontsize=9,
            title=title,
            title_fontproperties=bold,
            alignment="left",
        )
    elif title:
        page.suptitle(title, x=0.01, ha="left", fontproperties=bold)


def _axis_names(trace: dict[str, Any]) -> tuple[str, str]:
    return trace.get("xaxis", "x"), trace.get("yaxis", "y")


def _key(name: str) -> str:
    """The layout's key of an axis: `x2` is `xaxis2`."""
    return f"{name[0]}axis{name[1:]}"


def _domain(layout: dict[str, Any], name: str) -> tuple[float, float]:
    low, high = layout.get(_key(name), {}).get("domain", (0, 1))
    return round(float(low), 6), round(float(high), 6)


def _values(values: Any) -> list[Any]:
    return [_plain(value) if isinstance(value, str) else value for value in values]


def _plain(text: str) -> str:
    """Plotly's small HTML as plain text."""
    return re.sub(r"<[^>]+>", "", re.sub(r"<br ?/?>", "\n", text))
