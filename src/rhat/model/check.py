"""Self-check: every site of a model reads the right shape, an edit there moves the logits, and the parts add up."""

from __future__ import annotations

from rhat.model.chat import ChatModel
from rhat.model.checkreport import Check, CheckReport
from rhat.model.laws import Laws
from rhat.model.siteproofs import SiteProofs


def check(model: ChatModel) -> CheckReport:
    """Prove a model's layout by running it; takes a few forward passes of short prompts, and longer ones up to a bound.

    Many sites of a kind are proved in one pass: each row of a batch is edited at one layer only, and the last row nowhere.

    Raises:
        NonFiniteError: if the logits of the unedited model are no distribution: nothing can be proved of those.
    """
    proofs = SiteProofs(model)
    checks = (*proofs.sites(), *Laws(model).laws())
    return CheckReport(
        model.name, type(model.hf).__name__, checks, model.fast, model.fast_path.reason, tuple(proofs.absent)
    )


__all__ = ["Check", "CheckReport", "check"]
