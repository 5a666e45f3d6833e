"""How long must answers be read?"""

from rhat.questions.horizon import figures
from rhat.questions.horizon.rows import Rows
from rhat.questions.horizon.tables import tables
from rhat.questions.horizon.verdict import verdict
from rhat.questions.question import EVERY, Drawing, Experiment, Question

QUESTION = Question(
    key="horizon",
    title="How long must answers be read?",
    asked="Do refusals come late, and do answers that open one way turn into the other, after the tokens that are judged?",
    how=(
        "Longer answers under the main conditions, judged again after more and more of their tokens. The class after all tokens is "
        "compared, answer by answer, with the class after the tokens that the rest of this study reads."
    ),
    experiments=(Experiment("horizon", EVERY),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "horizon",
            "Refusal against tokens read",
            "One curve a condition with 95% intervals: the share of answers judged refused after so many tokens.",
            figures.horizon,
        ),
    ),
    labels={
        "equivalent": "reading on changes little",
        "better": "refusals come late",
        "worse": "refusals turn into help",
    },
)
