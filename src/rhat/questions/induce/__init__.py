"""Is adding as good as setting?"""

from rhat.questions.induce import figures
from rhat.questions.induce.rows import Rows
from rhat.questions.induce.tables import tables
from rhat.questions.induce.verdict import verdict
from rhat.questions.question import EVERY, Drawing, Experiment, Question

QUESTION = Question(
    key="induce",
    title="Is adding as good as setting?",
    asked=(
        "Setting moves every token's projection on r̂ to the harmful mean. Does adding that mean, or the "
        "raw difference of means, make the model refuse harmless prompts as often? If not, is it because "
        "harmless prompts do not project to zero?"
    ),
    how=(
        "Harmless test prompts, greedy decoding; the default judge reads the opening of each answer. "
        "Conditions are compared on the same prompts: Tango's paired interval, exact McNemar p, and two "
        "one-sided tests at the margin. By layer, each layer has its own r̂ and target. "
        "Four kinds of control directions, all orthogonal to r̂ (isotropic, with the covariance of activations, from permuted labels, "
        "between harmless topics), are tested at the displacement of r̂'s edit and at its damage."
    ),
    experiments=(
        Experiment("induce", EVERY),
        Experiment("layers"),
        Experiment("controls"),
    ),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "rates_harmless",
            "Refusal of harmless prompts",
            "One dot a condition with its 95% interval.",
            figures.rates_harmless,
        ),
        Drawing(
            "matched_controls",
            "r̂ among control directions",
            "Effect on the refusal score of r̂ and of each control, at equal displacement and at equal damage.",
            figures.matched_controls,
        ),
        Drawing(
            "set_add_layers",
            "Setting against adding, layer by layer",
            "Above, mean projections by layer; below, how much more setting refuses than adding.",
            figures.set_add_layers,
        ),
        Drawing(
            "set_add_zero",
            "Where harmless prompts lie, and how far setting and adding part",
            "One dot a layer: setting minus adding against the mean projection of harmless prompts.",
            figures.set_add_zero,
        ),
        Drawing(
            "prediction",
            "Setting's effect, predicted from adding's dose curve",
            "Predicted and observed refusal under setting, and observed under adding.",
            figures.prediction,
        ),
    ),
    labels={"better": "adding refuses more", "worse": "adding refuses less"},
    headline=True,
)
