"""What do projections look like?"""

from rhat.questions.projections import figures
from rhat.questions.projections.rows import Rows
from rhat.questions.projections.tables import tables
from rhat.questions.projections.verdict import verdict
from rhat.questions.question import EVERY, Drawing, Experiment, Question

QUESTION = Question(
    key="projections",
    title="What do projections look like?",
    asked=(
        "Where do harmful and harmless prompts lie along r̂, at each layer and along a single prompt, "
        "and how well does the projection tell them apart?"
    ),
    how=(
        "Projection on the unit direction at the chosen token position, on test prompts. Harmful against "
        "harmless is a contrast of topics too. The answer is therefore about refused and complied prompts among the harmful "
        "ones, compared with what the words alone tell (a logistic regression on the same training prompts). r̂ is also found "
        "without each category and tested on it."
    ),
    experiments=(Experiment("projections", EVERY),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "projections",
            "Projection by layer",
            "Mean projection of each kind of test prompt by layer, with one standard deviation.",
            figures.projections,
        ),
        Drawing(
            "auroc", "Separation by layer", "AUROC of the test projection by layer, with 95% intervals.", figures.auroc
        ),
        Drawing(
            "transfer",
            "r̂ found without a category, tested on each",
            "AUROC against harmless prompts; on the diagonal stand categories that r̂ never saw.",
            figures.transfer,
        ),
        Drawing(
            "histogram",
            "Projections at r̂'s layer",
            "Histogram of the test projections of each kind of prompt.",
            figures.histogram,
        ),
        Drawing(
            "trajectories",
            "Projection over the tokens of single prompts",
            "One line a prompt, aligned at its last token, without its first.",
            figures.trajectories,
        ),
    ),
    labels={"better": "separated", "worse": "below chance", "undecided": "not separated"},
    headline=False,
)
