"""What does PCA show?"""

from rhat.questions.pca import figures
from rhat.questions.pca.rows import Rows
from rhat.questions.pca.tables import tables
from rhat.questions.pca.verdict import verdict
from rhat.questions.question import EVERY, Drawing, Experiment, Question

QUESTION = Question(
    key="pca",
    title="What does PCA show?",
    asked=("Do the two kinds of prompts part in the first two principal components, and is the first of them r̂?"),
    how=(
        "Principal components of the activations of both kinds of test prompts together, centred, at the "
        "chosen position. Hovering shows a prompt's category, never its text."
    ),
    experiments=(Experiment("pca", EVERY),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "pca",
            "The first two principal components at r̂'s layer",
            "One dot a prompt, coloured by its kind.",
            figures.pca,
        ),
        Drawing(
            "pca_layers",
            "The same at other layers",
            "Small multiples, one for each of several layers.",
            figures.pca_layers,
        ),
        Drawing(
            "pca_cosine",
            "The first component and r̂",
            "Cosine of the first component with r̂, and its share of variance, by layer.",
            figures.pca_cosine,
        ),
    ),
    labels={},
    headline=False,
)
