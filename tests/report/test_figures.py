import itertools
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest

import studies
from rhat import results as contract
from rhat.artifacts.rows import Part
from rhat.display import static, wording
from rhat.errors import RhatError
from rhat.questions import QUESTIONS
from rhat.questions.pca.figures import MULTIPLES
from rhat.report import drawings
from rhat.results import records

SVG = "{http://www.w3.org/2000/svg}"


DRAW = {drawing.name: drawing.draw for drawing in drawings.FIGURES}


def draw(name, results):
    return DRAW[name](records(results))


def trace(figure, name):
    return next(t for t in figure.data if t.name == name)


def ends(trace, axis="y"):
    """Interval ends that the error bars reach."""
    bars, values = trace[f"error_{axis}"], trace[axis]
    low = [v - down for v, down in zip(values, bars.arrayminus, strict=True)]
    return low, [v + up for v, up in zip(values, bars.array, strict=True)]


def test_every_figure_is_drawn_from_a_study(run, released):
    newer = {d.name for question in QUESTIONS if question.key not in studies.RELEASED_ASKED for d in question.figures}
    lacking = {*newer, *studies.RELEASED_LACKS} if run is released else studies.NEEDS_CATEGORIES
    assert [d.name for d, _ in drawings.drawn(run)] == [d.name for d in drawings.FIGURES if d.name not in lacking]


def test_every_question_has_its_figures_on_the_page():
    assert [d.name for question in QUESTIONS for d in question.figures] == [d.name for d in drawings.FIGURES][1:-2]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.key)
def test_a_figure_does_without_each_field_of_its_question(released, question):
    own = set(question.rows.model_fields) - set(Part.model_fields) if question.rows else {"comparisons"}
    for name in (*own, "direction", "rates"):
        without = released.model_copy(update={name: type(released).model_fields[name].default})
        for drawing in question.figures:
            drawing.draw(without)


def test_svgs_parse_and_contain_title_axis_titles_and_legend(run):
    for drawing, figure in drawings.drawn(run):
        svg = static.to_svg(figure, drawing.title)
        texts = " ".join("".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text"))
        assert drawing.title in texts, drawing.name
        for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
            if axis.title.text:
                assert axis.title.text in texts, drawing.name
        for t in figure.data:
            if t.name and t.showlegend is not False and t.type != "heatmap":
                assert t.name in texts, drawing.name


def test_names_are_unique_and_every_figure_has_a_text_alternative():
    names = [d.name for d in drawings.FIGURES]
    assert len(set(names)) == len(names)
    assert all(d.alt and d.title for d in drawings.FIGURES)


@pytest.mark.parametrize("prompts", ["harmless", "harmful", "borderline"])
def test_rates_and_their_intervals(results, prompts):
    rows = [row for row in results["rates"] if row["prompts"] == prompts]
    (drawn,) = draw(f"rates_{prompts}", results).data
    assert list(drawn.x) == [row["rate"] for row in rows]
    assert list(drawn.y) == [wording.condition(row["condition"]) for row in rows]
    low, high = ends(drawn, "x")
    assert low == pytest.approx([row["ci_low"] for row in rows])
    assert high == pytest.approx([row["ci_high"] for row in rows])


def test_gap_by_layer(results):
    figure = draw("set_add_layers", results)
    rows = results["layers"]
    drawn = trace(figure, "Set − add, 95% interval")
    assert list(drawn.x) == [row["layer"] for row in rows]
    assert list(drawn.y) == [row["gap"] for row in rows]
    assert ends(drawn)[0] == pytest.approx([row["ci_low"] for row in rows])
    assert list(trace(figure, "Harmless mean").y) == [row["harmless_mean_projection"] for row in rows]
    zero = trace(draw("set_add_zero", results), "One layer, 95% interval")
    assert list(zero.x) == [row["harmless_mean_projection"] for row in rows]


def test_projections_show_one_standard_deviation(results):
    rows = [row for row in results["projections"] if (row["label"], row["split"]) == ("harmful", "test")]
    drawn = trace(draw("projections", results), "Harmful")
    assert list(drawn.y) == [row["mean"] for row in rows]
    assert ends(drawn)[1] == pytest.approx([row["mean"] + row["sd"] for row in rows])


def test_training_projections_are_not_drawn_as_test_ones(results):
    for row in results["projections"]:
        row["split"] = "train"
    assert draw("projections", results) is None


def test_histogram_bars_stand_between_the_edges(results):
    row = next(r for r in results["histogram"] if r["label"] == "harmless")
    bars = trace(draw("histogram", results), "Harmless")
    assert list(bars.y) == row["counts"]
    assert list(bars.x) == [(a + b) / 2 for a, b in itertools.pairwise(row["edges"])]


def test_trajectories_end_at_the_last_prompt_token_and_leave_out_the_first(results):
    for drawn, row in zip(draw("trajectories", results).data, results["trajectories"], strict=True):
        assert drawn.x[-1] == -1
        assert list(drawn.y) == row["values"][1:]
    outlier, rest = row["values"][0], row["values"][1:]
    assert abs(outlier) > 3 * max(map(abs, rest))  # on the default model; else there would be no reason to


def test_pca_draws_the_chosen_layer_and_hovers_by_category(results):
    row = next(row for row in results["pca"] if row["layer"] == results["direction"]["layer"])
    harmful = [point for point in row["points"] if point["label"] == "harmful"]
    drawn = trace(draw("pca", results), "Harmful")
    assert list(drawn.x) == [point["x"] for point in harmful]
    assert list(drawn.customdata) == [point["category"] for point in harmful]
    assert "layer 18" in draw("pca", results).layout.xaxis.title.text


def test_pca_of_many_layers_keeps_first_and_last(results):
    one = results["pca"][0]
    results["pca"] = [{**one, "layer": layer} for layer in range(40)]
    titles = [note.text for note in draw("pca_layers", results).layout.annotations]
    assert len(titles) == MULTIPLES
    assert (titles[0], titles[-1]) == ("Layer 0", "Layer 39")


def test_damage_is_drawn_by_operator_and_sites(results):
    figure = draw("damage", results)
    drawn = trace(figure, "Subtract, all layers")
    rows = [r for r in results["damage"] if (r["op"], r["sites"]) == ("subtract", "all layers")]
    rows.sort(key=lambda r: r["kl_mean"])
    assert list(drawn.x) == pytest.approx([row["kl_mean"] for row in rows])
    assert list(drawn.y) == [row["score_mean"] for row in rows]
    assert figure.layout.xaxis.type == "log"
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert all(ticks["none"] < row["kl_mean"] for row in results["damage"] if row["kl_mean"] > 0)
    (baseline,) = [r for r in results["damage"] if r["op"] == "none"]
    assert baseline["kl_mean"] == 0
    assert [ticks["none"]] == list(trace(figure, "None, own layer").x) or [ticks["none"]] == list(
        trace(figure, "None, all layers").x
    )
    del results["damage"][results["damage"].index(baseline)]
    assert "none" not in draw("damage", results).layout.xaxis.ticktext


def test_boost_labels_the_published_number(results):
    (drawn,) = draw("boost", results).data
    assert drawn.x[-1] == 8
    assert drawn.y[-1] == "Vicuna-13B,<br>as published"
    assert drawn.error_x.array[-1] == 0


def test_heat_maps_hold_each_cell(results):
    (heat,) = draw("repe_table", results).data
    row = results["repe"]["table"][5]
    column = list(heat.x).index(f"{row['coefficient']:.3g}")
    line = list(heat.y).index(f"{row['layers'][0]}–{row['layers'][1]}")
    assert heat.z[line][column] == row["validation_score"]
    (factors,) = draw("factorial", results).data
    assert sorted(cell for line in factors.z for cell in line) == sorted(r["score_mean"] for r in results["factorial"])


def test_heads_curve_keeps_the_kinds_apart(results):
    figure = draw("heads_curve", results)
    for kind, name in (
        ("attributed", "Largest attribution"),
        ("greedy", "Greedy"),
        ("random", "Random, same layers"),
    ):
        rows = sorted((r for r in results["heads"]["curve"] if r["kind"] == kind), key=lambda r: r["k"])
        assert list(trace(figure, name).x) == [r["k"] for r in rows]
        assert list(trace(figure, name).y) == [r["score_mean"] for r in rows]


def test_dose_has_both_operators_and_the_two_means(results):
    figure = draw("dose", results)
    rows = sorted(r["target"] for r in results["dose"] if r["op"] == "set_projection")
    assert list(trace(figure, "Set").x) == rows
    assert list(trace(figure, "Harmful mean").x) == [results["direction"]["harmful_mean"]] * 2


@pytest.mark.parametrize("folder", [studies.RELEASED, studies.EXAMPLE])
def test_every_control_direction_is_drawn_in_the_panel_of_its_prompts(folder):
    results = contract.load(folder)
    rows, figure = results.random_controls, DRAW["random_controls"](results)
    shown = [label for label in ("harmless", "harmful") if any(row.prompts == label for row in rows)]
    assert [note.text for note in figure.layout.annotations] == [f"{label.capitalize()} prompts" for label in shown]
    for axis, label in zip(("x", "x2"), shown, strict=False):
        beside = ("baseline", {"harmless": "set_projection", "harmful": "ablate"}[label])
        mine = [row for row in rows if row.prompts == label]
        mine += [row for row in results.scores if row.prompts == label and row.condition in beside]
        drawn = [value for trace in figure.data if (trace.xaxis or "x") == axis for value in trace.x]
        assert sorted(drawn) == sorted(row.score_mean for row in mine)


def test_svg_of_a_dot_plot_names_every_condition(results):
    svg = static.to_svg(draw("rates_harmless", results))
    texts = {"".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert {wording.condition(r["condition"]) for r in results["rates"] if r["prompts"] == "harmless"} <= texts


def test_svg_is_the_same_each_time(results):
    first, second = (static.to_svg(draw("damage", results), "t") for _ in range(2))
    assert first == second


def test_svg_refuses_a_trace_it_does_not_know():
    with pytest.raises(RhatError, match="scatter, bar, heatmap traces, got pie"):
        static.to_svg(go.Figure(go.Pie(values=[1, 2])))
