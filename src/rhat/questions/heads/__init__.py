"""How few heads?"""

from rhat.questions.heads import figures
from rhat.questions.heads.rows import Rows
from rhat.questions.heads.tables import tables
from rhat.questions.heads.verdict import verdict
from rhat.questions.question import Drawing, Experiment, Question

QUESTION = Question(
    key="heads",
    title="How few heads?",
    asked=(
        "How few attention heads, patched at one token position with their harmful means, make the model "
        "refuse harmless prompts?"
    ),
    how=(
        "Heads below r̂'s layer are ranked by their contribution to the gap in projection. The outputs "
        "of the top k at one position are replaced by their means over harmful prompts; the control "
        "patches as many random heads of the same layers, ten draws of them. The smallest k is decided by "
        "generation: from the most heads down, each k must refuse more than no patch and than random "
        "heads (exact tests, a fixed sequence at 5%)."
    ),
    experiments=(Experiment("heads"),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "heads_curve",
            "Refusal against the number of heads patched",
            "Heads by attribution, greedily chosen and random, with 95% intervals.",
            figures.heads_curve,
        ),
        Drawing(
            "heads_ranking",
            "The heads that write r̂",
            "The sixteen largest contributions to the gap.",
            figures.heads_ranking,
        ),
    ),
    labels={"better": "a few refuse more", "undecided": "not shown"},
    headline=True,
)
