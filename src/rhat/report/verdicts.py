"""Plain-words verdicts, computed from the numbers of results.json and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rhat.errors import ArtifactError
from rhat.report import wording
from rhat.report.wording import Number, Row, count, difference, interval, number, percent

Results = dict[str, Any]
SITES = {
    "mixed": "Subtracting at its own layer beside ablating at all layers",
    "own layer": "Both at the own layer",
    "all layers": "Both at all layers",
}


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    `word` is one of the four judgements, "mixed" where parts of the question differ, or "measured" where
    there is nothing to decide. `sentence` is the answer with its numbers; `reasons` are further sentences.
    """

    question: int
    word: str
    sentence: str
    reasons: tuple[str, ...] = ()


def prompts_needed(row: Row, power: list[dict[str, Any]]) -> int | None:
    """The study's number of prompts that show equivalence with 80 % power, where it is more than there were."""
    known = next((found for found in power if _names(found) == _names(row)), None)
    return known["prompts_needed"] if known and known["prompts_needed"] > row["n"] else None


def find(results: Results, treatment: str, reference: str, prompts: str) -> dict[str, Any] | None:
    """The comparison of two conditions on one kind of prompts, if the run made it."""
    wanted = (treatment, reference, prompts)
    return next((row for row in results.get("comparisons", []) if _names(row) == wanted), None)


def comparison(results: Results, treatment: str, reference: str, prompts: str) -> dict[str, Any] | None:
    """The comparison of two conditions, None where the run did not measure both on these prompts.

    Raises:
        ArtifactError: if it measured both and did not compare them; it lists what it compared.
    """
    row = find(results, treatment, reference, prompts)
    if row is not None:
        return row
    had = [_names(row) for row in results.get("comparisons", [])]
    measured = {name for first, second, label in had if label == prompts for name in (first, second)}
    measured |= {row["condition"] for row in results.get("rates", []) if row["prompts"] == prompts}
    if not (had and {treatment, reference} <= measured):
        return None
    made = ", ".join(f"{first} − {second}" for first, second, label in had if label == prompts)
    raise ArtifactError(
        f"comparisons: expected {treatment} − {reference} on {prompts} prompts, got {made}; "
        "run the study again with this version of rhat"
    )


def rate_of(results: Results, condition: str, prompts: str) -> dict[str, Any] | None:
    """The refusal rate of a condition, if the run measured it."""
    rows = results.get("rates", [])
    return next((row for row in rows if (row["condition"], row["prompts"]) == (condition, prompts)), None)


def rate(results: Results, condition: str, prompts: str) -> dict[str, Any] | None:
    """The refusal rate of a condition, None where the run generated nothing for these prompts.

    Raises:
        ArtifactError: if it generated answers to them under other conditions only; it lists those.
    """
    row = rate_of(results, condition, prompts)
    had = [row["condition"] for row in results.get("rates", []) if row["prompts"] == prompts]
    if row is None and had:
        raise ArtifactError(
            f"rates: expected {condition} on {prompts} prompts, got {', '.join(had)}; "
            "run the study again with this version of rhat"
        )
    return row


def at_layer(name: str, rows: list[dict[str, Any]], layer: int | None) -> list[dict[str, Any]]:
    """The rows of a list at r̂'s layer; none where the list is empty or the run has no direction.

    Raises:
        ArtifactError: if there are rows of other layers only; it lists those layers.
    """
    found = [row for row in rows if row["layer"] == layer]
    if rows and layer is not None and not found:
        had = ", ".join(map(str, dict.fromkeys(row["layer"] for row in rows)))
        raise ArtifactError(f"{name}: expected a row of layer {layer}, where r̂ is, got rows of layers {had}")
    return found


def describe(results: Results, row: Row) -> str:
    """A comparison in a sentence: who, by how much, with its interval, and what that means."""
    word = row["verdict"]
    margin = f"{number(100 * row['margin'], 0)} points"
    verb = {"better": "refuses more than", "worse": "refuses less than"}.get(word)
    names = wording.condition(row["treatment"]), wording.condition(row["reference"])
    numbers = f"{difference(row)}, n = {row['n']}"
    if verb:
        small = f", by less than the margin of {margin}" if row["equivalent"] else ""
        return f"{names[0]} {verb} {wording.inside(names[1])}{small} ({numbers})."
    if word == "equivalent":
        return f"{names[0]} and {wording.inside(names[1])} are equivalent within {margin} ({numbers})."
    needed = prompts_needed(row, results.get("power", []))
    more = f": it would need about {count(needed, 'prompt')}" if needed else ""
    return f"{names[0]} against {wording.inside(names[1])} is undecided ({numbers}){more}."


def adding(results: Results) -> Verdict | None:
    """Question 1: is adding as good as setting?"""
    row = comparison(results, "add_average", "set_projection", "harmless")
    if row is None:
        return None
    rates = [rate_of(results, name, "harmless") for name in ("set_projection", "add_average", "add_difference")]
    shown = [f"{wording.condition(r['condition'])} {percent(r['rate'])}" for r in rates if r]
    sentence = describe(results, row)
    if shown:
        sentence = f"Refusals of harmless prompts: {', '.join(shown)}. {sentence}"
    reasons = []
    other = comparison(results, "add_difference", "set_projection", "harmless")
    if other:
        reasons.append(describe(results, other))
    for compared in (row, other):
        if compared:
            holds = "is" if compared["noninferior"] else "is not shown to be"
            reasons.append(
                f"{wording.condition(compared['treatment'])} {holds} non-inferior to setting at "
                f"{number(100 * compared['margin'], 0)} points (its 90% interval begins at "
                f"{wording.points(compared['ci90_low'])})."
            )
    if near := results.get("near_zero"):
        text = f"{percent(near['prompts_share'])} of {count(near['n_prompts'], 'harmless prompt')}"
        if "tokens_share" in near:
            text += f" and {percent(near['tokens_share'])} of all edited tokens"
        reasons.append(f"{text} project to within {percent(near['threshold_share'])} of the gap around zero.")
    if layers := results.get("layers"):
        reasons.append(_layer_reason(layers, results.get("near_zero", {}).get("threshold_share")))
    if "prediction" in results:
        reasons.append(_prediction_reason(results["prediction"]))
    return Verdict(1, row["verdict"], sentence, tuple(reasons))


def projections(results: Results) -> Verdict | None:
    """Question 2: what do projections look like?"""
    layer = results.get("direction", {}).get("layer")
    at = at_layer("auroc", results.get("auroc", []), layer)
    if not at:
        return None
    row = at[0]
    means = {p["label"]: p for p in results.get("projections", []) if p["layer"] == layer and p["split"] == "test"}
    text = f"At layer {layer} the projection tells harmful from harmless prompts with AUROC {_auroc(row)}"
    if {"harmful", "harmless"} <= means.keys():
        sides = [f"{name} {number(p['mean'])} ± {number(p['sd'])}" for name, p in sorted(means.items())]
        text += f" (mean ± sd: {', '.join(sides)})"
    reasons = [
        f"{inner['comparison'].capitalize()}: AUROC {_auroc(inner)}, {_chance(inner)}."
        for inner in results.get("auroc_within", [])
    ]
    return Verdict(2, row["verdict"], f"{text}.", tuple(reasons))


def components(results: Results) -> Verdict | None:
    """Question 3: does the first principal component separate them, and is it r̂?"""
    rows = results.get("pca")
    if not rows:
        return None
    layer = results.get("direction", {}).get("layer")
    best = max(rows, key=lambda row: abs(row["cosine_pc1_rhat"]))
    at = at_layer("pca", rows, layer)
    row = at[0] if at else best
    sentence = (
        f"At layer {row['layer']} the first component explains {percent(row['explained'][0])} of the "
        f"variance and its cosine with r̂ is {number(row['cosine_pc1_rhat'])}."
    )
    reasons = (
        f"The largest cosine is {number(best['cosine_pc1_rhat'])}, at layer {best['layer']}; "
        "a component has no sign of its own.",
    )
    return Verdict(3, "measured", sentence, reasons)


def ablating(results: Results) -> Verdict | None:
    """Question 4: ablating or subtracting? On harmful prompts a lower rate is the stronger effect."""
    both = results.get("ablate_vs_subtract", {})
    against = comparison(results, "ablate", "baseline", "harmful")
    direct = comparison(results, "subtract", "ablate", "harmful")
    matched = both.get("matched", [])
    if not (matched or direct or against):
        return None
    words = [_ablating(row) for row in matched]
    parts = [
        f"{SITES[row['sites']]}, at matched damage (KL {number(row['kl_treatment'], 3)} and "
        f"{number(row['kl_reference'], 3)}): {_stronger(row)} ({difference(row)}, n = {row['n']})."
        for row in matched
    ]
    if direct:
        parts.append(describe(results, direct))
    if against:
        parts.append(describe(results, against))
    main = direct or against
    word = words[0] if len(set(words)) == 1 else "mixed"
    if not words and main:
        word = _ablating(main)
    lead = _removal(results)
    told = " ".join([lead, *parts[: len(matched)]]).strip() or parts[0]
    reasons = [part for part in parts if part not in told]
    if rank := both.get("spearman_projection_gap"):
        holds = {"better": "smaller", "worse": "larger"}.get(rank["verdict"])
        text = "no clear trend" if holds is None else f"the gap is {holds} where the projection is smaller"
        rho = f"{number(rank['rho'])} {interval(rank['ci_low'], rank['ci_high'])}"
        reasons = [*reasons, f"Per prompt: {text} (Spearman's ρ {rho}, n = {rank['n']})."]
    return Verdict(4, word, told, tuple(reasons))


def scopes(results: Results) -> Verdict | None:
    """Question 5: how much of the sequence is needed?"""
    rows = results.get("scopes")
    if not rows:
        return None
    everything = next((row for row in rows if row["scope"] == "all"), None)
    lead = f"Setting every token refuses {wording.measure(everything)}. " if everything else ""
    judged = []
    for row in sorted(rows, key=lambda row: row["token_share"]):
        if row["scope"] != "all" and (beside := _scope_comparison(results, row)):
            judged.append((row, beside, beside["noninferior"], beside["verdict"] == "worse"))
    if not judged:
        return Verdict(5, "measured", f"{lead}No subset was compared with all tokens.")
    reasons = tuple(
        f"{wording.scope(row['scope']).capitalize()} ({percent(row['token_share'])} of tokens): "
        f"{'non-inferior' if enough else 'falls short' if worse else 'undecided'} "
        f"({difference(comparison)}, n = {comparison['n']})."
        for row, comparison, enough, worse in judged
    )
    sufficient = [row for row, _, enough, _ in judged if enough]
    if sufficient:
        row = sufficient[0]
        name, part = wording.scope(row["scope"]), percent(row["token_share"])
        text = f"The smallest part that does as well is {name}: {part} of tokens."
        return Verdict(5, "equivalent", lead + text, reasons)
    if all(worse for *_, worse in judged):
        return Verdict(5, "worse", f"{lead}No smaller part of the sequence does as well.", reasons)
    open_ones = [beside for _, beside, _, worse in judged if not worse]
    needed = max(prompts_needed(beside, results.get("power", [])) or 0 for beside in open_ones)
    more = f": it would need about {count(needed, 'prompt')}" if needed else ""
    text = f"Whether a part does as well is undecided{more}."
    return Verdict(5, "undecided", lead + text, reasons)


def boost(results: Results) -> Verdict | None:
    """Question 6: how big is the boost, beside Zou et al.?"""
    repe = results.get("repe")
    if not repe:
        return None
    parts = [
        f"{wording.condition(row['condition'])} {_signed(row['points'])} points "
        f"{interval(row['ci_low'], row['ci_high'], digits=1)}"
        for row in repe["boosts"]
    ]
    sentence = f"Boost over baseline: {'; '.join(parts)}"
    if published := repe.get("published"):
        sentence += f". {published['source']} report {number(published['value'], 0)} points"
        sentence += f" for {published['model']} (their number)" if "model" in published else " (their number)"
    best = repe["best"]
    reasons = [
        f"The best control on validation prompts adds {number(best['coefficient'])} × the reading vector "
        f"at layers {best['layers'][0]} to {best['layers'][1]}."
    ]
    row = find(results, "repe_add", "set_projection", "harmless")
    if row:
        reasons.insert(0, describe(results, row))
    return Verdict(6, row["verdict"] if row else "measured", f"{sentence}.", tuple(reasons))


def heads(results: Results) -> Verdict | None:
    """Question 7: how few heads?"""
    found = results.get("heads")
    if not found:
        return None
    reasons = [
        f"The strongest head, {row['head']} of layer {row['layer']}, contributes "
        f"{number(row['attribution'])} residual units to the gap."
        for row in found["ranking"][:1]
    ]
    rows = found.get("comparisons", [])
    if "smallest_k_greedy" in found:
        reasons.append(f"Chosen greedily, {count(found['smallest_k_greedy'], 'head')} suffice.")
    if not any(row["kind"] == "attributed" for row in rows):
        return Verdict(7, "measured", reasons[0] if reasons else "No heads were ranked.", tuple(reasons[1:]))
    k = found.get("smallest_k")
    if k is None:
        text = "No number of heads tried clears both the baseline and as many random heads"
        largest = max(rows, key=lambda row: row["k"])
        return Verdict(7, "undecided", f"{text} (at {largest['k']}: {difference(largest)}).", tuple(reasons))
    against = [row for row in rows if row["k"] == k and row["kind"] == "attributed"]
    numbers = "; ".join(f"against {row['reference']} {difference(row)}" for row in against)
    text = f"{count(k, 'head')} at one token {'suffices' if k == 1 else 'suffice'} to raise refusal: {numbers}."
    if said := _generated_heads(results):
        text += f" {said}"
    return Verdict(7, "better", text, tuple(reasons))


def _generated_heads(results: Results) -> str:
    """Refusal rates of harmless prompts with a few heads patched, and as many random ones, where they were generated."""
    names = [row["condition"] for row in results.get("rates", []) if row["condition"].startswith("heads:")]
    parts = []
    for name in names:
        pair = [rate(results, one, "harmless") for one in (name, f"random_{name}")]
        parts += [f"{wording.condition(row['condition'])} {wording.rate(row)}" for row in pair if row]
    return f"Harmless prompts refused: {', '.join(parts)}." if parts else ""


def finders(results: Results) -> Verdict | None:
    """Question 8: which finder finds it?"""
    rows = results.get("finders")
    if not rows:
        return None
    others = [row for row in rows if row["name"] not in ("mean_difference", "random")]
    parts = [
        f"{wording.finder(row['name'])} has cosine {number(row['cosine_to_rhat'])} and tells "
        f"{percent(row['test_accuracy'])} of prompts apart"
        for row in others or rows
    ]
    reasons = [
        f"{wording.finder(row['method'])} on {row['set']}: accuracy "
        f"{wording.rate({**row, 'rate': row['accuracy']})}, {_chance(row)}"
        + (f"; loss {number(row['loss'], 3)}" if "loss" in row else "")
        + (f"; inconsistency {number(row['consistency'], 3)}" if "consistency" in row else "")
        + "."
        for row in results.get("ccs", [])
    ]
    return Verdict(8, "measured", f"{'; '.join(parts)}.", tuple(reasons))


def over_refusal(results: Results) -> Verdict | None:
    """Question 9: over-refusal. On borderline prompts fewer refusals are better."""
    base = rate_of(results, "baseline", "borderline")
    if base is None:
        return None
    sentence = f"Without an edit {wording.rate(base)} of borderline prompts are refused (n = {base['n']})."
    rows = [
        row
        for name in ("set_harmless_mean", "ablate", "set_projection")
        if (row := comparison(results, name, "baseline", "borderline"))
    ]
    reasons = [describe(results, row) for row in rows]
    for row in results.get("borderline_projections", []):
        reasons.append(
            f"Projection of {row['group']} borderline prompts: {number(row['mean'])} ± {number(row['sd'])} "
            f"(n = {row['n']})."
        )
    if not rows:
        return Verdict(9, "measured", sentence, tuple(reasons))
    return Verdict(9, _flip(rows[0]["verdict"]), f"{sentence} {reasons[0]}", tuple(reasons[1:]))


def dose(results: Results) -> Verdict | None:
    """Question 10: dose and response."""
    rows = results.get("dose")
    if not rows:
        return None
    main = sorted(
        (row for row in rows if row.get("op", "set_projection") == "set_projection"),
        key=lambda row: row["target"],
    )
    ends = main or sorted(rows, key=lambda row: row["target"])
    sentence = (
        f"From a target of {number(ends[0]['target'])} to {number(ends[-1]['target'])} refusal goes from "
        f"{wording.measure(ends[0])} to {wording.measure(ends[-1])}."
    )
    reasons = tuple(
        f"Half of the effect of {wording.operator(row['op'])} is reached at {number(row['dose'])} "
        f"{interval(row['ci_low'], row['ci_high'])} {row['unit']}."
        for row in results.get("half_effect", [])
    )
    return Verdict(10, "measured", sentence, reasons)


def stability(results: Results) -> Verdict | None:
    """Question 11: is it one direction?"""
    found = results.get("stability")
    if not found:
        return None
    reasons = []
    for key, name in (("split_half", "halves of the training prompts"), ("seeds", "other draws of them")):
        if values := found.get(key):
            mean = sum(values) / len(values)
            reasons.append(
                f"Cosine between {name}: mean {number(mean)}, from {number(min(values))} to "
                f"{number(max(values))} ({len(values)} of them)."
            )
    refits = [row for row in found.get("refits", []) if row["round"] > 0 and "induce" in row]
    left = [(row, row["verdict"] == "better") for row in refits if "verdict" in row]
    reasons += [
        f"Round {row['round']}: setting it refuses {wording.measure(row['induce'])} of harmless prompts"
        + (f", ablating it {wording.measure(row['prevent'])} of harmful ones." if "prevent" in row else ".")
        for row in refits
    ]
    if not left:
        if not reasons:
            return None
        return Verdict(11, "measured", reasons[0], tuple(reasons[1:]))
    still = [row["round"] for row, above in left if above]
    if still:
        text = f"More than one: after ablating r̂, round {still[0]} still finds a direction that induces refusal."
    else:
        text = "After ablating r̂ no further direction was seen to induce refusal above the baseline's interval."
    return Verdict(11, "measured", text, tuple(reasons))


QUESTIONS: dict[int, Callable[[Results], Verdict | None]] = {
    1: adding,
    2: projections,
    3: components,
    4: ablating,
    5: scopes,
    6: boost,
    7: heads,
    8: finders,
    9: over_refusal,
    10: dose,
    11: stability,
}
HEADLINES = (1, 4, 5, 6, 7)  # the five questions of the thread


def verdicts(results: Results) -> dict[int, Verdict]:
    """The verdict on every question that the run has numbers for."""
    answers = {number: answer(results) for number, answer in QUESTIONS.items()}
    return {number: verdict for number, verdict in answers.items() if verdict is not None}


def _names(row: Row) -> tuple[str, str, str]:
    return row["treatment"], row["reference"], row["prompts"]


def _flip(word: str) -> str:
    """The judgement where less counts as better."""
    return {"better": "worse", "worse": "better"}.get(word, word)


def _ablating(row: Row) -> str:
    """The judgement of a comparison on harmful prompts, where fewer refusals are better, told of ablating."""
    treated = row["treatment"].partition(":")[0]
    if "ablate" not in (treated, row["reference"].partition(":")[0]):
        raise ArtifactError(
            f"comparisons: expected one with ablate, got {row['treatment']} − {row['reference']} on harmful prompts"
        )
    return _flip(row["verdict"]) if treated == "ablate" else str(row["verdict"])


def _stronger(row: Row) -> str:
    words = {"better": "removes less refusal than", "worse": "removes more refusal than"}
    verb = words.get(row["verdict"], "cannot be told from")
    return f"{row['treatment'].partition(':')[0]} {verb} {row['reference'].partition(':')[0]}"


def _removal(results: Results) -> str:
    rows = [rate(results, name, "harmful") for name in ("baseline", "ablate", "subtract")]
    shown = [f"{wording.inside(wording.condition(r['condition']))} {wording.rate(r)}" for r in rows if r]
    return f"Refusals of harmful prompts: {', '.join(shown)}." if len(shown) > 1 else ""


def _auroc(row: Row) -> str:
    return f"{number(row['auroc'], 3)} {interval(row['ci_low'], row['ci_high'], digits=3)}"


def _chance(row: Row) -> str:
    words = {"better": "above chance", "worse": "below chance", "undecided": "not told from chance"}
    return words[row["verdict"]]


def _scope_comparison(results: Results, row: Row) -> dict[str, Any] | None:
    return comparison(results, row.get("condition", f"scope:{row['scope']}"), "set_projection", "harmless")


def _signed(value: Number, digits: int = 1) -> str:
    return f"{'+' if value > 0 else ''}{number(value, digits)}"


def _prediction_reason(found: Row) -> str:
    """Setting's effect as adding's dose curve predicts it, against what was observed."""
    seen = wording.score({**found, "score_mean": found["observed_score"]})
    where = "inside" if found["inside"] else "outside"
    text = (
        f"From adding's dose curve, read at the mean of all edited tokens, setting should score "
        f"{number(found['predicted_score'])} nats; it scores {seen}, so the prediction lies {where} the interval."
    )
    if "predicted_score_last_token" in found:
        alone = found["predicted_score_last_token"]
        where = "inside" if found["inside_last_token"] else "outside"
        text += f" Read at the last prompt token alone it should score {number(alone)} nats: {where} the interval."
    return text


def _layer_reason(layers: list[dict[str, Any]], share: Number | None) -> str:
    """How the gap between setting and adding goes with the harmless mean, over layers."""
    apart = [row["layer"] for row in layers if row["verdict"] in ("better", "worse")]
    text = f"Setting and adding part at {len(apart)} of {count(len(layers), 'layer')}"
    if apart:
        opposed = sum(row["gap"] * row["harmless_mean_projection"] < 0 for row in layers if row["layer"] in apart)
        text += (
            f"; at {opposed} of them as the explanation says: setting does more where harmless prompts project below zero, "
            "less where above"
        )
    near: list[float] = []
    far: list[float] = []
    for row in layers:
        (near if row["near_zero"] else far).append(abs(row["gap"]))
    if not (near and far):
        return f"{text}."
    within = "near zero" if share is None else f"within {percent(share)} of the gap from zero"
    return (
        f"{text}. They differ by {number(sum(near) / len(near))} nats on average at the {count(len(near), 'layer')} where the "
        f"harmless mean lies {within}, by {number(sum(far) / len(far))} at the others."
    )
