"""Which finder finds it?"""

from rhat.questions.finders import figures
from rhat.questions.finders.rows import Rows
from rhat.questions.finders.tables import tables
from rhat.questions.finders.verdict import verdict
from rhat.questions.question import Drawing, Experiment, Question

QUESTION = Question(
    key="finders",
    title="Which finder finds it?",
    asked=(
        "Do LAT, a logistic probe and CCS find the direction that the difference of means finds, and "
        "does setting theirs induce refusal?"
    ),
    how=(
        "Sign and threshold are fixed on training prompts, never on test ones. CCS is only a probe, and reads contrast pairs: a "
        "request, or a true or false statement, answered Yes and No. It is fitted at every layer, in fewer components than a quarter "
        "of the pairs, and compared with a ceiling (probes that are given the labels) and a floor (CCS on noise). The layer is chosen "
        "on training pairs."
    ),
    experiments=(Experiment("finders"),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "finders", "Finders", "Test accuracy with 95% intervals, and cosine with r̂, by finder.", figures.finders
        ),
        Drawing(
            "finders_effect",
            "Setting each finder's direction",
            "Refusal of harmless prompts with 95% intervals, by finder.",
            figures.finders_effect,
        ),
        Drawing(
            "probes",
            "Probes of contrast pairs",
            "Test accuracy by layer: with labels (the ceiling), without them, and on noise.",
            figures.probes,
        ),
    ),
    labels={},
    headline=False,
)
