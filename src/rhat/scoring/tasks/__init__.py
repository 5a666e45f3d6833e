"""What one process does with a shard of the work: score prompts, let them be answered, read and average
activations, score texts and options.

Each task is `task(worker, common, shard)`, for any executor. A shard is whole batches of a plan that is the same for
everybody, so that a prompt is run in the same company, and gives the same numbers, wherever it is run.
"""

from rhat.scoring.tasks.activations import Averaged, Averaging, Reading, Summing, average, read, sums
from rhat.scoring.tasks.answers import ANSWERED, Answering, Answers, Group, answer, groups
from rhat.scoring.tasks.beside import Asked, Texts, entropies, rightly
from rhat.scoring.tasks.prompts import Prompts, Unedited, at_answers, planned, unedited
from rhat.scoring.tasks.scores import BATCHES, RANGES, Run, Scores, Scoring, in_order, score, score_all

__all__ = [
    "ANSWERED",
    "BATCHES",
    "RANGES",
    "Answering",
    "Answers",
    "Asked",
    "Averaged",
    "Averaging",
    "Group",
    "Prompts",
    "Reading",
    "Run",
    "Scores",
    "Scoring",
    "Summing",
    "Texts",
    "Unedited",
    "answer",
    "at_answers",
    "average",
    "entropies",
    "groups",
    "in_order",
    "planned",
    "read",
    "rightly",
    "score",
    "score_all",
    "sums",
    "unedited",
]
