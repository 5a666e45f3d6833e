"""Origin: where in a forward pass the first number that is not finite was made.

A pass is judged by the largest logit of each row, which costs next to nothing. Only a row that fails is run again, plainly
and alone, with every site read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rhat.errors import NonFiniteError
from rhat.model.decoder import Decoder
from rhat.model.edits import Edits, Read, merge
from rhat.model.finite import REMEDIES, faulty, sentence, with_range
from rhat.model.passes import lm_head, run_model
from rhat.model.plain import left_padded
from rhat.model.tap import declared, has, tap
from rhat.sites import KINDS, Site


def check_logits(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    rows: Int[Tensor, " rows"],
    logits: Float[Tensor, "rows vocab"],
    edits: Edits | None = None,
) -> None:
    """Raise NonFiniteError if any row of logits is no distribution; `rows` says which prompt each belongs to."""
    check_rows(model, prompts, rows, faulty(logits), edits)


def check_read(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    rows: Int[Tensor, " rows"],
    read: Mapping[Site, Tensor],
    edits: Edits | None = None,
) -> None:
    """Raise NonFiniteError if any activation that was read, [rows, …], is not finite."""
    if read:
        bad = [~x.isfinite().flatten(1).all(1) for x in read.values()]
        check_rows(model, prompts, rows, torch.stack([b.to(bad[0].device) for b in bad]).any(0), edits)


def check_rows(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    rows: Int[Tensor, " rows"],
    bad: Bool[Tensor, " rows"],
    edits: Edits | None = None,
) -> None:
    """Raise NonFiniteError for the first bad row; `rows` says which prompt each belongs to."""
    found = bad.nonzero()
    if len(found):
        at = int(rows[int(found[0, 0])])
        raise not_finite(model, prompts[at], edits, row=at)


def not_finite(
    model: Decoder,
    tokens: Sequence[int],
    edits: Edits | None = None,
    *,
    row: int = 0,
    prompt_length: int | None = None,
    template_length: int | None = None,
) -> NonFiniteError:
    """The error for a sequence whose logits or activations were not finite: where that begins, and what to do.

    `row` is the row id that the edits see; `prompt_length` counts the prompt's tokens where others follow.
    """
    length = len(tokens) if prompt_length is None else prompt_length
    shape = row, length, model.template_length if template_length is None else template_length
    where = _begins(model, tokens, edits or {}, *shape)
    if where is None:
        return NonFiniteError(
            f"{model.name}: logits that are not finite in {with_range(model.dtype)}, but not if the same prompt is run alone "
            f"on the plain path; set RHAT_SLOW=1, or {REMEDIES.get(model.dtype, 'take another model')}"
        )
    if edits and _begins(model, tokens, {}, *shape) is None:
        return NonFiniteError(
            f"{model.name}: under this intervention, and only then, values are not finite in {with_range(model.dtype)} from "
            f"{where} on; take a smaller value or another layer, or load the model with a wider --dtype"
        )
    return NonFiniteError(sentence(model.name, model.hf, model.dtype, where))


def _begins(
    model: Decoder, tokens: Sequence[int], edits: Edits, row: int, prompt_length: int, template_length: int
) -> str | None:
    """The first place in a plain pass of one sequence that is not finite; None if its logits are."""
    found: list[str] = []

    def reader(site: Site) -> Read:
        def look(x: Tensor, _context: object) -> None:
            if not found and not bool(x.isfinite().all()):
                found.append(str(site))

        return Read(look)

    layout = model.layout
    sites = [Site(kind, layer) for layer in range(layout.n_layers) for kind in KINDS]
    readers = {site: reader(site) for site in sites if has(layout, site)}
    lengths = torch.tensor([prompt_length])
    ids, mask, context = left_padded(model, [tuple(tokens)], torch.tensor([row]), lengths, template_length)
    with torch.no_grad(), declared(context), tap(model, merge(edits, readers)):
        hidden: Tensor = run_model(model, ids, mask, context, bare=True)[0]
    with torch.no_grad():
        bad = bool(faulty(lm_head(model, hidden[0])).any())
    if not found and not bad:
        return None
    if found == ["resid_pre.0"] and not any(site == Site("resid_pre", 0) for site in edits):
        return "the embeddings (resid_pre.0)"
    if found:
        return found[0]
    return "the final norm" if not bool(hidden.isfinite().all()) else "the logits"
