"""Finite: no NaN and no infinity passes as a number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rhat.errors import NonFiniteError

Call = tuple[str, Tensor, Tensor]  # a submodule's name inside its block, what went in, what came out
REMEDIES = {
    torch.float16: "load the model with --dtype bfloat16 or float32",
    torch.bfloat16: "load the model with --dtype float32; if that is no better, its weights are damaged: fetch them again",
    torch.float32: "its weights are probably damaged: fetch them again, or see whether --dtype float64 helps",
}


def faulty(logits: Float[Tensor, "*rows vocab"]) -> Bool[Tensor, "*rows"]:
    """Which rows are no distribution: a NaN or +inf is among their logits, or all are −inf. Some −inf are masked tokens.

    The largest logit says all three: a maximum that meets NaN is NaN.
    """
    return ~logits.amax(-1).isfinite()


def distance(got: Tensor, truth: Tensor) -> float:
    """|got − truth| / |truth|; tokens masked in both (−inf) are left out, and anything else that is not finite is inf."""
    masked = got.isneginf() & truth.isneginf()
    got, truth = got.masked_fill(masked, 0.0), truth.masked_fill(masked, 0.0)
    error = float((got - truth).norm() / truth.norm().clamp_min(1e-12))
    return error if error < float("inf") else float("inf")


def check_probe(
    hf: nn.Module, base_name: str, blocks_name: str, ids: Tensor, records: Sequence[Sequence[Call]], logits: Tensor
) -> None:
    """Raise NonFiniteError if a block's output, or the logits, of the layout's probe of `ids` are not finite."""
    where = None
    for index, record in enumerate(records):
        block = f"{blocks_name}.{index}"
        whole = next((call for call in reversed(record) if call[0] == ""), None)
        if whole is None or bool(whole[2].isfinite().all()):
            continue
        if not bool(whole[1].isfinite().all()):
            where = "the embeddings" if index == 0 else f"what goes into {block}"
            break
        for name, given, result in record:
            inside = f"{block}.{name}".rstrip(".")
            if not bool(given.isfinite().all()):
                where = f"what goes into {inside}"
            elif not bool(result.isfinite().all()):
                where = inside
            if where is not None:
                break
        break
    if where is None and bool(faulty(logits).any()):
        with torch.no_grad():
            hidden = hf.get_submodule(base_name)(input_ids=ids, use_cache=False)[0]
        where = "the logits" if bool(hidden.isfinite().all()) else "the final norm"
    if where is not None:
        raise NonFiniteError(sentence(type(hf).__name__, hf, logits.dtype, where))


def sentence(name: str, hf: nn.Module, dtype: torch.dtype, where: str) -> str:
    """What is wrong, from where on, and what to do."""
    remedy = REMEDIES.get(dtype, "its weights are damaged: fetch them again")
    weight = _weight(hf)
    if weight is not None:
        where = f"{where} on, for weights are not ({weight})"
        if dtype == torch.float16:
            remedy += "; if that is no better, its weights are damaged: fetch them again"
        elif dtype in REMEDIES:
            remedy = "its weights are damaged: fetch them again"
    else:
        where += " on"
    return f"{name}: values are not finite in {with_range(dtype)} from {where}; {remedy}"


def with_range(dtype: torch.dtype) -> str:
    """A precision and the largest number that it holds."""
    return f"{str(dtype).removeprefix('torch.')} (at most {torch.finfo(dtype).max:.5g})"


def _weight(hf: nn.Module) -> str | None:
    """The first weight that holds a NaN or an infinity; those on disk are not looked at."""
    for name, weight in hf.named_parameters():
        if weight.is_floating_point() and weight.device.type != "meta" and weight.numel():
            low, high = weight.detach().aminmax()
            if not bool(low.isfinite() & high.isfinite()):
                return name
    return None
