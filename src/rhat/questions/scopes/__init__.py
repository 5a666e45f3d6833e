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
        "Setting under each token scope on harmless test prompts. A scope is enough when the 90% "
        "interval of its difference from all tokens stays above minus the margin (non-inferiority)."
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
