"""Verdict: Ablating or subtracting?"""

from __future__ import annotations

from rhat.artifacts.rows import Comparison
from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import difference, interval, number
from rhat.errors import ArtifactError
from rhat.questions.question import Verdict
from rhat.questions.sentences import describe, flipped
from rhat.questions.suppress.rows import Matched, Rows

SITES = {
    "mixed": "Subtracting at its own layer beside ablating at all layers",
    "own layer": "Both at the own layer",
    "all layers": "Both at all layers",
}


def verdict(results: Results) -> Verdict | None:
    """Ablating or subtracting? On harmful prompts a lower rate is the stronger effect."""
    both = results.part(Rows).ablate_vs_subtract
    against = results.comparison("ablate", "baseline", "harmful")
    direct = results.comparison("subtract", "ablate", "harmful")
    matched = both.matched if both else ()
    if not (matched or direct or against):
        return None
    rows: list[Comparison | Matched] = [*([direct] if direct else []), *matched]
    words = {_told(row) for row in rows or ([against] if against else [])}
    word = words.pop() if len(words) == 1 else "mixed"
    parts = [_removal(results)]
    if direct:
        told = wording.inside(describe(results, direct))
        parts.append(f"By generation, at the published doses{_damage(results)}: {told}")
    parts += [
        f"{SITES[row.sites]}, at matched damage (KL {number(row.kl_treatment, 3)} and {number(row.kl_reference, 3)}), "
        f"by first-token log-odds: {_stronger(row)} ({difference(row)}, n = {row.n})."
        for row in matched
    ]
    reasons = [describe(results, against)] if against else []
    if against and not rows:
        parts.append(reasons.pop())
    told = " ".join(parts).strip()
    if rank := both.spearman_projection_gap if both else None:
        holds = {"better": "smaller", "worse": "larger"}.get(rank.verdict)
        text = "no clear trend" if holds is None else f"the gap is {holds} where the projection is smaller"
        rho = f"{number(rank.rho)} {interval(rank.ci_low, rank.ci_high)}"
        reasons = [*reasons, f"Per prompt: {text} (Spearman's ρ {rho}, n = {rank.n})."]
    return Verdict(word, told, tuple(reasons))


def _told(row: Comparison | Matched) -> str:
    """The judgement of a comparison on harmful prompts, where fewer refusals are better, told of ablating."""
    treated = row.treatment.partition(":")[0]
    if "ablate" not in (treated, row.reference.partition(":")[0]):
        raise ArtifactError(
            f"comparisons: expected one with ablate, got {row.treatment} − {row.reference} on harmful prompts"
        )
    return flipped(row.verdict) if treated == "ablate" else str(row.verdict)


def _damage(results: Results) -> str:
    """What subtracting and ablating do to harmless prompts, where both were measured."""
    kl = {row.condition: row.kl_mean for row in results.drift if row.prompts == "harmless"}
    if not {"ablate", "subtract"} <= kl.keys():
        return ""
    return (
        f", whose damage differs (KL of subtracting {number(kl['subtract'], 3)}, of ablating {number(kl['ablate'], 3)})"
    )


def _stronger(row: Matched) -> str:
    words = {"better": "removes less refusal than", "worse": "removes more refusal than"}
    verb = words.get(row.verdict, "cannot be distinguished from")
    return f"{row.treatment.partition(':')[0]} {verb} {row.reference.partition(':')[0]}"


def _removal(results: Results) -> str:
    rows = [results.rate(name, "harmful") for name in ("baseline", "ablate", "subtract")]
    shown = [f"{wording.inside(wording.condition(r.condition))} {wording.rate(r)}" for r in rows if r]
    return f"Refusals of harmful prompts: {', '.join(shown)}." if len(shown) > 1 else ""
