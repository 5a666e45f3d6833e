"""Scoring: refusal by judges, phrases and first-token log-odds, and drift from the unedited model."""

from rhat.scoring.drift import Drift, cross_entropy, kl_divergence
from rhat.scoring.judges import judge_answers
from rhat.scoring.logodds import last_token_scores, refusal_score
from rhat.scoring.phrases import Phrases, Verdict, is_degenerate, is_refusal, settled, verdict
from rhat.scoring.refusals import Refusals, refusals
from rhat.scoring.tokens import RefusalToken, find_refusal_tokens

__all__ = [
    "Drift",
    "Phrases",
    "RefusalToken",
    "Refusals",
    "Verdict",
    "cross_entropy",
    "find_refusal_tokens",
    "is_degenerate",
    "is_refusal",
    "judge_answers",
    "kl_divergence",
    "last_token_scores",
    "refusal_score",
    "refusals",
    "settled",
    "verdict",
]
