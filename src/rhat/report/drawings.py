"""The list of the report's figures: their names, titles and text alternatives, in the order of the page."""

from collections.abc import Callable
from dataclasses import dataclass

from rhat.report import figures
from rhat.report.figures import Figure, Results


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: `name` is its file's stem, `alt` its text alternative."""

    name: str
    question: int
    title: str
    alt: str
    draw: Callable[[Results], Figure | None]


FIGURES: tuple[Drawing, ...] = (
    Drawing(
        "rates_harmless",
        1,
        "Refusal of harmless prompts",
        "One dot a condition with its 95% interval.",
        figures.rates_harmless,
    ),
    Drawing(
        "set_add_layers",
        1,
        "Setting against adding, layer by layer",
        "Above, mean projections by layer; below, how much more setting refuses than adding.",
        figures.set_add_layers,
    ),
    Drawing(
        "set_add_zero",
        1,
        "Where harmless prompts lie, and how far setting and adding part",
        "One dot a layer: setting minus adding against the mean projection of harmless prompts.",
        figures.set_add_zero,
    ),
    Drawing(
        "prediction",
        1,
        "Setting's effect, predicted from adding's dose curve",
        "Predicted and observed refusal under setting, and observed under adding.",
        figures.prediction,
    ),
    Drawing(
        "projections",
        2,
        "Projection by layer",
        "Mean projection of each kind of test prompt by layer, with one standard deviation.",
        figures.projections,
    ),
    Drawing(
        "auroc",
        2,
        "Separation by layer",
        "AUROC of the test projection by layer, with 95% intervals.",
        figures.auroc,
    ),
    Drawing(
        "histogram",
        2,
        "Projections at r̂'s layer",
        "Histogram of the test projections of each kind of prompt.",
        figures.histogram,
    ),
    Drawing(
        "trajectories",
        2,
        "Projection over the tokens of single prompts",
        "One line a prompt, aligned at its last token.",
        figures.trajectories,
    ),
    Drawing(
        "pca",
        3,
        "The first two principal components at r̂'s layer",
        "One dot a prompt, coloured by its kind.",
        figures.pca,
    ),
    Drawing(
        "pca_layers",
        3,
        "The same at other layers",
        "Small multiples, one for each of several layers.",
        figures.pca_layers,
    ),
    Drawing(
        "pca_cosine",
        3,
        "The first component and r̂",
        "Cosine of the first component with r̂, and its share of variance, by layer.",
        figures.pca_cosine,
    ),
    Drawing(
        "rates_harmful",
        4,
        "Refusal of harmful prompts",
        "One dot a condition with its 95% interval.",
        figures.rates_harmful,
    ),
    Drawing(
        "damage",
        4,
        "Refusal against damage",
        "Refusal of harmful prompts against mean KL on harmless ones, by operator and sites.",
        figures.damage,
    ),
    Drawing(
        "scopes",
        5,
        "Setting under each token scope (share of tokens edited)",
        "One dot a scope with its 95% interval.",
        figures.scopes,
    ),
    Drawing(
        "scope_share",
        5,
        "Refusal against the share of tokens edited",
        "One dot a scope, placed by the share of tokens it edits.",
        figures.scope_share,
    ),
    Drawing(
        "boost",
        6,
        "Boost over baseline",
        "Boost in points with 95% intervals, beside the published one.",
        figures.boost,
    ),
    Drawing(
        "factorial",
        6,
        "What makes the difference",
        "Refusal score for each combination of direction, operator, layers, scope and dose.",
        figures.factorial,
    ),
    Drawing(
        "repe_table",
        6,
        "RepE control on validation prompts",
        "Refusal score for each range of layers and coefficient.",
        figures.repe_table,
    ),
    Drawing(
        "heads_curve",
        7,
        "Refusal against the number of heads patched",
        "Heads by attribution, greedily chosen and random, with 95% intervals.",
        figures.heads_curve,
    ),
    Drawing(
        "heads_ranking",
        7,
        "The heads that write r̂",
        "The sixteen largest contributions to the gap.",
        figures.heads_ranking,
    ),
    Drawing(
        "finders",
        8,
        "Finders",
        "Test accuracy with 95% intervals, and cosine with r̂, by finder.",
        figures.finders,
    ),
    Drawing(
        "finders_effect",
        8,
        "Setting each finder's direction",
        "Refusal of harmless prompts with 95% intervals, by finder.",
        figures.finders_effect,
    ),
    Drawing(
        "rates_borderline",
        9,
        "Refusal of borderline prompts",
        "One dot a condition with its 95% interval.",
        figures.rates_borderline,
    ),
    Drawing(
        "borderline_projections",
        9,
        "Where borderline prompts lie",
        "Mean projection with one standard deviation, by kind of prompt.",
        figures.borderline_projections,
    ),
    Drawing(
        "dose",
        10,
        "Dose and response",
        "Refusal with 95% intervals against the projection aimed at, and the damage below.",
        figures.dose,
    ),
    Drawing("stability", 11, "Refits of r̂", "One dot a refit: its cosine.", figures.stability),
    Drawing(
        "refits",
        11,
        "Directions found after ablating r̂",
        "Refusal induced and left by the direction of each round, with 95% intervals.",
        figures.refits,
    ),
    Drawing(
        "random_controls",
        0,
        "Control directions given the same displacement",
        "Refusal of harmless prompts under each control direction, beside baseline and the real one.",
        figures.random_controls,
    ),
    Drawing(
        "candidates",
        0,
        "Induce score of every candidate",
        "Heat map by layer and token position; a circle marks the one selected.",
        figures.candidates,
    ),
)


def drawn(results: Results) -> list[tuple[Drawing, Figure]]:
    """Every figure that the run has numbers for."""
    made = [(drawing, drawing.draw(results)) for drawing in FIGURES]
    return [(drawing, figure) for drawing, figure in made if figure is not None]
