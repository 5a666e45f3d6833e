"""Write docs/families.md, and the README's block of families, from the table that the conformance suite runs on.

    .venv/bin/python docs/families.py

What is said of a family is read off its tiny model: tests/model/test_families.py proves it there. The second table is made
by running tests/sweep.py on every causal language model of transformers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from rhat.model import ChatModel, Read, tap  # noqa: E402
from rhat.sites import Site  # noqa: E402
from shrunk import KINDS  # noqa: E402
from sweep import Row, tried  # noqa: E402
from tiny import FAMILIES, Family, tiny_chat_model  # noqa: E402

PAGE, README = ROOT / "docs" / "families.md", ROOT / "README.md"
BEGIN, END = "<!-- families: docs/families.py -->", "<!-- end -->"
N_LAYERS = 3


def architecture(family: Family) -> str:
    """The transformers class that the family's configuration makes."""
    config = getattr(transformers, family.config)
    return transformers.MODEL_FOR_CAUSAL_LM_MAPPING[config].__name__


def parallel(model: ChatModel) -> bool:
    """Whether the MLP does not see what attention adds in the same block: proved by editing that."""
    if model.layout.parts[0].attn_out is None or model.layout.parts[0].mlp_out is None:
        return False
    heard: list[torch.Tensor] = []

    class Shift:
        def __call__(self, x, _context):
            return x + 1

        def first_position(self, prompt_length, template_start):
            return 0

    read = {Site("mlp_out", 0): Read(lambda x, _context: heard.append(x.clone()))}
    for edits in (read, {Site("attn_out", 0): Shift(), **read}):
        with torch.no_grad(), tap(model, edits):
            model.hf(input_ids=torch.arange(40, 52)[None], use_cache=False)
    return torch.equal(*heard)


def peculiarities(family: Family, model: ChatModel) -> str:
    """What sets its blocks apart, as far as it matters to reading and editing them."""
    config, parts = model.text_config, model.layout.parts
    names = " ".join(name for part in parts for name, _ in part.block.named_modules())
    weights = model.hf.get_input_embeddings().weight, model.hf.get_output_embeddings().weight
    windows = {"sliding_attention", "chunked_attention"} & set(getattr(config, "layer_types", None) or ())
    found = {
        "attention and MLP in parallel": parallel(model),
        "a third part": family.third,
        "gated residuals": model.layout.parts[0].sum == "unaccounted",
        "norms after the additions": model.layout.parts[0].sum == "post-norm",
        "norms before the additions": any("norm" in name for part in parts for name in part.names[1:]),
        "scaled additions": any(c != 1.0 for part in parts for c in (*part.scales, part.carry)),
        "fused query, key and value": any(n in names for n in ("qkv", "query_key_value", "c_attn")),
        "latent attention": "kv_lora_rank" in family.settings,
        "experts": "expert" in names or any("experts" in name for name in family.settings),
        "windows": bool(windows or getattr(config, "sliding_window", None)),
        "ALiBi": family.mask == "2d",
        "soft caps": any("softcap" in name or "soft_cap" in name for name in vars(config) if getattr(config, name)),
        "tied embeddings": weights[0] is weights[1],
        "text part of a multimodal model": bool(family.text),
    }
    return ", ".join(name for name, there in found.items() if there)


def lacking(family: Family) -> str:
    """Which sites it has."""
    if not family.lacks:
        return "all"
    blocks = set(family.lacks.values())
    where = "" if blocks == {tuple(range(N_LAYERS))} else " in blocks without attention"
    names = [f"`{kind}`" for kind in family.lacks]
    return "all but " + " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) + where


def row(name: str, family: Family) -> str:
    """The family's row of the page."""
    model = tiny_chat_model(name, N_LAYERS, torch.float32)
    way = "fast" if family.mask else "plain" if family.pads else "plain, one prompt at a time"
    return f"| {name} | `{architecture(family)}` | {lacking(family)} | {way} | {peculiarities(family, model)} |"


def conformance() -> str:
    """The page's first part: the families that the conformance suite runs on."""
    supported = {name: family for name, family in FAMILIES.items() if not family.refused}
    return "\n".join(
        [
            "# Families",
            "",
            "<!-- Written by docs/families.py from tests/tiny.py and tests/sweep.py. Do not edit by hand. -->",
            "",
            "## Tested in full",
            "",
            f"{len(supported)} architectures are tested site by site, each as a tiny random model built from its configuration: every site has its",
            "shape, an edit there changes the logits and leaving it restores them bit for bit, the parts of a block add up to the residual stream and",
            "the heads to the attention output, every operator in every scope gives the same result on the fast and the plain path, and greedy answers",
            "equal those of `transformers`. `pytest tests/model/test_families.py` runs these tests.",
            "",
            "| family | architecture | sites | path | special features |",
            "| --- | --- | --- | --- | --- |",
            *(row(name, family) for name, family in supported.items()),
            "",
            "The fast path shares the common prefix of prompts and starts at the edited layer; the plain path runs whole prompts. Results are the same.",
            "A site that a family lacks is rejected, with its name.",
            "",
        ]
    )


def line(found: Row) -> str:
    """What the page says of one kind of model in the sweep."""
    if found.outcome == "works":
        cells = (f"`{found.kind}`", f"`{found.architecture}`", found.find, found.ablate, found.heads, found.path)
        return "| " + " | ".join(cells) + " |"
    name = f"`{found.kind}`" + (f" (`{found.architecture}`)" if found.architecture else "")
    return f"- {name}: {found.said}"


def swept(rows: list[Row]) -> str:
    """The page's second part: every causal language model of transformers."""
    of = {outcome: [line(r) for r in rows if r.outcome == outcome] for outcome in ("works", "rejected", "not built")}
    return "\n".join(
        [
            "## Every causal language model of transformers",
            "",
            f"All {len(rows)} kinds of causal language model in transformers {transformers.__version__}. Each is built with two blocks, from its default",
            "configuration shrunk by the names of its settings, and run: `pytest tests/model/test_every_architecture.py`. Nothing there is",
            f"written for one family. {len(of['works'])} agree with plain `transformers`: logits after prompts of unequal length, alone and together, greedy",
            "answers, and what is read and added at a block's input; and after ablation nothing is left along r̂ in any block's input or output.",
            "",
            '- `find` is "yes" if reading and steering the residual stream give the same as hooks on `transformers`.',
            '- `ablate` states what ablation at all layers acts on. "all parts": each block\'s input and everything it adds, so that nothing writes r̂',
            '  again. "parts and output": the same and the block\'s output, because norms after the additions may reintroduce r̂ inside the block.',
            '  "input and output": the parts of these blocks cannot be separated, so r̂ may be written again inside a block, and is removed',
            "  at its end. `results.json` and `rhat check` state which applies.",
            '- `heads` is "yes" if every block has attention heads that can be read, attributed and patched.',
            "",
            "| kind | architecture | `find` | `ablate` | `heads` | path |",
            "| --- | --- | --- | --- | --- | --- |",
            *of["works"],
            "",
            "### Rejected when loaded",
            "",
            *of["rejected"],
            "",
            "### Not tested: the shrunk configuration gives no model that transformers runs",
            "",
            *of["not built"],
            "",
        ]
    )


def block() -> str:
    """The README's table: which architectures, by how they are run."""
    groups = {
        "every site, fast path": lambda f: not f.refused and f.mask and not f.lacks,
        "plain path, or some sites missing": lambda f: not f.refused and not (f.mask and not f.lacks),
        "not supported (clear error): no attention layers": lambda f: bool(f.refused),
    }
    lines = ["| | architectures |", "| --- | --- |"]
    for title, belongs in groups.items():
        some = dict.fromkeys(
            architecture(f).split("For")[0].removesuffix("LMHeadModel") for f in FAMILIES.values() if belongs(f)
        )
        lines.append(f"| {title} | {', '.join(some)} |")
    return "\n".join(lines)


def put(text: str, new: str) -> str:
    """The README with its block replaced, if it has one."""
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return text
    return f"{before}{BEGIN}\n{new}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    rows = [tried(kind) for kind in KINDS]
    PAGE.write_text(f"{conformance()}\n{swept(rows)}", "utf-8")
    README.write_text(put(README.read_text("utf-8"), block()), "utf-8")


if __name__ == "__main__":
    main()
