"""Reading activations at positions counted from the end of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.capture.moments import gather_positions
from rhat.errors import SiteError
from rhat.model.chat import ChatModel
from rhat.model.clean_run import CleanRun
from rhat.model.edits import Edit, Edits, Read, merge
from rhat.model.logits import last_logits, run_until
from rhat.model.origin import check_read, check_rows
from rhat.model.plans import Plan, make_batch
from rhat.model.positions import TokenContext
from rhat.model.precision import wide
from rhat.sites import Site


def _columns(context: TokenContext, positions: Sequence[int]) -> Int[Tensor, "rows k"]:
    """Where in this batch each row's prompt positions (from the end, −1 the last) stand."""
    wanted = context.prompt_length[:, None] + torch.tensor(positions, device=context.positions.device)
    found = (context.positions[:, None, :] == wanted[:, :, None]) & context.real[:, None, :]
    return found.long().argmax(-1)


def _reaching(model: ChatModel, plan: Plan, positions: Sequence[int]) -> Plan:
    """The plan, its prompts whole where a position of the shortest lies in the shared prefix, which is run once for all prompts.

    Raises:
        SiteError: if a prompt has no such position.
    """
    first, last = min(positions), max(positions)
    lengths = [len(tokens) for tokens in plan.prompts]
    if last >= 0 or first < -min(lengths):
        short = lengths.index(min(lengths))
        raise SiteError(
            f"position {last if last >= 0 else first}: positions count from the end of a prompt, −1 its last token, and prompt "
            f"{short + 1} has {lengths[short]} tokens, chat template included; give one from −{lengths[short]} to −1"
        )
    if first >= plan.prefix_length - min(lengths) or not plan.prefix_length:
        return plan
    if sum(len(batch.rows) for batch in plan.batches) < len(plan):  # some batches of a plan stay those batches
        whole = [
            make_batch([plan.prompts[i] for i in rows], rows, 0, plan.template_length, plan.prefix.device)
            for rows in (batch.rows.tolist() for batch in plan.batches)
        ]
        return replace(plan, prefix=plan.prefix[:, :0], batches=tuple(whole))
    return model.lay_out(plan.prompts, plan.template_length, share_prefix=False)


def capture(
    model: ChatModel,
    plan: Plan,
    sites: Sequence[Site],
    positions: Sequence[int],
    visit: Callable[[Int[Tensor, " rows"], Float[Tensor, "rows vocab"], dict[Site, Float[Tensor, "rows k d"]]], None],
    edits: Edits | None = None,
) -> None:
    """Run prompts and call `visit(rows, logits, {site: [rows, k, d]})` with each batch's activations.

    `positions` count from the end of the prompt (−1: its last token). Edits come before readers at the same site, so that what is read is what the model goes on with.
    Nothing is kept between batches; activations are in the model's dtype.

    Raises:
        SiteError: if a site or position is not there.
        NonFiniteError: if an activation that is read, or a logit, is not finite.
    """
    plan = _reaching(model, plan, positions)
    held, readers = _readers(sites, positions)
    last = [site for site in sites if site.kind != "resid_pre" and site.layer == model.n_layers - 1]
    for rows, logits in last_logits(model, plan, merge(edits or {}, readers)):
        # what is read earlier reaches the logits, which are checked; of the last block only the last position does
        check_read(model, plan.prompts, rows, {site: held[site] for site in last}, edits)
        visit(rows, logits, dict(held))
        held.clear()


def captured(
    model: ChatModel,
    plan: Plan,
    sites: Sequence[Site],
    positions: Sequence[int],
    edits: Edits | None = None,
    clean: CleanRun | None = None,
) -> Iterator[tuple[Int[Tensor, " rows"], dict[Site, Float[Tensor, "rows k d"]]]]:
    """The same without logits, batch by batch: (which prompts, {site: [rows, k, d]}). Nothing above the sites is run, and with a
    `clean` run of the plan nothing below the first site or edit.

    Raises:
        SiteError: if a site or position is not there.
        NonFiniteError: if an activation that is read is not finite.
    """
    whole, plan = plan, _reaching(model, plan, positions)
    clean = clean if plan is whole else None
    held, readers = _readers(sites, positions)
    for rows in run_until(model, plan, merge(edits or {}, readers), _end(sites), clean):
        check_read(model, plan.prompts, rows, held, edits)
        yield rows, dict(held)
        held.clear()


def _readers(sites: Sequence[Site], positions: Sequence[int]) -> tuple[dict[Site, Tensor], dict[Site, Edit]]:
    """Edits that only read, and where they put what they read of a batch."""
    held: dict[Site, Tensor] = {}

    def reader(site: Site) -> Read:
        def keep(activation: Tensor, context: TokenContext) -> None:
            if int(context.rows[0]) >= 0:  # not the shared prefix, which holds no template tokens
                held[site] = gather_positions(activation, _columns(context, positions))

        return Read(keep)

    return held, {site: reader(site) for site in sites}


def _end(sites: Sequence[Site]) -> int:
    """The first block that need not run for these sites to be read."""
    return max(site.layer if site.kind == "resid_pre" else site.layer + 1 for site in sites)


def captured_all_tokens(
    model: ChatModel, plan: Plan, sites: Sequence[Site], edits: Edits | None = None
) -> Iterator[tuple[Int[Tensor, " rows"], dict[int, dict[Site, Float[Tensor, "seq d"]]]]]:
    """Activations of every prompt token, batch by batch: (which prompts, {prompt: {site: [seq, d]}}).

    Raises:
        SiteError: if a site is not there.
        NonFiniteError: if an activation that is read is not finite.
    """
    prefix: dict[Site, Tensor] = {}
    found: dict[int, dict[Site, Tensor]] = {}

    def reader(site: Site) -> Read:
        def keep(activation: Tensor, context: TokenContext) -> None:
            for row, real, value in zip(context.rows.tolist(), context.real, activation, strict=True):
                if row < 0:
                    prefix[site] = value.clone()
                else:
                    own = value[real]
                    found.setdefault(row, {})[site] = torch.cat([prefix[site], own]) if site in prefix else own

        return Read(keep)

    for rows in run_until(model, plan, merge(edits or {}, {site: reader(site) for site in sites}), _end(sites)):
        bad = [any(not bool(x.isfinite().all()) for x in found[row].values()) for row in rows.tolist()]
        check_rows(model, plan.prompts, rows, torch.tensor(bad), edits)
        yield rows, dict(found)
        found.clear()


def capture_all_tokens(
    model: ChatModel,
    plan: Plan,
    site: Site,
    unit: Float[Tensor, " d"],
    edits: Edits | None = None,
) -> list[Float[Tensor, " seq"]]:
    """Projection of every prompt token at a site on a unit vector, float64, one tensor a prompt, in order of position."""
    found: dict[int, Tensor] = {}
    prefix: list[Tensor] = []

    def keep(activation: Tensor, context: TokenContext) -> None:
        exact = wide(activation)
        values = exact @ wide(unit).to(exact.device)
        real_here = context.real.to(exact.device)
        for row, real, value in zip(context.rows.tolist(), real_here, values, strict=True):
            if row < 0:
                prefix[:] = [value]
            else:
                found[row] = torch.cat([*prefix, value[real]])

    for rows in run_until(model, plan, merge(edits or {}, {site: Read(keep)}), _end([site])):
        bad = torch.stack([~found[row].isfinite().all() for row in rows.tolist()])
        check_rows(model, plan.prompts, rows, bad, edits)
    return [found[i] for i in range(len(plan))]
