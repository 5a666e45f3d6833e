"""Ablating or subtracting?"""

from rhat.questions.question import EVERY, Drawing, Experiment, Question
from rhat.questions.suppress import figures
from rhat.questions.suppress.rows import Rows
from rhat.questions.suppress.tables import tables
from rhat.questions.suppress.verdict import verdict

QUESTION = Question(
    key="suppress",
    title="Ablating or subtracting?",
    asked=(
        "Does taking out the component along r̂ remove refusal of harmful prompts better than "
        "subtracting a constant, and is the difference larger where the projection is small?"
    ),
    how=(
        "Refusal on harmful test prompts; damage on harmless ones as KL of the next token, cross-entropy "
        "of the model's own baseline answers, and degenerate answers. Operators and sites are crossed "
        "and compared at matched KL, so that neither stands in for the other. Fewer refusals mean a "
        "stronger effect here."
    ),
    experiments=(
        Experiment("suppress", EVERY),
        Experiment("damage"),
    ),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "rates_harmful",
            "Refusal of harmful prompts",
            "One dot a condition with its 95% interval.",
            figures.rates_harmful,
        ),
        Drawing(
            "damage",
            "Refusal against damage",
            "Refusal of harmful prompts against mean KL on harmless ones, by operator and sites.",
            figures.damage,
        ),
    ),
    labels={
        "better": "ablating removes more",
        "worse": "ablating removes less",
        "mixed": "depends on dose and measure",
    },
    headline=True,
)
