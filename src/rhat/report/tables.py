"""The report's tables: rows of results in words, with intervals. Columns that no row fills are left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rhat.errors import ArtifactError
from rhat.report import wording
from rhat.report.verdicts import find
from rhat.report.wording import Number, Row, interval, number, p_value, percent

Results = dict[str, Any]
Cell = Callable[[Row], str]
LONG = 12  # tables of more rows are folded away
GUARD = {
    "auroc": "ROC area, harmful against harmless",
    "false_positive_rate": "Harmless prompts flagged",
    "true_positive_rate": "Harmful prompts flagged",
    "borderline_flagged": "Borderline prompts flagged",
}


@dataclass(frozen=True)
class Head:
    """A column's title; `numeric` columns align right, `wide` ones may break anywhere."""

    title: str
    numeric: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text, `collapsed` where it is long."""

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[str, ...], ...]
    collapsed: bool = False


Column = tuple[Head, Cell]


def build(
    caption: str, rows: Sequence[Row] | None, columns: Sequence[Column], *, collapsed: bool | None = None
) -> list[Table]:
    """The table of `rows` in a list, or no table where there are none. Long ones are folded unless told."""
    if not rows:
        return []
    filled = [[cell(row) for _, cell in columns] for row in rows]
    kept = [index for index in range(len(columns)) if any(line[index] for line in filled)]
    heads = tuple(columns[index][0] for index in kept)
    lines = tuple(tuple(line[index] for index in kept) for line in filled)
    return [Table(caption, heads, lines, len(lines) > LONG if collapsed is None else collapsed)]


def text(title: str, key: str, shown: Callable[[Any], str] = str) -> Column:
    """A column of words."""
    return Head(title), lambda row: shown(row[key]) if key in row else ""


def figure(title: str, key: str, shown: Callable[[Any], str] = number) -> Column:
    """A column of numbers."""
    return Head(title, numeric=True), lambda row: shown(row[key]) if key in row else ""


def numeric(title: str, shown: Cell) -> Column:
    """A column of numbers made from the whole row."""
    return Head(title, numeric=True), shown


def with_interval(title: str, key: str, digits: int = 2) -> Column:
    """A column of numbers with the row's `ci_low` and `ci_high`."""
    return numeric(
        title,
        lambda row: (
            f"{number(row[key], digits)} {interval(row['ci_low'], row['ci_high'], digits=digits)}" if key in row else ""
        ),
    )


def three(value: Number) -> str:
    """A number with three decimals."""
    return number(value, 3)


def whole(value: int) -> str:
    """A whole number with a true minus sign."""
    return number(value, 0)


def _layers(span: list[int]) -> str:
    return f"{span[0]}–{span[1]}"


CONDITION = text("Condition", "condition", wording.condition)
N = figure("n", "n", str)
RATE = numeric("Refused, 95% interval", lambda row: wording.rate(row) if "rate" in row else "")
SCORE = numeric("Score (nats), 95% interval", lambda row: wording.score(row) if "score_mean" in row else "")
KL = figure("KL (nats)", "kl_mean", three)
LAYER = figure("Layer", "layer", str)
UNIT_DIFFERENCE = numeric("Difference, 95% interval", wording.difference)
VERSUS = (
    Head("Comparison"),
    lambda row: f"{wording.condition(row['treatment'])} − {wording.inside(wording.condition(row['reference']))}",
)
DAMAGE = (
    numeric("KL (nats), 95% interval", with_interval("", "kl_mean", 3)[1]),
    figure("Cross-entropy (nats/token)", "cross_entropy", three),
    figure("Degenerate", "degenerate_share", percent),
)


def rates(results: Results, prompts: str) -> list[Table]:
    """Refusal rates on one kind of prompts, with the scores of the same conditions."""
    scores = {row["condition"]: row for row in results.get("scores", []) if row["prompts"] == prompts}
    rows = [
        {**scores.get(row["condition"], {}), **row} for row in results.get("rates", []) if row["prompts"] == prompts
    ]
    columns = [CONDITION, RATE, SCORE]
    columns += [figure(name.capitalize(), name, str) for name in ("refused", "complied", "neither")]
    return build(f"Answers to {prompts} prompts", rows, [*columns, N])


def question_of(row: Row) -> int:
    """The question that a comparison belongs to, where the row does not say."""
    if "question" in row:
        return int(row["question"])
    if row["prompts"] == "borderline":
        return 9
    for start, question in (("scope", 5), ("heads", 7), ("repe", 6)):
        if row["treatment"].startswith(start):
            return question
    return 4 if row["prompts"] == "harmful" else 1


def comparisons(results: Results, question: int) -> list[Table]:
    """The paired comparisons of a question."""
    rows = [row for row in results.get("comparisons", []) if question_of(row) == question]
    columns = [
        VERSUS,
        text("Prompts", "prompts"),
        UNIT_DIFFERENCE,
        numeric("90% interval", lambda row: interval(row["ci90_low"], row["ci90_high"], scale=100, digits=1)),
        figure("McNemar p", "mcnemar_p", p_value),
        figure("Holm p", "holm_p", p_value),
        (Head("Verdict"), refusals),
        N,
    ]
    margins = sorted({row["margin"] for row in rows})
    shown = " and ".join(f"{number(100 * margin, 0)} points" for margin in margins)
    return build(f"Paired comparisons (margin {shown})", rows, columns)


def refusals(row: Row) -> str:
    """The verdict on a comparison of refusal rates in neutral words."""
    word = {"better": "refuses more", "worse": "refuses less"}.get(row["verdict"])
    if word is None:
        return str(row["verdict"])
    return f"{word}, by less than the margin" if row["equivalent"] else word


def primary(results: Results) -> list[Table]:
    """The five primary claims, judged with their jointly adjusted p."""
    rows = []
    for claim in results.get("primary", []):
        wanted = claim["treatment"], claim["reference"], claim["prompts"]
        row = find(results, *wanted)
        if row is None:
            made = ", ".join(f"{r['treatment']} − {r['reference']}" for r in results.get("comparisons", []))
            raise ArtifactError(
                f"primary: expected the comparison {wanted[0]} − {wanted[1]} that it names, got {made or 'none'}"
            )
        rows.append({**row, **claim})
    columns = [
        text("Claim", "claim"),
        VERSUS,
        UNIT_DIFFERENCE,
        figure("Holm p", "holm_p", p_value),
        (Head("Verdict"), refusals),
        N,
    ]
    return build("Primary claims, Holm-adjusted together", rows, columns)


def adding(results: Results) -> list[Table]:
    """Question 1."""
    layers = [
        LAYER,
        figure("Harmless mean", "harmless_mean_projection"),
        figure("Harmful mean", "harmful_mean_projection"),
        figure("Set, rate", "set_rate", percent),
        figure("Add, rate", "add_rate", percent),
        figure("Set, score", "set_score"),
        figure("Add, score", "add_score"),
        numeric("Set − add, 95% interval", lambda row: wording.difference({**row, "difference": row["gap"]})),
        N,
    ]
    return [
        *rates(results, "harmless"),
        *comparisons(results, 1),
        *build("Damage on harmless prompts", results.get("drift"), [CONDITION, *DAMAGE, N]),
        *build("Setting and adding by layer", results.get("layers"), layers, collapsed=True),
    ]


def projections(results: Results) -> list[Table]:
    """Question 2."""
    kinds = [
        LAYER,
        text("Prompts", "label"),
        text("Split", "split"),
        figure("Mean", "mean"),
        figure("Sd", "sd"),
        N,
    ]
    within = [
        text("Comparison", "comparison"),
        with_interval("AUROC, 95% interval", "auroc", 3),
        numeric("n", lambda row: f"{row['n_positive']} + {row['n_negative']}"),
    ]
    by_layer = [LAYER, with_interval("AUROC, 95% interval", "auroc", 3), N]
    return [
        *build("Separation within one kind of prompt", results.get("auroc_within"), within),
        *build("Projections by layer (residual units)", results.get("projections"), kinds, collapsed=True),
        *build("AUROC by layer, harmful against harmless", results.get("auroc"), by_layer, collapsed=True),
    ]


def components(results: Results) -> list[Table]:
    """Question 3."""
    columns = [
        LAYER,
        numeric("Variance explained", lambda row: ", ".join(map(percent, row["explained"]))),
        figure("Cosine of PC 1 with r̂", "cosine_pc1_rhat"),
        numeric("Prompts drawn", lambda row: str(len(row["points"])) if "points" in row else ""),
    ]
    return build("Principal components by layer", results.get("pca"), columns)


def ablating(results: Results) -> list[Table]:
    """Question 4."""
    damage = [
        text("Operator", "op"),
        text("Sites", "sites"),
        figure("Coefficient", "coefficient"),
        RATE,
        SCORE,
        KL,
        *DAMAGE[1:],
        N,
    ]
    matched = [
        VERSUS,
        text("Sites", "sites"),
        numeric("KL (nats)", lambda row: f"{three(row['kl_treatment'])}, {three(row['kl_reference'])}"),
        UNIT_DIFFERENCE,
        N,
    ]
    pairs = results.get("ablate_vs_subtract", {}).get("matched")
    return [
        *rates(results, "harmful"),
        *comparisons(results, 4),
        *build("Ablating and subtracting at matched damage", pairs, matched),
        *build("Refusal and damage", results.get("damage"), damage, collapsed=True),
    ]


def scopes(results: Results) -> list[Table]:
    """Question 5."""
    columns = [text("Scope", "scope", wording.scope), figure("Tokens edited", "token_share", percent)]
    return [
        *build("Setting under each token scope", results.get("scopes"), [*columns, RATE, SCORE, KL, N]),
        *comparisons(results, 5),
    ]


def boost(results: Results) -> list[Table]:
    """Question 6."""
    repe = results.get("repe", {})
    points = [
        CONDITION,
        text("Prompts", "prompts"),
        with_interval("Boost (points), 95% interval", "points", 1),
        N,
    ]
    settings = [
        text("Layers", "layers", _layers),
        figure("Coefficient", "coefficient"),
        figure("Validation score (nats)", "validation_score"),
        figure("Validation rate", "validation_rate", percent),
        KL,
    ]
    factors = [
        text("Direction", "direction", wording.direction),
        text("Operator", "op", wording.operator),
        text("Layers", "layers"),
        text("Scope", "scope", wording.scope),
        figure("Dose", "dose"),
    ]
    return [
        *build("Boost over baseline", repe.get("boosts"), points),
        *comparisons(results, 6),
        *build("RepE settings on validation prompts", repe.get("table"), settings, collapsed=True),
        *build("Factorial", results.get("factorial"), [*factors, SCORE, RATE, KL, N], collapsed=True),
    ]


def heads(results: Results) -> list[Table]:
    """Question 7."""
    found = results.get("heads", {})
    curve = [figure("k", "k", str), text("Chosen", "kind"), figure("Seed", "seed", str), RATE, SCORE, N]
    per_k = [
        figure("k", "k", str),
        text("Chosen", "kind"),
        text("Against", "reference"),
        UNIT_DIFFERENCE,
        figure("Holm p", "holm_p", p_value),
        N,
    ]
    ranking = [LAYER, figure("Head", "head", str), figure("Contribution (units)", "attribution", three)]
    return [
        *build("Patched heads against baseline and random heads", found.get("comparisons"), per_k, collapsed=True),
        *build("Refusal by number of heads", found.get("curve"), curve, collapsed=True),
        *build("Heads by contribution", found.get("ranking"), ranking, collapsed=True),
        *comparisons(results, 7),
    ]


def finders(results: Results) -> list[Table]:
    """Question 8."""

    def accuracy(key: str) -> Column:
        return numeric("Accuracy, 95% interval", lambda row: wording.rate({**row, "rate": row[key]}))

    by_finder = [
        text("Finder", "name", wording.finder),
        LAYER,
        figure("Cosine with r̂", "cosine_to_rhat"),
        accuracy("test_accuracy"),
        N,
        figure("Setting it", "set_effect", wording.measure),
    ]
    probes = [
        text("Pairs", "set"),
        text("Probe", "method", wording.finder),
        accuracy("accuracy"),
        figure("Loss", "loss", three),
        figure("Inconsistency", "consistency", three),
        figure("Cosine with r̂", "cosine_to_rhat"),
        figure("Training pairs", "n_pairs", str),
        N,
    ]
    return [
        *build("Finders", results.get("finders"), by_finder),
        *build("CCS on contrast pairs, beside PCA", results.get("ccs"), probes),
        *comparisons(results, 8),
    ]


def over_refusal(results: Results) -> list[Table]:
    """Question 9."""
    columns = [text("Borderline prompts", "group"), figure("Mean", "mean"), figure("Sd", "sd"), N]
    guard = [
        text("Measure", "measure", lambda name: GUARD.get(name, name)),
        with_interval("Measured, 95% interval", "estimate", 3),
        figure("Threshold", "threshold"),
        figure("Calibrated for", "target_fpr", percent),
        N,
    ]
    projected = results.get("borderline_projections")
    return [
        *rates(results, "borderline"),
        *comparisons(results, 9),
        *build("Projections at r̂'s layer (residual units)", projected, columns),
        *build("A guard on the projection, on test prompts", results.get("guard"), guard),
    ]


def dose(results: Results) -> list[Table]:
    """Question 10."""
    columns = [
        text("Operator", "op", wording.operator),
        figure("Target", "target"),
        figure("Coefficient", "coefficient"),
        RATE,
        SCORE,
        KL,
        N,
    ]
    half = [
        text("Operator", "op", wording.operator),
        with_interval("Dose of half effect, 95% interval", "dose"),
        text("Unit", "unit"),
    ]
    return [
        *build("Dose of half effect", results.get("half_effect"), half),
        *build("Dose and response", results.get("dose"), columns),
        *comparisons(results, 10),
    ]


def stability(results: Results) -> list[Table]:
    """Question 11."""
    found = results.get("stability", {})
    columns = [
        figure("Round", "round", str),
        figure("Cosine with r̂", "cosine_to_first"),
        figure("Length (units)", "norm"),
        figure("Set, harmless prompts", "induce", wording.measure),
        figure("Ablated, harmful prompts", "prevent", wording.measure),
        numeric("n", lambda row: str(row["induce"]["n"]) if "induce" in row else ""),
    ]
    return [
        *build("Directions found after ablating the ones before", found.get("refits"), columns),
        *comparisons(results, 11),
    ]


def tokens(results: Results) -> list[Table]:
    """The refusal tokens."""
    columns: list[Column] = [
        (Head("Token"), lambda row: repr(row["text"])),
        figure("Id", "id", str),
        figure("Share of refusals", "share", percent),
    ]
    return build("Refusal tokens, found on training prompts", results.get("refusal_tokens"), columns)


def candidates(results: Results) -> list[Table]:
    """Every candidate, and how many each rule removed."""
    columns = [
        figure("Position", "position", whole),
        LAYER,
        figure("Induce (nats)", "induce_score"),
        figure("Ablation (nats)", "ablation_score"),
        figure("KL (nats)", "kl"),
        text("Status", "status"),
    ]
    selection = results.get("selection", {})
    removed = [{"rule": rule, "count": count} for rule, count in selection.get("removed", {}).items()]
    rule = f"Candidates removed by each rule ({selection.get('rule', '')} rule)"
    return [
        *build(rule, removed, [text("Rule", "rule"), figure("Removed", "count", str)]),
        *build("Every candidate", results.get("candidates"), columns, collapsed=True),
    ]


def prompts(results: Results) -> list[Table]:
    """How many prompts went in."""
    columns = [text("Split", "split"), text("Prompts", "label")]
    columns += [figure(key.capitalize(), key, str) for key in ("given", "kept", "used")]
    return build("Prompts by split: given, kept by the behaviour filter, used", results.get("prompts"), columns)


def controls(results: Results) -> list[Table]:
    """Random directions, agreement of the two scores, and power."""
    random = [
        CONDITION,
        text("Kind", "kind", lambda kind: kind.replace("_", " ")),
        figure("Seed", "seed", str),
        text("Prompts", "prompts"),
        SCORE,
        RATE,
        KL,
        N,
    ]
    agreement = [
        CONDITION,
        text("Prompts", "prompts"),
        figure("Agreement", "agreement", percent),
        figure("κ", "kappa"),
        N,
    ]
    found = results.get("score_agreement")
    rows = [{"prompts": "all", **found}, *found.get("conditions", [])] if found else []
    power = [
        VERSUS,
        text("Prompts", "prompts"),
        N,
        figure("Discordant pairs", "discordant_share", percent),
        figure("Power", "power", percent),
        figure("Prompts needed", "prompts_needed", str),
    ]
    return [
        *build("Agreement of phrases and log-odds", rows, agreement),
        *build("Control directions", results.get("random_controls"), random, collapsed=True),
        *build("Prompts needed for 80% power at the margin", results.get("power"), power, collapsed=True),
    ]


def conditions(results: Results) -> list[Table]:
    """What each condition id stands for."""
    rows = [{"id": name, **condition} for name, condition in results.get("conditions", {}).items()]
    columns = [
        text("Condition", "id"),
        text("Operator", "op"),
        text("Direction", "direction"),
        text("Sites", "sites", ", ".join),
        text("Scope", "scope"),
        figure("Target", "target"),
        figure("Coefficient", "coefficient"),
        text("Heads", "heads", lambda heads: ", ".join(f"L{layer} H{head}" for layer, head in heads)),
    ]
    return build("Conditions", rows, columns, collapsed=True)


def run(results: Results) -> list[Table]:
    """Timings, settings and manifest."""
    timings = [text("Stage", "stage"), figure("Seconds", "seconds", lambda value: number(value, 1))]
    free: list[Column] = [text("Field", "field"), (Head("Value", wide=True), lambda row: row["value"])]
    return [
        *conditions(results),
        *build("Timings", results.get("timings"), timings, collapsed=False),
        *build("Settings", _flat(results.get("settings", {})), free, collapsed=False),
        *build("Manifest", _flat(results.get("manifest", {})), free, collapsed=False),
    ]


def _flat(value: Any, name: str = "") -> list[dict[str, str]]:
    """Nested settings as rows of dotted field and value."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flat(inner, f"{name}.{key}" if name else str(key))]
    shown = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return [{"field": name, "value": shown}]
