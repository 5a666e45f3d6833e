"""How much of the sequence is needed?"""

from rhat.questions.question import Drawing, Experiment, Question
from rhat.questions.scopes import figures
from rhat.questions.scopes.rows import Rows
from rhat.questions.scopes.tables import tables
from rhat.questions.scopes.verdict import verdict

QUESTION = Question(
    key="scopes",
    title="How much of the sequence is needed?",
    asked=("Must every token be edited, or do the prompt, the generated tokens, or a single token do?"),
    how=(
        "Setting under each token scope on harmless test prompts. Scopes are tested from the largest down; one is "
        "enough when it is non-inferior to all tokens (one-sided at 5%: the 90% interval above minus the margin) and "
        "so is every larger one: a fixed sequence, so that at most 5% of studies name a part that is not enough."
    ),
    experiments=(Experiment("scopes"),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "scopes",
            "Setting under each token scope (share of tokens edited)",
            "One dot a scope with its 95% interval.",
            figures.scopes,
        ),
        Drawing(
            "scope_share",
            "Refusal against the share of tokens edited",
            "One dot a scope, placed by the share of tokens it edits.",
            figures.scope_share,
        ),
    ),
    labels={"equivalent": "a part is enough", "worse": "all tokens are needed"},
    headline=True,
)
