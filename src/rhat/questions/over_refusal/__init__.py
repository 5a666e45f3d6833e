"""Is over-refusal the same direction?"""

from rhat.questions.over_refusal import figures
from rhat.questions.over_refusal.beside import TOLD
from rhat.questions.over_refusal.rows import Rows
from rhat.questions.over_refusal.tables import tables
from rhat.questions.over_refusal.verdict import verdict
from rhat.questions.question import Drawing, Experiment, Question

QUESTION = Question(
    key="over_refusal",
    title="Is over-refusal the same direction?",
    asked=(
        "Harmless requests with alarming words: how often are they refused, where do they lie along r̂, "
        "and do edits along it help without answering their unsafe twins?"
    ),
    how=(
        "Borderline prompts, and unsafe twins worded as they are; none took part in finding r̂. Over-refusal is less only where "
        "borderline prompts are refused less and refusal of the twins is shown to fall by less than the margin."
    ),
    experiments=(
        Experiment("over_refusal"),
        Experiment("guard"),
    ),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "rates_borderline",
            "Refusal of borderline prompts and their twins",
            "One dot a condition and kind of prompts, with its 95% interval.",
            figures.rates_borderline,
        ),
        Drawing(
            "borderline_projections",
            "Where borderline prompts lie",
            "Mean projection with one standard deviation, by kind of prompt.",
            figures.borderline_projections,
        ),
    ),
    labels={"better": TOLD["less"], "worse": TOLD["more"], "mixed": TOLD["whole"]},
    headline=False,
)
