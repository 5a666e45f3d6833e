"""Numbers and ids in words: "31% [26, 37]", "−11 points", "the last prompt token"."""

from typing import Any

from rhat.vocabulary import FINDER_KINDS, OPERATORS, SCOPES

Row = Any  # a record, or what has the same fields
Number = int | float  # as JSON gives them

CONDITIONS = {
    "baseline": "Baseline",
    "set_projection": "Set projection",
    "set_harmless_mean": "Set to harmless mean",
    "add_average": "Add mean",
    "add_difference": "Add difference",
    "ablate": "Ablate",
    "subtract": "Subtract",
    "repe_add": "RepE",
    "repe_equal_damage": "RepE at the damage of setting",
    "set_tuned": "Set projection, tuned",
    "random_set_projection": "Random, set",
    "random_add": "Random, add",
    "random_ablate": "Random, ablate",
}
PROMPTS = {"harmful": "harmful", "harmless": "harmless", "borderline": "borderline", "twin": "unsafe twin"}
"""What prompts of a label are called, before the word 'prompts'."""
FINDERS = {kind.name: kind.label for kind in FINDER_KINDS.values()} | {
    "ccs": "CCS",
    "ccs_on_noise": "CCS on noise",
    "pca": "PCA",
}


def condition(name: str) -> str:
    """A condition id in words."""
    kind, colon, rest = name.partition(":")
    if name in CONDITIONS or not colon:
        return CONDITIONS.get(name, name.replace("_", " ").capitalize())
    if kind == "horizon":
        return condition(rest)
    if kind == "scope":
        return f"Set, {scope(rest)}"
    if kind in ("heads", "random_heads"):
        plural = "head" if rest == "1" else "heads"
        return f"{rest} random {plural}" if kind == "random_heads" else f"{rest} {plural}"
    return f"{CONDITIONS.get(kind, kind.replace('_', ' ').capitalize())} ({rest.replace('_', ' ')})"


def inside(name: str) -> str:
    """A name in the middle of a sentence; acronyms keep their capitals."""
    return name if name[1:2].isupper() or name == "RepE" else name[:1].lower() + name[1:]


def scope(name: str) -> str:
    """A token scope in words."""
    kind, _, count = name.partition(":")
    return SCOPES[kind].label.format(n=count) if kind in SCOPES else name.replace("_", " ")


def operator(name: str) -> str:
    """An operator in a word."""
    return OPERATORS[name].word if name in OPERATORS else name.replace("_", " ")


def finder(name: str) -> str:
    """A finder in words, and what follows its colon."""
    kind, _, option = name.partition(":")
    told = FINDERS.get(kind, kind.replace("_", " ").capitalize())
    return f"{told} ({option.replace('_', ' ')})" if option else told


def direction(name: str) -> str:
    """A direction in a word."""
    return {"rhat": "r̂", "lat": "LAT", "ccs": "CCS"}.get(name, name.replace("_", " "))


def control(kind: str) -> str:
    """A kind of control directions in words."""
    return {"rhat": "r̂", "all": "All kinds", "harmless_topic": "Between harmless topics"}.get(
        kind, kind.replace("_", " ").capitalize()
    )


def number(value: Number, digits: int = 2) -> str:
    """A number with a true minus sign."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def percent(value: Number) -> str:
    """A share as a percentage: "31%", "1.2%"."""
    return f"{number(100 * value, 1 if 0 < abs(value) < 0.0995 else 0)}%"


def margin_points(share: Number) -> str:
    """A margin in percentage points as it was given, not rounded to one that was not tested: "10 points", "2.5 points"."""
    return f"{100 * share:.6g} points"


def asked(value: Number) -> str:
    """A number of nats as it was asked for: "0.20", "0.004"."""
    return number(value) if round(value, 2) == value else f"{value:.6g}"


def points(value: Number) -> str:
    """A difference of shares in percentage points: "−11.0 points"."""
    return f"{'+' if value > 0 else ''}{number(100 * value, 1)} points"


def interval(low: Number, high: Number, *, scale: Number = 1, digits: int = 2) -> str:
    """An interval: "[0.26, 0.37]"."""
    return f"[{number(scale * low, digits)}, {number(scale * high, digits)}]"


def rate(row: Row) -> str:
    """A row's rate with its interval: "31% [26.0, 37.1]"."""
    return f"{percent(row.rate)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"


def score(row: Row) -> str:
    """A row's mean refusal score with its interval, in nats."""
    return f"{number(row.score_mean)} {interval(row.score_ci_low, row.score_ci_high)}"


def measure(row: Row) -> str:
    """A row's rate, or its score where it has no rate."""
    return rate(row) if getattr(row, "rate", None) is not None else f"{score(row)} nats"


def outcome(row: Row, prompts: str) -> str:
    """What an edit leads to, as the end of a sentence: a share of prompts refused, or a mean refusal score."""
    if getattr(row, "rate", None) is not None:
        return f"{rate(row)} of {prompts} prompts are refused"
    return f"the mean refusal score of {prompts} prompts is {score(row)} nats"


def difference(row: Row) -> str:
    """A row's difference with its interval, in its unit (shares when it names none)."""
    if getattr(row, "unit", "share") == "share":
        return f"{points(row.difference)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"
    return f"{number(row.difference)} nats {interval(row.ci_low, row.ci_high)}"


def p_value(value: Number) -> str:
    """A p value: "0.03", "<0.001"."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def count(value: int, noun: str) -> str:
    """A count with its noun: "1 prompt", "1,204 prompts"."""
    return f"{value:,} {noun if value == 1 else noun + 's'}"


def signed(value: Number, digits: int = 1) -> str:
    """A number with its sign, also where that is plus."""
    return f"{'+' if value > 0 else ''}{number(value, digits)}"


def judgement(row: Row) -> str:
    """The verdict on a comparison of refusal rates in neutral words."""
    word = {"better": "refuses more", "worse": "refuses less"}.get(row.verdict)
    if word is None:
        return str(row.verdict)
    return f"{word}, by less than the margin" if row.equivalent else word
