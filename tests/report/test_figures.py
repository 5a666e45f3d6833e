import itertools
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest
import synthetic_results

from rhat.errors import RhatError
from rhat.report import drawings, figures, static, wording

SVG = "{http://www.w3.org/2000/svg}"


def trace(figure, name):
    return next(t for t in figure.data if t.name == name)


def ends(trace, axis="y"):
    """Interval ends that the error bars reach."""
    bars, values = trace[f"error_{axis}"], trace[axis]
    low = [v - down for v, down in zip(values, bars.arrayminus, strict=True)]
    return low, [v + up for v, up in zip(values, bars.array, strict=True)]


def test_every_figure_is_drawn_from_a_full_run(results):
    assert [d.name for d, _ in drawings.drawn(results)] == [d.name for d in drawings.FIGURES]


def test_figures_of_absent_fields_are_none(results):
    assert [d.name for d, _ in drawings.drawn(synthetic_results.quick())] == [
        "rates_harmless", "rates_harmful", "candidates"
    ]  # fmt: skip
    assert drawings.drawn({"schema_version": 1}) == []


def test_a_figure_does_without_each_field_that_it_reads(results):
    class Reads(dict):
        def get(self, key, default=None):
            read.add(key)
            return super().get(key, default)

    for drawing in drawings.FIGURES:
        read: set[str] = set()
        drawing.draw(Reads(results))
        assert read, drawing.name
        for key in read:
            drawing.draw({name: value for name, value in results.items() if name != key})


def test_a_run_by_log_odds_alone_is_drawn():
    drawn = {d.name: figure for d, figure in drawings.drawn(synthetic_results.by_score())}
    missing = {d.name for d in drawings.FIGURES} - set(drawn)
    assert missing == {"rates_harmless", "rates_harmful", "rates_borderline"}
    for name in ("scopes", "heads_curve", "dose", "damage", "refits", "finders_effect"):
        titles = [axis.title.text or "" for axis in (*drawn[name].select_xaxes(), *drawn[name].select_yaxes())]
        assert any(title.startswith("Refusal score (nats)") for title in titles), name


def test_names_are_unique_and_every_figure_has_a_text_alternative():
    names = [d.name for d in drawings.FIGURES]
    assert len(set(names)) == len(names)
    assert all(d.alt and d.title for d in drawings.FIGURES)


@pytest.mark.parametrize("prompts", ["harmless", "harmful", "borderline"])
def test_rates_and_their_intervals(results, prompts):
    rows = [row for row in results["rates"] if row["prompts"] == prompts]
    (drawn,) = getattr(figures, f"rates_{prompts}")(results).data
    assert list(drawn.x) == [row["rate"] for row in rows]
    assert list(drawn.y) == [wording.condition(row["condition"]) for row in rows]
    low, high = ends(drawn, "x")
    assert low == pytest.approx([row["ci_low"] for row in rows])
    assert high == pytest.approx([row["ci_high"] for row in rows])


def test_gap_by_layer(results):
    figure = figures.set_add_layers(results)
    rows = results["layers"]
    drawn = trace(figure, "Set − add, 95% interval")
    assert list(drawn.x) == [row["layer"] for row in rows]
    assert list(drawn.y) == [row["gap"] for row in rows]
    assert ends(drawn)[0] == pytest.approx([row["ci_low"] for row in rows])
    assert list(trace(figure, "Harmless mean").y) == [row["harmless_mean_projection"] for row in rows]
    zero = trace(figures.set_add_zero(results), "One layer, 95% interval")
    assert list(zero.x) == [row["harmless_mean_projection"] for row in rows]


def test_projections_show_one_standard_deviation(results):
    rows = [row for row in results["projections"] if row["label"] == "harmful"]
    drawn = trace(figures.projections(results), "Harmful")
    assert list(drawn.y) == [row["mean"] for row in rows]
    assert ends(drawn)[1] == pytest.approx([row["mean"] + row["sd"] for row in rows])


def test_training_projections_are_not_drawn_as_test_ones(results):
    for row in results["projections"]:
        row["split"] = "train"
    assert figures.projections(results) is None


def test_histogram_bars_stand_between_the_edges(results):
    row = results["histogram"][0]
    bars = trace(figures.histogram(results), "Harmless")
    assert list(bars.y) == row["counts"]
    assert list(bars.x) == [(a + b) / 2 for a, b in itertools.pairwise(row["edges"])]


def test_trajectories_end_at_the_last_prompt_token(results):
    for drawn, row in zip(figures.trajectories(results).data, results["trajectories"], strict=True):
        assert drawn.x[-1] == -1
        assert len(drawn.x) == len(row["values"])


def test_pca_draws_the_chosen_layer_and_hovers_by_category(results):
    row = next(row for row in results["pca"] if row["layer"] == results["direction"]["layer"])
    harmful = [point for point in row["points"] if point["label"] == "harmful"]
    drawn = trace(figures.pca(results), "Harmful")
    assert list(drawn.x) == [point["x"] for point in harmful]
    assert list(drawn.customdata) == [point["category"] for point in harmful]
    assert "layer 14" in figures.pca(results).layout.xaxis.title.text


def test_pca_of_many_layers_keeps_first_and_last(results):
    one = results["pca"][0]
    results["pca"] = [{**one, "layer": layer} for layer in range(40)]
    titles = [note.text for note in figures.pca_layers(results).layout.annotations]
    assert len(titles) == figures.MULTIPLES
    assert (titles[0], titles[-1]) == ("Layer 0", "Layer 39")


def test_damage_is_drawn_by_operator_and_sites(results):
    figure = figures.damage(results)
    drawn = trace(figure, "Subtract, all layers")
    rows = [r for r in results["damage"] if (r["op"], r["sites"]) == ("subtract", "all layers")]
    assert list(drawn.x) == [row["kl_mean"] for row in rows]
    assert list(drawn.y) == [row["rate"] for row in rows]
    assert figure.layout.xaxis.type == "log"
    results["damage"][0]["kl_mean"] = 0.0
    assert figures.damage(results).layout.xaxis.type != "log"


def test_scores_stand_in_where_there_are_no_rates(results):
    for row in results["scopes"]:
        for key in ("rate", "ci_low", "ci_high"):
            del row[key]
        row.update(score_mean=-1.0, score_ci_low=-1.5, score_ci_high=-0.5)
    figure = figures.scopes(results)
    assert figure.layout.xaxis.title.text == "Refusal score (nats)"
    assert ends(figure.data[0], "x") == ([-1.5] * 6, [-0.5] * 6)


def test_boost_labels_the_published_number(results):
    (drawn,) = figures.boost(results).data
    assert drawn.x[-1] == 8
    assert drawn.y[-1] == "Vicuna-13B,<br>as published"
    assert drawn.error_x.array[-1] == 0


def test_heat_maps_hold_each_cell(results):
    (heat,) = figures.repe_table(results).data
    row = results["repe"]["table"][5]
    column = list(heat.x).index(f"{row['coefficient']:g}")
    line = list(heat.y).index(f"{row['layers'][0]}–{row['layers'][1]}")
    assert heat.z[line][column] == row["validation_score"]
    (factors,) = figures.factorial(results).data
    assert sorted(cell for line in factors.z for cell in line) == sorted(r["score_mean"] for r in results["factorial"])


def test_heads_curve_keeps_the_kinds_apart(results):
    figure = figures.heads_curve(results)
    for kind, name in (
        ("attributed", "Largest attribution"),
        ("greedy", "Greedy"),
        ("random", "Random, same layers"),
    ):
        rows = sorted((r for r in results["heads"]["curve"] if r["kind"] == kind), key=lambda r: r["k"])
        assert list(trace(figure, name).x) == [r["k"] for r in rows]
        assert list(trace(figure, name).y) == [r["rate"] for r in rows]


def test_dose_has_both_operators_and_the_two_means(results):
    figure = figures.dose(results)
    rows = [r for r in results["dose"] if r["op"] == "add"]
    assert list(trace(figure, "Add").x) == [r["target"] for r in rows]
    assert list(trace(figure, "Harmful mean").x) == [results["direction"]["harmful_mean"]] * 2


def test_every_control_direction_is_drawn(results):
    drawn = figures.random_controls(results).data
    values = sorted(value for t in drawn[:2] for value in t.x)
    assert values == sorted(row["score_mean"] for row in results["random_controls"])


def test_svgs_parse_and_contain_title_axis_titles_and_legend(results):
    for drawing, figure in drawings.drawn(results):
        svg = static.to_svg(figure, drawing.title)
        texts = " ".join("".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text"))
        assert drawing.title in texts, drawing.name
        for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
            if axis.title.text:
                assert axis.title.text in texts, drawing.name
        for t in figure.data:
            if t.name and t.showlegend is not False and t.type != "heatmap":
                assert t.name in texts, drawing.name


def test_svg_of_a_dot_plot_names_every_condition(results):
    svg = static.to_svg(figures.rates_harmless(results))
    texts = {"".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert {wording.condition(r["condition"]) for r in results["rates"] if r["prompts"] == "harmless"} <= texts


def test_svg_is_the_same_each_time(results):
    first, second = (static.to_svg(figures.damage(results), "t") for _ in range(2))
    assert first == second


def test_svg_refuses_a_trace_it_does_not_know():
    with pytest.raises(RhatError, match="scatter, bar, heatmap traces, got pie"):
        static.to_svg(go.Figure(go.Pie(values=[1, 2])))
