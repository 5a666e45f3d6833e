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
        "How far does RepE control with LAT reading vectors raise refusal on the same prompts, beside "
        "setting and beside the number that Zou et al. report, and what makes the difference?"
    ),
    how=(
        "Control adds a multiple of each layer's reading vector over a range of layers; the best range "
        "and multiple were chosen on validation prompts. The factorial is measured by first-token "
        "log-odds. The published number is theirs, on another model and other prompts."
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
