"""Is it one direction?"""

from rhat.questions.question import Drawing, Experiment, Question
from rhat.questions.stability import figures
from rhat.questions.stability.rows import Rows
from rhat.questions.stability.tables import tables
from rhat.questions.stability.verdict import verdict

QUESTION = Question(
    key="stability",
    title="Is it one direction?",
    asked=(
        "How stable is r̂ over halves and draws of the training prompts, and what is left to find once it is ablated?"
    ),
    how=(
        "Directions are refitted on other training prompts, and again after ablating those found before; "
        "each is then set on harmless and ablated on harmful prompts. Training and validation topics are also drawn anew with "
        "replacement, r̂ is made and chosen again from each draw, and each such r̂ is set on harmless prompts by generation."
    ),
    experiments=(Experiment("stability"), Experiment("pipeline"), Experiment("seeds", ())),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing("stability", "Refits of r̂", "One dot a refit: its cosine.", figures.stability),
        Drawing(
            "refits",
            "Directions found after ablating r̂",
            "Refusal induced and left by the direction of each round, with 95% intervals.",
            figures.refits,
        ),
    ),
    labels={},
    headline=False,
)
