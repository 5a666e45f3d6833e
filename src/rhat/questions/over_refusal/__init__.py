"""Is over-refusal the same direction?"""

from rhat.questions.over_refusal import figures
from rhat.questions.over_refusal.rows import Rows
from rhat.questions.over_refusal.tables import tables
from rhat.questions.over_refusal.verdict import verdict
from rhat.questions.question import Drawing, Experiment, Question

QUESTION = Question(
    key="over_refusal",
    title="Is over-refusal the same direction?",
    asked=(
        "Harmless requests with alarming words: how often are they refused, where do they lie along r̂, "
        "and do edits along it help?"
    ),
    how=("Borderline prompts, which took no part in finding r̂. Fewer refusals are better here."),
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
            "Refusal of borderline prompts",
            "One dot a condition with its 95% interval.",
            figures.rates_borderline,
        ),
        Drawing(
            "borderline_projections",
            "Where borderline prompts lie",
            "Mean projection with one standard deviation, by kind of prompt.",
            figures.borderline_projections,
        ),
    ),
    labels={"better": "fewer refusals", "worse": "more refusals"},
    headline=False,
)
