"""How big is the boost, beside Zou et al.?"""

from rhat.questions.question import Drawing, Experiment, Question
from rhat.questions.repe import figures
from rhat.questions.repe.rows import Rows
from rhat.questions.repe.tables import tables
from rhat.questions.repe.verdict import verdict

QUESTION = Question(
    key="repe",
    title="How big is the boost, beside Zou et al.?",
    asked=(
        "How far does RepE control with LAT reading vectors raise refusal on the same prompts, compared with "
        "setting and with the number that Zou et al. report, and what makes the difference?"
    ),
    how=(
        "Control adds to each layer of a range its reading vector, in units of that layer's raw difference of means. Range and dose, "
        "and the target of setting, are chosen on the same validation prompts in the same way: the highest refusal rate by generation, "
        "then the least damage, with the grid widened while the best lies at its edge. Both are then compared at equal damage. "
        "The published number is theirs: another model, other prompts and another measurement."
    ),
    experiments=(Experiment("repe"),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "boost",
            "Boost over baseline",
            "Boost in points with 95% intervals, beside the published one.",
            figures.boost,
        ),
        Drawing(
            "factorial",
            "What makes the difference",
            "Refusal score for each combination of direction, operator, layers, scope and dose.",
            figures.factorial,
        ),
        Drawing(
            "repe_table",
            "RepE control on validation prompts",
            "Refusal score for each range of layers and coefficient.",
            figures.repe_table,
        ),
    ),
    labels={"better": "RepE refuses more", "worse": "RepE refuses less"},
    headline=True,
)
