"""The figures: each a function from results to a Plotly figure, or None where the run lacks its numbers."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from rhat.report import canvas, wording
from rhat.report.canvas import AMBER, BORDERLINE, GREEN, GREY, HARMFUL, HARMLESS, LABELS, RATE, Measure
from rhat.report.verdicts import at_layer
from rhat.report.wording import Number

Results = dict[str, Any]
Figure = Any  # plotly.graph_objects.Figure, which is imported only when something is drawn

GAP = Measure("gap", "ci_low", "ci_high", "Set − add", "")
AUROC = Measure("auroc", "ci_low", "ci_high", "AUROC", "")
ACCURACY = Measure("test_accuracy", "ci_low", "ci_high", "Test accuracy", ".0%")
POINTS = Measure("points", "ci_low", "ci_high", "Boost over baseline (points)", "")
SPREAD = Measure("mean", "low", "high", "Projection on r̂ (units)", "")
PALE = [[0, "#f3f6fa"], [1, "#6ea8dc"]]  # dark numbers are readable on all of it
MULTIPLES = 9  # at most so many small multiples


def rates_harmless(results: Results) -> Figure | None:
    """Refusal rates on harmless prompts."""
    return _rates(results, "harmless")


def rates_harmful(results: Results) -> Figure | None:
    """Refusal rates on harmful prompts."""
    return _rates(results, "harmful")


def rates_borderline(results: Results) -> Figure | None:
    """Refusal rates on borderline prompts."""
    return _rates(results, "borderline")


def set_add_layers(results: Results) -> Figure | None:
    """Mean projection of both kinds of prompts above the gap between setting and adding, by layer."""
    rows = results.get("layers")
    if not rows:
        return None
    layers = [row["layer"] for row in rows]
    unit = "share" if rows[0]["unit"] == "share" else "nats"
    figure = canvas.bare("Layer", height=520, rows=2, shared_xaxes=True, vertical_spacing=0.08)
    for label in ("harmful", "harmless"):
        means = [row[f"{label}_mean_projection"] for row in rows]
        trace = canvas.line(layers, means, f"{label.capitalize()} mean", LABELS[label], dash="solid")
        figure.add_trace(trace.update(mode="lines+markers"), row=1, col=1)
    figure.add_trace(canvas.curve(layers, rows, GAP, "Set − add, 95% interval", GREEN), row=2, col=1)
    for row in (1, 2):
        figure.add_trace(_zero(layers), row=row, col=1)
    figure.update_yaxes(title_text="Projection (units)", row=1)
    figure.update_yaxes(title_text=f"Set − add ({unit})", row=2)
    return figure


def set_add_zero(results: Results) -> Figure | None:
    """The gap between setting and adding against the harmless mean, one dot a layer."""
    rows = results.get("layers")
    if not rows:
        return None
    unit = "share" if rows[0]["unit"] == "share" else "nats"
    means = [row["harmless_mean_projection"] for row in rows]
    figure = canvas.bare("Mean harmless projection (units)", f"Set − add ({unit})")
    trace = canvas.curve(means, rows, GAP, "One layer, 95% interval", GREEN, mode="markers")
    trace.update(
        customdata=[row["layer"] for row in rows],
        hovertemplate="layer %{customdata}: projection %{x:.2f}, set − add %{y:.2f}<extra></extra>",
    )
    figure.add_trace(trace)
    figure.add_trace(_zero(means))
    return figure


def prediction(results: Results) -> Figure | None:
    """Setting's effect as predicted from adding's dose curve, beside what was observed."""
    found = results.get("prediction")
    if not found:
        return None
    measure = canvas.SCORE
    names = ["Set, predicted", "Set, observed", "Add, observed"]
    rows = []
    for field in ("predicted_score", "observed_score", "observed_add_score"):
        value = found[field]
        low, high = (found[measure.low], found[measure.high]) if field == "observed_score" else (value, value)
        rows.append({measure.value: value, measure.low: low, measure.high: high, "n": found["n"]})
    return canvas.forest(names, rows, measure, [BORDERLINE, GREEN, AMBER])


def projections(results: Results) -> Figure | None:
    """Mean test projection by layer, with one standard deviation."""
    rows = [row for row in results.get("projections", []) if row["split"] == "test"]
    if not rows:
        return None
    figure = canvas.bare("Layer", "Projection on r̂ (units), ± 1 sd")
    for label, tone in LABELS.items():
        mine = [_spread(row) for row in rows if row["label"] == label]
        if mine:
            layers = [row["layer"] for row in mine]
            figure.add_trace(canvas.curve(layers, mine, SPREAD, label.capitalize(), tone))
    return figure


def auroc(results: Results) -> Figure | None:
    """AUROC of the test projection by layer."""
    rows = results.get("auroc")
    if not rows:
        return None
    layers = [row["layer"] for row in rows]
    figure = canvas.bare("Layer", "AUROC", height=320)
    figure.add_trace(canvas.curve(layers, rows, AUROC, "Test prompts, 95% interval", GREEN))
    figure.add_trace(canvas.line([min(layers), max(layers)], [0.5, 0.5], "Chance", GREY))
    return figure


def histogram(results: Results) -> Figure | None:
    """Histogram of the test projection at r̂'s layer."""
    import plotly.graph_objects as go

    layer = results.get("direction", {}).get("layer")
    rows = results.get("histogram", [])
    rows = at_layer("histogram", rows, layer) or rows
    if not rows:
        return None
    figure = canvas.bare(f"Projection on r̂, layer {rows[0]['layer']} (units)", "Prompts", height=320)
    for row in rows:
        edges = row["edges"]
        pairs = list(pairwise(edges))
        figure.add_trace(
            go.Bar(
                x=[(low + high) / 2 for low, high in pairs],
                y=row["counts"],
                width=[high - low for low, high in pairs],
                name=row["label"].capitalize(),
                marker={"color": LABELS[row["label"]], "opacity": 0.6},
            )
        )
    figure.update_layout(barmode="overlay", bargap=0)
    return figure


def trajectories(results: Results) -> Figure | None:
    """Projection over the tokens of single prompts, aligned at the last prompt token."""
    rows = results.get("trajectories")
    if not rows:
        return None
    figure = canvas.bare("Token position from the end", "Projection on r̂ (units)")
    seen: set[str] = set()
    for row in rows:
        label, values = row["label"], row["values"]
        trace = canvas.line(range(-len(values), 0), values, label.capitalize(), LABELS[label], dash="solid")
        trace.update(legendgroup=label, showlegend=label not in seen, opacity=0.75)
        trace.update(hovertemplate=f"{label}, position %{{x}}: %{{y:.2f}}<extra></extra>")
        figure.add_trace(trace)
        seen.add(label)
    return figure


def pca(results: Results) -> Figure | None:
    """Both kinds of prompts in the first two components at r̂'s layer."""
    rows = [row for row in results.get("pca", []) if row.get("points")]
    if not rows:
        return None
    layer = results.get("direction", {}).get("layer")
    at = at_layer("pca", rows, layer)
    row = at[0] if at else rows[-1]
    shares = [f" ({share:.0%} of variance)" for share in row["explained"][:2]]
    shares += [""] * (2 - len(shares))
    figure = canvas.bare(f"PC 1{shares[0]}, layer {row['layer']}", f"PC 2{shares[1]}", height=440)
    for trace in _cloud(row["points"], size=7):
        figure.add_trace(trace)
    return figure


def pca_layers(results: Results) -> Figure | None:
    """The same at several layers, as small multiples."""
    rows = [row for row in results.get("pca", []) if row.get("points")]
    if len(rows) < 2:
        return None
    if len(rows) > MULTIPLES:
        step = (len(rows) - 1) / (MULTIPLES - 1)
        rows = [rows[round(index * step)] for index in range(MULTIPLES)]
    columns = 3
    lines = -(-len(rows) // columns)
    figure = canvas.bare(
        height=70 + 165 * lines,
        rows=lines,
        columns=columns,
        subplot_titles=[f"Layer {row['layer']}" for row in rows],
        horizontal_spacing=0.05,
        vertical_spacing=0.22 / lines,
    )
    for index, row in enumerate(rows):
        for trace in _cloud(row["points"], size=4):
            trace.update(showlegend=index == 0)
            figure.add_trace(trace, row=index // columns + 1, col=index % columns + 1)
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(
            showticklabels=False,
            showgrid=False,
            showline=True,
            mirror=True,
            linecolor="rgba(122,130,142,0.5)",
        )
    figure.update_annotations(font_size=12)
    figure.update_layout(legend_y=1.02 + 0.1 / lines, legend_itemsizing="constant", margin_t=46)
    return figure


def pca_cosine(results: Results) -> Figure | None:
    """Cosine between the first component and r̂, by layer."""
    rows = results.get("pca")
    if not rows or len(rows) < 2:
        return None
    layers = [row["layer"] for row in rows]
    figure = canvas.bare("Layer", "Cosine or share", height=320)
    cosines = [row["cosine_pc1_rhat"] for row in rows]
    for name, values, tone in (
        ("Cosine of PC 1 with r̂", cosines, GREEN),
        ("Variance explained by PC 1", [row["explained"][0] for row in rows], GREY),
    ):
        figure.add_trace(canvas.line(layers, values, name, tone, dash="solid").update(mode="lines+markers"))
    figure.update_yaxes(range=[min(0, *cosines) - 0.05, 1.05])
    return figure


def damage(results: Results) -> Figure | None:
    """Refusal of harmful prompts against the damage done to harmless ones."""
    rows = results.get("damage")
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = canvas.having(rows, measure)
    figure = canvas.bare("Mean KL on harmless prompts (nats)", f"{measure.title}, harmful prompts", height=420)
    for op, tone in (("ablate", GREEN), ("subtract", AMBER), ("none", GREY)):
        for sites, symbol, dash in (("own layer", "circle", "solid"), ("all layers", "diamond", "dash")):
            mine = [row for row in rows if (row["op"], row["sites"]) == (op, sites)]
            mine.sort(key=lambda row: row["kl_mean"])
            if mine:
                trace = canvas.curve(
                    [row["kl_mean"] for row in mine],
                    mine,
                    measure,
                    f"{op.capitalize()}, {sites}",
                    tone,
                    symbol=symbol,
                    dash=dash,
                )
                notes = [f"c = {row['coefficient']:.2f}" if "coefficient" in row else op for row in mine]
                hover = "%{customdata}: KL %{x:.3f}, %{y:.2f}<extra></extra>"
                figure.add_trace(trace.update(customdata=notes, hovertemplate=hover))
    canvas.scale(figure.update_yaxes, measure, rows)
    if all(row["kl_mean"] > 0 for row in rows):
        figure.update_xaxes(type="log", dtick=1)
    return figure


def scopes(results: Results) -> Figure | None:
    """Refusal against the share of tokens that are edited."""
    rows = results.get("scopes")
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = sorted(canvas.having(rows, measure), key=lambda row: -row["token_share"])
    names = [f"{wording.scope(row['scope']).capitalize()} ({wording.percent(row['token_share'])})" for row in rows]
    return canvas.forest(names, rows, measure, [GREEN if row["scope"] == "all" else HARMLESS for row in rows])


def scope_share(results: Results) -> Figure | None:
    """The same as a curve over the share of tokens."""
    rows = results.get("scopes")
    if not rows or len(rows) < 3:
        return None
    measure = canvas.measure_of(rows)
    rows = sorted(canvas.having(rows, measure), key=lambda row: row["token_share"])
    shares = [row["token_share"] for row in rows]
    figure = canvas.bare("Share of all tokens that are edited", measure.title, height=340)
    trace = canvas.curve(shares, rows, measure, "Set projection, 95% interval", GREEN, mode="markers")
    names = [wording.scope(row["scope"]) for row in rows]
    hover = "%{customdata}: %{x:.0%} of tokens, %{y}<extra></extra>"
    figure.add_trace(trace.update(customdata=names, hovertemplate=hover))
    canvas.scale(figure.update_yaxes, measure, rows)
    figure.update_xaxes(tickformat=".0%", range=[-0.03, 1.05])
    return figure


def boost(results: Results) -> Figure | None:
    """Boost in points, beside the published one."""
    repe = results.get("repe")
    if not repe:
        return None
    rows = list(repe["boosts"])
    names = [wording.condition(row["condition"]) for row in rows]
    tones = [canvas.colour(row["condition"]) for row in rows]
    if published := repe.get("published"):
        value = published["value"]
        rows.append({"points": value, "ci_low": value, "ci_high": value, "n": "theirs"})
        names.append(f"{published.get('model', 'Published')},<br>as published")
        tones.append(GREY)
    figure = canvas.forest(names, rows, POINTS, tones)
    figure.update_xaxes(rangemode="tozero")
    return figure


def repe_table(results: Results) -> Figure | None:
    """Validation score of every setting of RepE control."""
    rows = results.get("repe", {}).get("table")
    if not rows or len(rows) < 2:
        return None
    cells = {(f"{row['layers'][0]}–{row['layers'][1]}", row["coefficient"]): row["validation_score"] for row in rows}
    spans = _unique(span for span, _ in cells)
    coefficients = sorted({coefficient for _, coefficient in cells})
    z = [[cells.get((span, coefficient)) for coefficient in coefficients] for span in spans]
    figure = canvas.bare("Coefficient", "Layers", height=110 + 44 * len(spans))
    figure.add_trace(_heat([f"{c:.3g}" for c in coefficients], spans, z, "nats"))
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category")
    return figure


def factorial(results: Results) -> Figure | None:
    """Refusal score for each combination of direction, operator, layers, scope and dose."""
    rows = results.get("factorial")
    if not rows:
        return None
    measure = canvas.SCORE if all("score_mean" in row for row in rows) else canvas.measure_of(rows)
    doses = {row["dose"] for row in rows}
    cells = {}
    for row in canvas.having(rows, measure):
        dose = f", {row['dose']:g}×" if len(doses) > 1 else ""
        side = f"{wording.direction(row['direction'])}, {wording.operator(row['op'])}{dose}"
        cells[side, f"layers {row['layers']},<br>{wording.scope(row['scope'])}"] = row[measure.value]
    sides, tops = _unique(side for side, _ in cells), _unique(top for _, top in cells)
    z = [[cells.get((side, top)) for top in tops] for side in sides]
    figure = canvas.bare(height=150 + 34 * len(sides))
    figure.add_trace(_heat(tops, sides, z, "nats" if measure is canvas.SCORE else "rate"))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category", title_text=measure.title, tickangle=None)
    return figure


def heads_ranking(results: Results) -> Figure | None:
    """The heads that write r̂."""
    import plotly.graph_objects as go

    rows = results.get("heads", {}).get("ranking", [])[:16]
    if not rows:
        return None
    names = [f"L{row['layer']} H{row['head']}" for row in rows]
    figure = canvas.bare("Contribution to the gap (units)", height=100 + 24 * len(rows))
    bars = go.Bar(
        x=[row["attribution"] for row in rows],
        y=names,
        orientation="h",
        marker={"color": HARMLESS},
        showlegend=False,
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.add_trace(bars)
    canvas.down(figure, len(rows))
    return figure


def heads_curve(results: Results) -> Figure | None:
    """Refusal against the number of heads patched."""
    rows = results.get("heads", {}).get("curve")
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = canvas.having(rows, measure)
    figure = canvas.bare("Heads patched (k)", f"{measure.title}, harmless prompts", height=400)
    styles = {
        "attributed": ("Largest attribution", HARMLESS, "circle", "lines+markers"),
        "greedy": ("Greedy", GREEN, "diamond", "lines+markers"),
        "random": ("Random, same layers", GREY, "square", "markers"),
    }
    for kind, (name, tone, symbol, mode) in styles.items():
        mine = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["k"])
        if mine:
            counts = [row["k"] for row in mine]
            figure.add_trace(canvas.curve(counts, mine, measure, name, tone, mode=mode, symbol=symbol))
    canvas.scale(figure.update_yaxes, measure, rows)
    return figure


def finders(results: Results) -> Figure | None:
    """Cosine with r̂ and test accuracy of every finder."""
    import plotly.graph_objects as go

    rows = results.get("finders")
    if not rows:
        return None
    names = [wording.finder(row["name"]) for row in rows]
    tones = [GREY if row["name"] == "random" else HARMLESS for row in rows]
    figure = canvas.bare(height=140 + 56 * len(rows), rows=2, vertical_spacing=0.24)
    figure.add_trace(canvas.dots(names, rows, ACCURACY, tones), row=1, col=1)
    bars = go.Bar(
        x=[row["cosine_to_rhat"] for row in rows],
        y=names,
        orientation="h",
        marker={"color": tones},
        showlegend=False,
    )
    figure.add_trace(bars, row=2, col=1)
    for row in (1, 2):
        canvas.down(figure, len(rows), row=row)
    figure.update_xaxes(title_text="Test accuracy", tickformat=".0%", row=1)
    figure.update_xaxes(
        title_text="Cosine with r̂", range=[min(-0.1, *(r["cosine_to_rhat"] for r in rows)), 1.02], row=2
    )
    return figure


def finders_effect(results: Results) -> Figure | None:
    """What setting each finder's direction does."""
    rows = [row for row in results.get("finders", []) if "set_effect" in row]
    measure = canvas.measure_of([row["set_effect"] for row in rows])
    rows = [row for row in rows if measure.value in row["set_effect"]]
    if not rows:
        return None
    names = [wording.finder(row["name"]) for row in rows]
    tones = [GREY if row["name"] == "random" else GREEN for row in rows]
    return canvas.forest(names, [row["set_effect"] for row in rows], measure, tones)


def borderline_projections(results: Results) -> Figure | None:
    """Projection of borderline prompts beside the other two kinds."""
    rows = results.get("borderline_projections")
    if not rows:
        return None
    layer = results.get("direction", {}).get("layer")
    shown = [(f"Borderline, {row['group']}", _spread(row), BORDERLINE) for row in rows]
    for row in results.get("projections", []):
        if row["layer"] == layer and row["split"] == "test" and row["label"] != "borderline":
            shown.append((row["label"].capitalize(), _spread(row), LABELS[row["label"]]))
    names, drawn, tones = zip(*shown, strict=True)
    figure = canvas.forest(names, drawn, SPREAD, tones)
    figure.update_xaxes(title_text="Projection on r̂ (units), ± 1 sd")
    return figure


def dose(results: Results) -> Figure | None:
    """Refusal, and KL below it, against the projection aimed at."""
    rows = results.get("dose")
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = sorted(canvas.having(rows, measure), key=lambda row: row["target"])
    with_kl = any("kl_mean" in row for row in rows)
    lines = 2 if with_kl else 1
    title = "Projection aimed at (units)"
    figure = canvas.bare(title, height=520 if with_kl else 380, rows=lines, shared_xaxes=True, vertical_spacing=0.08)
    for op, tone, symbol in (("set_projection", GREEN, "circle"), ("add", AMBER, "diamond")):
        mine = [row for row in rows if row.get("op", "set_projection") == op]
        if not mine:
            continue
        name = wording.operator(op).capitalize()
        targets = [row["target"] for row in mine]
        figure.add_trace(canvas.curve(targets, mine, measure, name, tone, symbol=symbol), row=1, col=1)
        damaged = [row for row in mine if "kl_mean" in row]
        if damaged:
            targets, kl = [row["target"] for row in damaged], [row["kl_mean"] for row in damaged]
            trace = canvas.line(targets, kl, f"{name}, KL", tone, dash="solid", showlegend=False)
            figure.add_trace(trace, row=2, col=1)
    ends = [row[end] for row in rows for end in (measure.low, measure.high)]
    direction = results.get("direction", {})
    for label in ("harmless", "harmful"):
        if f"{label}_mean" in direction:
            at = direction[f"{label}_mean"]
            trace = canvas.line(
                [at, at], [min(ends), max(ends)], f"{label.capitalize()} mean", LABELS[label], dash="dot"
            )
            figure.add_trace(trace, row=1, col=1)
    figure.update_yaxes(title_text=measure.title, row=1)
    canvas.scale(figure.update_yaxes, measure, rows, row=1)
    if with_kl:
        figure.update_yaxes(title_text="KL (nats)", row=2)
    return figure


def stability(results: Results) -> Figure | None:
    """Cosines between refits of r̂."""
    import plotly.graph_objects as go

    found = results.get("stability", {})
    shown = {"Split half": found.get("split_half"), "Other draws": found.get("seeds")}
    shown = {name: values for name, values in shown.items() if values}
    if not shown:
        return None
    figure = canvas.bare("Cosine", height=110 + 44 * len(shown))
    for (name, values), tone in zip(shown.items(), (HARMLESS, GREEN), strict=False):
        style = {"color": tone, "size": 9, "opacity": 0.6}
        figure.add_trace(
            go.Scatter(x=values, y=[name] * len(values), mode="markers", marker=style, name=name, showlegend=False)
        )
    canvas.down(figure, len(shown))
    lowest = min(min(values) for values in shown.values())
    figure.update_xaxes(range=[lowest - 0.1 * (1.02 - lowest), 1.005])
    return figure


def refits(results: Results) -> Figure | None:
    """What each direction found after ablating the ones before induces and prevents."""
    rows = results.get("stability", {}).get("refits")
    if not rows:
        return None
    effects = [row[key] for row in rows for key in ("induce", "prevent") if key in row]
    if not effects:
        return None
    measure = canvas.measure_of(effects)
    figure = canvas.bare("Round (0 is r̂)", measure.title, height=340)
    for key, name, tone in (("induce", "Set, harmless", HARMLESS), ("prevent", "Ablated, harmful", HARMFUL)):
        mine = [row for row in rows if measure.value in row.get(key, {})]
        if mine:
            rounds, shown = [row["round"] for row in mine], [row[key] for row in mine]
            figure.add_trace(canvas.curve(rounds, shown, measure, name, tone))
    canvas.scale(figure.update_yaxes, measure, effects)
    figure.update_xaxes(dtick=1)
    return figure


def random_controls(results: Results) -> Figure | None:
    """Every control direction beside the real one."""
    rows = results.get("random_controls")
    if not rows:
        return None
    measure = canvas.SCORE if all("score_mean" in row for row in rows) else canvas.measure_of(rows)
    rows = canvas.having(rows, measure)
    kinds = {"orthogonal": ("Random<br>directions", GREY), "permuted_labels": ("Permuted<br>labels", AMBER)}
    lines = [(name, [row for row in rows if row["kind"] == kind], tone, 0.6) for kind, (name, tone) in kinds.items()]
    for condition in ("baseline", "set_projection"):
        reference = results.get("scores" if measure is canvas.SCORE else "rates", [])
        real = [row for row in reference if (row["condition"], row["prompts"]) == (condition, "harmless")]
        lines.append((wording.condition(condition).replace(" ", "<br>"), real, canvas.colour(condition), 1))
    lines = [line for line in lines if line[1]]
    figure = canvas.bare(f"{measure.title}, 95% interval", height=440)
    for place, (_, mine, tone, opacity) in enumerate(lines):
        places = canvas.spread(place, len(mine), width=0.8)
        trace = canvas.dots(places, mine, measure, [tone] * len(mine))
        trace.update(marker={"opacity": opacity, "size": 9 if len(mine) == 1 else 5})
        figure.add_trace(trace.update(hovertemplate="%{x} (n = %{customdata})<extra></extra>"))
    names = [name for name, *_ in lines]
    ticks = {"tickmode": "array", "tickvals": list(range(len(lines))), "ticktext": names}
    figure.update_yaxes(range=[len(lines) - 0.5, -0.5], showgrid=False, **ticks)
    canvas.scale(figure.update_xaxes, measure, rows)
    return figure


def candidates(results: Results) -> Figure | None:
    """Induce score of every candidate by layer and position."""
    import plotly.graph_objects as go

    rows = [row for row in results.get("candidates", []) if "induce_score" in row]
    if not rows:
        return None
    cells = {(row["position"], row["layer"]): row["induce_score"] for row in rows}
    positions = sorted({position for position, _ in cells})
    layers = sorted({layer for _, layer in cells})
    z = [[cells.get((position, layer)) for layer in layers] for position in positions]
    figure = canvas.bare("Layer", "Token position", height=150 + 34 * len(positions))
    figure.add_trace(_heat(layers, positions, z, "nats", text=False))
    chosen = [row for row in rows if row["status"] == "selected"]
    if chosen:
        style = {
            "symbol": "circle-open",
            "size": 14,
            "color": "#ffffff",
            "line": {"width": 2.5, "color": "#ffffff"},
        }
        x, y = [row["layer"] for row in chosen], [row["position"] for row in chosen]
        figure.add_trace(
            go.Scatter(x=x, y=y, mode="markers", name="Selected", marker=style, showlegend=False, hoverinfo="name")
        )
    figure.update_yaxes(dtick=1, showgrid=False)
    figure.update_xaxes(showgrid=False)
    return figure


def _rates(results: Results, prompts: str) -> Figure | None:
    rows = [row for row in results.get("rates", []) if row["prompts"] == prompts]
    if not rows:
        return None
    names = [wording.condition(row["condition"]) for row in rows]
    return canvas.forest(names, rows, RATE, [canvas.colour(row["condition"]) for row in rows])


def _zero(x: Iterable[Number]) -> Any:
    values = [*x]
    return canvas.line([min(0, *values), max(0, *values)], [0, 0], "Zero", GREY, showlegend=False, hoverinfo="skip")


def _spread(row: dict[str, Any]) -> dict[str, Any]:
    """A row of mean and sd with the ends of one standard deviation."""
    return {**row, "low": row["mean"] - row["sd"], "high": row["mean"] + row["sd"]}


def _cloud(points: list[dict[str, Any]], *, size: int) -> list[Any]:
    import plotly.graph_objects as go

    traces = []
    for label, tone in LABELS.items():
        mine = [point for point in points if point["label"] == label]
        if mine:
            traces.append(
                go.Scatter(
                    x=[point["x"] for point in mine],
                    y=[point["y"] for point in mine],
                    mode="markers",
                    name=label.capitalize(),
                    legendgroup=label,
                    marker={"color": tone, "size": size, "opacity": 0.7},
                    customdata=[point.get("category", "") for point in mine],
                    hovertemplate=f"{label}, %{{customdata}}<extra></extra>",
                )
            )
    return traces


def _heat(x: list[Any], y: list[Any], z: list[list[Number | None]], unit: str, *, text: bool = True) -> Any:
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
        showscale=not text,
        xgap=1,
        ygap=1,
        hovertemplate=f"%{{y}}, %{{x}}: %{{z:{form}}} {unit}<extra></extra>",
    )


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
