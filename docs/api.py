"""Write docs/api.md from `__all__` of rhat and of its public modules.

    .venv/bin/python docs/api.py

Signatures and first paragraphs are those of the source. A constant is described by the string that follows its assignment,
or, where it is an alias of types, by its definition. The table of other libraries' names is here, in NAMES.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import rhat

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
WIDTH = 110

INTRODUCTION = """\
# API

<!-- Written by docs/api.py from the source. Do not edit by hand. -->

Everything that `rhat` and its public modules export, with the first paragraph of each description; `help(rhat.load)` shows the rest.
[library.md](library.md) is the guided tour. What is not listed here is internal and may change.

`tensor[n d]` in a signature is a float tensor with these axes. Layers count from 0, positions from the end of the prompt.
"""

NAMES = (
    ("load a model", "`HookedTransformer.from_pretrained(NAME)`", "`StandardizedTransformer(NAME)`", "`rhat.load(NAME)`"),
    ("layers, width", "`cfg.n_layers`, `cfg.d_model`", "`num_layers`, `hidden_size`", "`n_layers`, `d_model`"),
    ("the model of transformers", "reimplemented (`TransformerBridge` wraps it)", "wrapped", "`model.hf`, untouched"),
    ("input of block k", "`blocks.k.hook_resid_pre`", "`layers_input[k]`", "`resid_pre.k`"),
    ("output of block k", "`blocks.k.hook_resid_post`", "`layers_output[k]`", "`resid_post.k`, the same as `resid_pre.k+1`"),
    ("between attention and MLP", "`blocks.k.hook_resid_mid`", "no name", "no site; `resid_pre.k` + `attn_out.k` in sequential blocks"),
    ("what attention adds", "`blocks.k.hook_attn_out`", "no name where a norm follows", "`attn_out.k`"),
    ("output of the attention module", "no hook where a norm follows", "`attentions_output[k]`", "`attn_proj.k`"),
    ("what the MLP adds", "`blocks.k.hook_mlp_out`", "`mlps_output[k]`, before a norm that follows", "`mlp_out.k`"),
    ("heads before the output projection", "`blocks.k.attn.hook_z`", "no name", "`head_out.k`, heads side by side"),
    ("each head's part of the output", "`blocks.k.attn.hook_result`", "no name", "no site; `rhat.heads.attribute` gives its mean along r̂"),
    ("queries, keys, values, patterns", "`attn.hook_q`, `hook_k`, `hook_v`, `hook_pattern`", "`attention_probabilities[k]`", "no site"),
    ("read activations", "`run_with_cache(tokens)`", "`with model.trace(text): x = layers_output[k].save()`", "`rhat.activations(model, prompts, sites, position)`"),
    ("read every token", "the cache", "the trace", "`rhat.activations(model, prompts, sites, \"all\")`"),
    ("next-token logits", "`model(tokens)[:, -1]`", "`model.logits[:, -1]` in a trace", "`rhat.logits(model, prompts)`"),
    ("edit a forward pass", "`run_with_hooks(tokens, fwd_hooks=[(name, hook)])`", "assignment in a trace", "`with rhat.model.tap(model, {site: edit}):`"),
    ("hooks that stay", "`with model.hooks(fwd_hooks=…):`", "`with model.edit():` (nnsight)", "`with intervention.on(model):`"),
    ("add a vector", "a hook", "`model.steer(layers=k, steering_vector=v, factor=c)`, at the output of block k", "`rhat.add(direction, c, layer=k + 1)`"),
    ("remove a direction", "a hook", "assignment in a trace", "`rhat.ablate(direction)`"),
    ("patch heads", "`transformer_lens.patching`", "assignment in a trace", "`rhat.heads.patch_heads(attribution, heads)`"),
    ("generate", "`model.generate(text, max_new_tokens=n)`", "`with model.generate(text, max_new_tokens=n):`", "`model.generate(prompts, max_new_tokens=n)`, chat template applied"),
    ("positions", "absolute, padding included", "absolute, left padding by default", "from the end of the prompt: −1 is its last token"),
)  # fmt: skip


def modules() -> Iterator[tuple[str, ModuleType]]:
    """rhat and its public modules by name."""
    yield "rhat", rhat
    for name in rhat.__all__:
        if isinstance(module := getattr(rhat, name), ModuleType):
            yield f"rhat.{name}", module


def exported(module: ModuleType) -> dict[str, Any]:
    """What a module exports, other modules and dunders left out."""
    found = {name: getattr(module, name) for name in module.__all__ if not name.startswith("__")}
    return {name: value for name, value in found.items() if not isinstance(value, ModuleType)}


def is_described(value: Any) -> bool:
    """Whether a value carries a docstring of its own: a class or a function, not a constant or an alias of types."""
    return inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__")


def first_paragraph(text: str | None) -> str:
    """The first paragraph on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def doc_of(module: ModuleType, name: str) -> str:
    """The first paragraph of what is said of an exported name; empty if nothing is."""
    value = getattr(module, name)
    if is_described(value):
        return first_paragraph(value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__)
    return constant(module.__name__, name)[1]


def constant(module: str, name: str) -> tuple[str, str]:
    """How a constant is written where it is defined, and the string after it."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for here, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(here, ast.ImportFrom) and any((a.asname or a.name) == name for a in here.names):
            return constant(str(here.module), name)
        targets = (
            here.targets if isinstance(here, ast.Assign) else [here.target] if isinstance(here, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            return ast.unparse(here), first_paragraph(str(after.value.value)) if described else ""
    return name, ""


def annotation(value: Any) -> str:
    """An annotation as it is written, shapes of tensors without their quotes."""
    text = value if isinstance(value, str) else inspect.formatannotation(value).replace("typing.", "")
    for kind in ("Float", "Int"):
        while (at := text.find(f"{kind}[Tensor, ")) >= 0:
            end = text.index("]", at)
            shape = text[at + len(kind) + 9 : end].strip().strip("\"'").strip()
            text = f"{text[:at]}{'tensor' if kind == 'Float' else 'ints'}[{shape}]{text[end + 1 :]}"
    return text


def default(value: Any) -> str:
    """A default as one would write it; … where it is made for each call."""
    if isinstance(value, enum.Enum):
        return str(value)
    if callable(value):
        return getattr(value, "__name__", "…")
    text = repr(value)
    return "…" if "<" in text or len(text) > 60 else text


def signature(name: str, function: Any) -> str:
    """A call as one would write it, on several lines where it is long."""
    try:
        shape = inspect.signature(function)
    except ValueError:
        return name
    parts, starred = [], False
    for parameter in shape.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        starred |= parameter.kind is parameter.VAR_POSITIONAL
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        said = stars + parameter.name
        if parameter.annotation is not parameter.empty:
            said += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            said += f" = {default(parameter.default)}"
        parts.append(said)
    gives = shape.return_annotation
    after = "" if gives in (shape.empty, None, "None") or inspect.isclass(function) else f" -> {annotation(gives)}"
    line = f"{name}({', '.join(parts)}){after}"
    return line if len(line) <= WIDTH else f"{name}(\n    " + ",\n    ".join(parts) + f",\n){after}"


def members(kind: type) -> Iterator[str]:
    """A line for every public method and property of a class, its own and those of rhat's classes that it extends."""
    seen: set[str] = set()
    for owner in kind.__mro__:
        if not owner.__module__.startswith("rhat"):
            continue
        for name, value in vars(owner).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            inner = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
            if not inspect.isfunction(inner) or not inner.__doc__:
                continue
            called = inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)
            written = " ".join(signature(name, inner).split()) if called else name
            written = written.replace("( ", "(").replace(",)", ")")
            yield f"- `{written}`: {first_paragraph(inner.__doc__)}"


def entry(module: ModuleType, name: str, homes: dict[int, str]) -> list[str]:
    """What the page says of one exported name; a reference where another module has said it."""
    value = getattr(module, name)
    full = f"{module.__name__}.{name}"
    if id(value) in homes and is_described(value):
        return [f"`{full}` is `{homes[id(value)]}`: {doc_of(module, name)}", ""]
    homes.setdefault(id(value), full)
    if not is_described(value):
        written = constant(module.__name__, name)[0]
        shown = [] if "\n" in written or len(written) > WIDTH else ["```python", written, "```", ""]
        return [f"### {name}", "", *shown, doc_of(module, name), ""]
    protocol = getattr(value, "_is_protocol", False)
    code = f"class {name}(Protocol)" if protocol else signature(full if module is rhat else name, value)
    said = [f"### {name}", "", "```python", code, "```", "", doc_of(module, name), ""]
    listed = list(members(value)) if inspect.isclass(value) and not issubclass(value, Exception) else []
    return [*said, *listed, *([""] if listed else [])]


def names() -> list[str]:
    """The table of other libraries' names."""
    return [
        "## Names in TransformerLens, nnterp and rhat",
        "",
        "| | TransformerLens | nnterp | rhat |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in NAMES),
        "",
        "TransformerLens folds norms and centres weights unless told otherwise, so its activations differ from those of transformers;",
        "`from_pretrained_no_processing` does not. rhat and nnterp read the model of transformers as it is.",
        "",
    ]


def page() -> str:
    """The whole page."""
    homes: dict[int, str] = {}
    # homes of what several modules export: the module itself, and only then the shorthand on rhat
    sections = {}
    found = list(modules())
    for title, module in [*found[1:], found[0]]:
        lines = [f"## {title}", "", first_paragraph(module.__doc__), ""]
        for name in exported(module):
            lines += entry(module, name, homes)
        sections[title] = lines
    contents = ["Contents: " + ", ".join(f"[{title}](#{title.replace('.', '')})" for title, _ in found) + ".", ""]
    body = [line for title, _ in found for line in sections[title]]
    return "\n".join([INTRODUCTION, *contents, *names(), *body]).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
