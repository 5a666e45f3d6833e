"""Rotary positions that depend on how long the sequence is: each token is turned as plain transformers turns it.

With longrope a sequence beyond its original length has other frequencies than a shorter one; with dynamic scaling every
length beyond the limit has frequencies of its own, and the module keeps those of the longest that it has seen. Transformers
takes the length from the largest position of the batch, so that a long row changes short ones, and a shared prefix is always
short. Here each token is turned for the length of its own row: a prompt's tokens for the prompt's, each generated one for
the length at which it was fed, as `hf.generate` does with a cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from rhat.errors import ModelError
from rhat.model.layout import Layout, text_config
from rhat.model.plans import Plan
from rhat.model.positions import TokenContext
from rhat.model.replacing import replaced

# Types whose frequencies are fixed once the model is built. What is not here depends on the length for all that is known.
FIXED = frozenset({"default", "linear", "yarn", "llama3", "proportional", "axial", "mrope"})
SWITCHING = frozenset({"longrope", "su"})  # one set of frequencies up to a length, another beyond ("su": the old name)


@dataclass(frozen=True)
class Rope:
    """One kind of rotation of a configuration.

    kind    its type, as the configuration names it
    length  the length up to which its frequencies are the first ones; None: they never change
    exact   whether each length beyond has frequencies of its own, rather than all the same
    """

    kind: str
    length: int | None
    exact: bool = False


def ropes(config: Any) -> tuple[Rope, ...]:
    """The rotations that a text decoder's configuration names: one, or one for each type of layer; none without rope."""
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(given, Mapping):
        return ()
    nested = [value for value in given.values() if isinstance(value, Mapping)]
    return tuple(dict.fromkeys(_rope(one, config) for one in nested or [given]))


def _rope(given: Mapping[str, Any], config: Any) -> Rope:
    kind = str(given.get("rope_type") or given.get("type") or "default")
    if kind in FIXED:
        return Rope(kind, None)
    longest = getattr(config, "max_position_embeddings", None)
    if kind in SWITCHING:
        name = "original_max_position_embeddings"
        return Rope(kind, given.get(name) or getattr(config, name, None) or longest or 0)
    # A type that is not known is taken to turn every length in its own way, from the first token on: slow, and never wrong.
    return Rope(kind, (longest or 0) if "dynamic" in kind else 0, exact=True)


@dataclass(frozen=True, eq=False)
class Rotation:
    """How a model's rotations depend on the length of the sequence.

    ropes    what its configuration names
    modules  those that compute rotations which may change; none where none does
    renewed  lengths beyond which `hf.generate` drops its cache and recomputes everything
    fault    why rotations that may change cannot be set token by token; empty where they can, or never change
    """

    ropes: tuple[Rope, ...] = ()
    modules: tuple[nn.Module, ...] = ()
    renewed: tuple[int, ...] = ()
    fault: str = ""

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths beyond which some rotation changes, ascending."""
        return tuple(sorted({rope.length for rope in self.ropes if rope.length is not None}))

    def regime(self, lengths: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
        """The shortest length at which tokens are turned as at these: equal where rotations are."""
        if not self.lengths:
            return torch.ones_like(lengths)
        bounds = torch.tensor(self.lengths, device=lengths.device)
        starts = torch.cat([bounds.new_ones(1), bounds + 1])
        found = starts[torch.bucketize(lengths.contiguous(), bounds)]
        limits = [rope.length for rope in self.ropes if rope.exact and rope.length is not None]
        return torch.where(lengths > min(limits), lengths, found) if limits else found

    def alike(self, lengths: Sequence[int]) -> bool:
        """Whether sequences of these lengths are turned alike, so that they may share keys."""
        return not self.lengths or bool((found := self.regime(torch.tensor(list(lengths)))).eq(found[0]).all())

    def reach(self, context: TokenContext) -> Int[Tensor, "batch seq"]:
        """For each token the length of the sequence for which it is turned."""
        prompt = context.prompt_length[:, None].expand(context.positions.shape)
        if context.length is not None:
            prompt = torch.maximum(prompt, context.length[:, None])
        found = torch.where(context.real, torch.maximum(prompt, context.positions + 1), prompt)
        for length in self.renewed:  # once beyond, nothing is left of what was turned before
            over = found.amax(-1, keepdim=True) > length
            found = torch.where(over, found.clamp_min(length + 1), found)
        return found

    def check_shared(self, plan: Plan) -> None:
        """Raises ModelError if prompts that share a prefix turn it differently."""
        if plan.prefix_length and not self.alike([len(p) for p in plan.prompts]):
            raise ModelError(
                f"a plan of prompts of {min(map(len, plan.prompts))} to {max(map(len, plan.prompts))} tokens shares "
                f"a prefix, but this model turns tokens differently beyond {self.lengths[0]}; "
                "lay prompts out with ChatModel.plan or ChatModel.lay_out"
            )


def rotation(hf: Any, layout: Layout, dtype: torch.dtype, device: torch.device) -> Rotation:
    """How a model's rotations depend on the length, and the modules that compute them; tried on them alone."""
    found = ropes(text_config(hf))
    if all(rope.length is None for rope in found):
        return Rotation(found)
    modules = tuple(m for m in layout.base.modules() if _may_change(getattr(m, "rope_type", None)))
    kinds = {kind for m in modules for kind in _kinds(m.rope_type)}
    missing = {rope.kind for rope in found if rope.length is not None} - kinds
    if missing:
        return Rotation(found, fault=f"no module computes its {', '.join(sorted(missing))} rotation alone")
    lengths = Rotation(found).lengths
    mine = Rotation(found, modules, tuple(n for n in lengths if _renews(hf, n)))
    x = torch.zeros(1, 1, layout.d_model, dtype=dtype, device=device)
    return mine if _settable(mine, x) else Rotation(found, fault="its rotation cannot be set token by token")


def _kinds(kind: Any) -> tuple[str, ...]:
    return tuple(kind.values()) if isinstance(kind, Mapping) else (kind,) if isinstance(kind, str) else ()


def _may_change(kind: Any) -> bool:
    return any(one not in FIXED for one in _kinds(kind))


class _Held(DynamicLayer):
    """A cache's layer that says that it holds so many tokens."""

    def __init__(self, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = length

    def get_seq_length(self) -> int:
        return self.length


def _renews(hf: Any, length: int) -> bool:
    """Whether `hf.generate` lets go of its cache when a sequence grows beyond `length`; asked of the model itself."""
    cache = Cache(layers=[_Held(length)])
    ids = torch.zeros(1, length + 1, dtype=torch.long, device=next(hf.parameters()).device)
    try:
        given = hf.prepare_inputs_for_generation(
            ids, past_key_values=cache, attention_mask=torch.ones_like(ids), use_cache=True
        )
    except Exception:  # whatever a model asks for there: it has nothing of its own to say about length
        return False
    return given.get("past_key_values") is None


@contextmanager
def turned(rotation: Rotation, context: TokenContext | None) -> Iterator[None]:
    """Let every token of the forward passes inside be turned for the length of its own row, by `context`.

    Without one they are turned as by a model that has seen nothing yet.
    """
    if context is not None and rotation.modules:
        with _turned(rotation, rotation.reach(context)):
            yield
        return
    for module in rotation.modules:
        _forget(module)
    try:
        yield
    finally:
        for module in rotation.modules:
            _forget(module)


def _layer_types(module: Any) -> list[dict[str, Any]]:
    """What to add to a call of a module, once for each type of layer that it tells apart."""
    return [{"layer_type": kind} for kind in module.rope_type] if isinstance(module.rope_type, Mapping) else [{}]


def _forget(module: Any) -> None:
    """Let a module that keeps the frequencies of the longest sequence let go of them, as a short sequence makes it."""
    x = torch.zeros(1, 1, 1, device=next(module.buffers()).device)
    with torch.no_grad():
        for more in _layer_types(module):
            module(x, x[..., 0].long(), **more)


@contextmanager
def _turned(rotation: Rotation, lengths: Int[Tensor, "rows seq"]) -> Iterator[None]:
    with ExitStack() as stack:
        for module in rotation.modules:
            stack.enter_context(replaced(module, _around(module.forward, rotation, lengths)))
        yield


def _around(forward: Any, rotation: Rotation, lengths: Int[Tensor, "rows seq"]) -> Any:
    """The module's own forward, once for each regime, with one position more: the last one of the sequence."""

    def run(*args: Any, **kwargs: Any) -> Any:
        positions = kwargs["position_ids"] if "position_ids" in kwargs else args[1]

        def at(these: Tensor) -> Any:
            if "position_ids" in kwargs:
                return forward(*args, **{**kwargs, "position_ids": these})
            return forward(args[0], these, *args[2:], **kwargs)

        first = torch.zeros_like(positions[..., :1])
        here = lengths.to(positions.device)
        if here.shape[-1] != positions.shape[-1]:
            raise ModelError(
                f"rotation: got {positions.shape[-1]} positions, expected the {here.shape[-1]} tokens of the batch; "
                "set RHAT_SLOW=1 and report this model"
            )
        regimes = rotation.regime(here)
        positions = torch.minimum(positions, here - 1)  # padding has any position
        done: tuple[Tensor, ...] | None = None
        for regime in regimes.unique().tolist():
            # One pass over the module for each regime that occurs. Tokens of other regimes stand at position 0 meanwhile, so
            # that the position added at the end, the last of a sequence of this regime, is the largest: from that one the
            # module takes the length.
            at(first)  # a module that keeps the frequencies of the longest sequence forgets them
            ours = regimes == regime
            last = torch.full_like(positions[..., :1], regime - 1)
            new = tuple(x[..., :-1, :] for x in _parts(at(torch.cat([positions.where(ours, 0), last], -1))))
            done = new if done is None else tuple(x.where(ours[..., None], y) for x, y in zip(new, done, strict=True))
        assert done is not None
        # called once more, so that the module is left as a short sequence leaves it, and to see in what form it gives its result
        return done if isinstance(at(first), tuple) else done[0]

    return run


def _settable(rotation: Rotation, x: Float[Tensor, "1 1 d_model"]) -> bool:
    """Whether tokens of all regimes side by side are turned as each module turns a sequence of one of them."""
    # The lengths on both sides of each change, and one more beyond it: there "exact" rotations differ from one length to the next.
    probes = sorted({max(n, 1) for length in rotation.lengths for n in (length, length + 1, length + 3)})
    columns = torch.tensor([[0, 1, length - 1] for length in probes], device=x.device).clamp_min(0)
    lengths = torch.tensor(probes, device=x.device)[:, None].expand(columns.shape)
    for module in rotation.modules:
        for more in _layer_types(module):
            try:
                with torch.no_grad():
                    alone = []
                    for row in columns:
                        _forget(module)
                        alone.append([part[0] for part in _parts(module(x, row[None], **more))])
                    with _turned(rotation, lengths):
                        together = _parts(module(x, columns, **more))
            except Exception:  # a module that takes positions in another way
                return False
            for index, part in enumerate(together):
                if not torch.equal(part, torch.stack([one[index] for one in alone])):
                    return False
    return True


def _parts(turned: Any) -> tuple[Tensor, ...]:
    return turned if isinstance(turned, tuple) else (turned,)
