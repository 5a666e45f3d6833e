"""How answers were read: a sentence and tables on the judges of a run."""

from __future__ import annotations

from types import SimpleNamespace

from rhat.artifacts.judges import ClassReading, JudgeRow
from rhat.artifacts.run import Results
from rhat.display.tables import CONDITION, COUNTS, RATE, Column, Head, N, Table, build, figure, numeric, share_of, text
from rhat.display.wording import interval, number, percent


def sentence(results: Results) -> str:
    """How well "refused" is read, and with what; empty where a run does not say."""
    row = next((row for row in results.judges if row.default), None)
    if row is None:
        return ""
    refused = next((found for found in row.classes if found.label == "refused"), None)
    if refused is None or refused.sensitivity is None or refused.specificity is None:
        return ""
    said = (
        f"Answers were read by {name(row)}, {row.tokens} tokens each. On the labelled answers that come with rhat, cut to the same length, "
        f"it finds {_share(refused, 'sensitivity')} of {refused.n} refusals and reads "
        f"{percent(1 - refused.specificity)} of {refused.n_others} other answers as refusals"
    )
    return f"{said}. {gate(row)}"


def unpassed(results: Results) -> JudgeRow | None:
    """The judge of all rates of a run, if it has not passed for refused against not refused; None where it has, or no judge is named."""
    return next((row for row in results.judges if row.default and not row.passed_refused), None)


def gate(row: JudgeRow) -> str:
    """What the judge may be believed."""
    weak = [found.label for found in row.classes if found.sensitivity is not None and found.sensitivity < 0.5]
    if row.passed:
        return "It passes for all four classes."
    if not row.passed_refused:
        return (
            "It does not pass, not even for refused against not refused: the rates of this run are shown, but none of them is a "
            "headline. Read more tokens with --judged-tokens, or label your own answers."
        )
    missed = f": it misses most that is {' or '.join(weak)}" if weak else ""
    return (
        f"It passes for refused against not refused, so rates of refusals are valid. It does not pass for all four classes{missed}, so "
        "other shares are shown but are no headline."
    )


def name(row: JudgeRow) -> str:
    """A judge and its version."""
    return f"the judge {row.judge} (version {row.version})"


def tables(results: Results) -> list[Table]:
    """How well each judge reads labelled answers, class by class."""
    rows = [
        SimpleNamespace(judge=row.judge, label=found.label, found=found, row=row)
        for row in results.judges
        for found in row.classes
    ]
    columns = [
        text("Judge", "judge"),
        text("Class", "label"),
        numeric("Found, 95% interval", lambda row: _share(row.found, "sensitivity")),
        numeric("Of", lambda row: str(row.found.n)),
        numeric("Others not called so, 95% interval", lambda row: _share(row.found, "specificity")),
        numeric("Of", lambda row: str(row.found.n_others)),
    ]
    judges = [
        text("Judge", "judge"),
        text("Version", "version"),
        figure("Tokens", "tokens", str),
        text("Held against", "against"),
        numeric("κ with the labels, 95% interval", _kappa),
        figure("κ, refused or not", "kappa_refused"),
        text("Passes", "passed", lambda passed: "yes" if passed else "no"),
        text("Passes for refused", "passed_refused", lambda passed: "yes" if passed else "no"),
        figure("Unjudged", "untold", str),
    ]
    return [
        *build("Judges, tested on labelled answers", results.judges, judges),
        *build("The same, class by class", rows, columns, collapsed=len(results.judges) > 1),
        *panel(results),
    ]


def panel(results: Results) -> list[Table]:
    """Condition × judge, and the answers on which judges differ most."""
    columns = [
        CONDITION,
        text("Prompts", "prompts"),
        text("Judge", "judge"),
        RATE,
        share_of("corrected"),
        COUNTS,
        share_of("agreement", "agreement"),
        figure("κ", "kappa"),
        figure("Unjudged", "untold", str),
        N,
    ]
    differing: list[Column] = [
        CONDITION,
        text("Prompt", "prompt_id"),
        text("Classes", "classes", lambda classes: ", ".join(f"{judge}: {label}" for judge, label in classes.items())),
        (Head("Answer", wide=True), lambda row: row.answer),
    ]
    return [
        *build("The same answers by each judge; agreement and κ with the default judge within the condition",
               results.panel, columns),
        *build("Where judges differ most, on harmless and borderline prompts", results.disagreements, differing),
    ]  # fmt: skip


def _kappa(row: JudgeRow) -> str:
    if row.kappa is None:
        return ""
    return f"{number(row.kappa)} {interval(row.kappa_ci_low or 0.0, row.kappa_ci_high or 0.0)}"


def _share(found: ClassReading, which: str) -> str:
    value = getattr(found, which)
    if value is None:
        return ""
    low, high = getattr(found, f"{which}_ci_low"), getattr(found, f"{which}_ci_high")
    return f"{percent(value)} {interval(low, high, scale=100, digits=1)}"
