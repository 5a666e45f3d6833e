"""What a run cannot say, and how it is cited: both from its own numbers."""

from __future__ import annotations

from collections.abc import Mapping

from rhat.artifacts.run import Results

FILES = {
    "results.json": "every number of this page, as JSON",
    "per_prompt.parquet": "verdict, score and projection of each prompt and condition, as Parquet",
    "completions.jsonl": "verdicts of each answer; texts of harmless prompts' answers only",
    "direction.safetensors": "the direction r̂",
}


def limits(results: Results) -> list[str]:
    """Sentences on what this run leaves open: model, prompts, sizes, reading of answers, and what was looked at."""
    model, sizes = results.model, sorted({row.n for row in results.rates})
    said = [
        f"One model in one precision: {model.name}, {model.dtype}. Other models, other weights of the same name and other precisions "
        "need their own run."
    ]
    if sizes:
        widest = max(results.rates, key=lambda row: row.ci_high - row.ci_low)
        said.append(
            f"Rates rest on {' to '.join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))} test prompts of each kind. The widest interval "
            f"of a rate spans {100 * (widest.ci_high - widest.ci_low):.0f} points: differences smaller than the intervals may exist "
            "and remain unseen."
        )
    said.append(
        "Intervals hold for new prompts like these: of one style, in a single turn, answered by greedy decoding. They say nothing about "
        "other languages, conversations, or attacks."
    )
    tokens = results.settings.get("judged_tokens")
    said.append(
        f"Only {f'the first {tokens} tokens' if tokens else 'the beginning'} of an answer {'are' if tokens else 'is'} read. The section on how "
        "answers were read states how often the judge is wrong."
    )
    if results.direction is not None:
        kept = [row for row in results.prompts if row.kept is not None and row.split == "train"]
        used = ", ".join(f"{row.kept} of {row.given} {row.label}" for row in kept)
        said.append(
            f"One direction, chosen by one rule{f', from the training prompts on which the model behaves as labelled ({used})' if used else ''}. "
            "Another seed, other prompts or another finder may give a different one; see the questions on stability and finders."
        )
    said.append(
        "Only the claims in the table at the top were fixed before the run; everything else on this page is exploratory."
    )
    return said


def citation(results: Results) -> str:
    """This run as a BibTeX entry: the model with its revision, the prompts' fingerprint, seed, preset and rhat's version."""
    manifest, model = results.manifest, results.model
    versions = manifest.get("versions")
    version = versions.get("rhat", "") if isinstance(versions, Mapping) else ""
    year = str(manifest.get("finished", ""))[:4]
    notes = [
        f"weights {model.revision_or_sha256[:12]}" if model.revision_or_sha256 else "",
        f"prompts {results.prompts_fingerprint[:12]}" if results.prompts_fingerprint else "",
        *(f"{name} {results.settings[name]}" for name in ("preset", "seed") if name in results.settings),
    ]
    fields = {
        "title": f"The refusal direction of {model.name}: a study with rhat {version}".strip(),
        "year": year,
        "note": ", ".join(note for note in notes if note),
    }
    body = "".join(f"  {name} = {{{text}}},\n" for name, text in fields.items() if text)
    return f"@misc{{rhat-run,\n{body}}}"
