"""`tap(model, {Site: Edit})`: the one way to touch a forward pass, and the only place that registers hooks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, cast, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rhat.errors import SiteError
from rhat.model.edits import Edit, Edits
from rhat.model.layout import Layout, first_tensor
from rhat.model.observer import Observer
from rhat.model.positions import TokenContext
from rhat.sites import Site

_DECLARED: ContextVar[TokenContext | None] = ContextVar("rhat_token_context", default=None)


@contextmanager
def declared(context: TokenContext) -> Iterator[None]:
    """Tell every tap the token context of the forward passes inside, instead of letting it work the context out."""
    token = _DECLARED.set(context)
    try:
        yield
    finally:
        _DECLARED.reset(token)


def declared_context() -> TokenContext | None:
    """The token context that was declared for the forward passes here; None if none was."""
    return _DECLARED.get()


@contextmanager
def _watching(hf: nn.Module, base: nn.Module, observer: Observer) -> Iterator[None]:
    """Let `observer` see every call of the decoder, and know the prompt's length while hf.generate runs."""

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _DECLARED.get() is None:
            observer.see(args, kwargs)

    def remember(_module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        observer.mask = kwargs.get("attention_mask")

    def forget(*_: Any) -> None:
        observer.mask = None

    # The decoder is watched, not the whole model: harnesses call either, and the whole one calls the decoder. What only the
    # whole model is given (a multimodal model's mask) is held for as long as its call lasts.
    handles = [
        base.register_forward_pre_hook(before, with_kwargs=True),
        hf.register_forward_pre_hook(remember, with_kwargs=True),
        hf.register_forward_hook(forget, always_call=True),
    ]
    # hf.generate is given the prompts whole; a single pass that it makes may hold a part of them only (a cache that was filled
    # before, prompts prefilled in pieces), so their lengths are noted there. The wrapper is an attribute of the instance:
    # leaving uncovers the class's method again, or puts back the wrapper of an earlier tap.
    had_own = "generate" in hf.__dict__
    plain = hf.generate if hasattr(hf, "generate") else None
    if plain is not None:

        @functools.wraps(cast(Any, plain))
        def generate(*args: Any, **kwargs: Any) -> Any:
            ids = kwargs.get("input_ids", kwargs.get("inputs", args[0] if args else None))
            mask = kwargs.get("attention_mask")
            before_call = observer.prompt_length, observer.fixed
            if isinstance(ids, Tensor):
                observer.prompt_length = (
                    mask.sum(-1)
                    if isinstance(mask, Tensor) and mask.ndim == 2
                    else torch.full((len(ids),), ids.shape[1], device=ids.device)
                )
                observer.fixed = True
            try:
                return cast(Any, plain)(*args, **kwargs)
            finally:
                observer.prompt_length, observer.fixed = before_call

        hf.generate = generate  # type: ignore[assignment]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        if plain is not None:
            if had_own:
                hf.generate = plain
            else:
                del hf.__dict__["generate"]


def has(layout: Layout, site: Site) -> bool:
    """Whether this model has that site."""
    try:
        _module_of(layout, site)
    except SiteError:
        return False
    return True


@contextmanager
def hooked(root: nn.Module, functions: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace the outputs of modules, named as `root.named_modules()` names them: what tools without sites do.

    For checks of what was written for such tools; everything else goes through `tap`.

    Raises:
        SiteError: if there is no module of that name.
    """
    modules = dict(root.named_modules())
    missing = [name for name in functions if name not in modules]
    if missing:
        raise SiteError(f"{missing[0]}: {type(root).__name__} has no module of that name")

    def replacing(function: Callable[[Tensor], Tensor]) -> Callable[..., object]:
        def after(_module: nn.Module, _args: tuple[Any, ...], output: object) -> object:
            result = function(first_tensor(output))
            return (result, *output[1:]) if isinstance(output, tuple) else result

        return after

    handles = [modules[name].register_forward_hook(replacing(f)) for name, f in functions.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _module_of(layout: Layout, site: Site) -> nn.Module:
    module = layout.parts[site.within(layout.n_layers).layer].module(site.kind)
    if module is None:
        raise SiteError(
            f"{site}: this model's block {site.layer} has no such part; `rhat check MODEL` shows what it has"
        )
    return module


def _register(layout: Layout, site: Site, edit: Edit, observer: Observer) -> RemovableHandle:
    """Hang an edit on its module: on the input for sites before it, else on the output, of whatever shape it is."""
    module = _module_of(layout, site)
    scale = layout.parts[site.layer].scale(site.kind)

    def apply(activation: Tensor) -> Tensor | None:
        context = _DECLARED.get() or observer.context
        if context is None:
            raise SiteError(
                f"{site}: the model was called without input_ids or inputs_embeds, so tokens have no positions"
            )
        context = context.to(activation.device)
        # Some families (OPT) run a part on the tokens of all rows in one list: [batch · seq, d].
        shape = activation.shape
        value = activation.reshape(*context.positions.shape, shape[-1]) if activation.ndim == 2 else activation
        # Edits see what reaches the residual stream: some families multiply a part on its way there.
        result = edit(value * scale if scale != 1.0 else value, context)
        if result is None:
            return None
        result = result / scale if scale != 1.0 else result
        return result.reshape(shape).to(activation.dtype)

    if site.kind in ("resid_pre", "head_out"):

        def before(
            _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if args:
                result = apply(args[0])
                return None if result is None else ((result, *args[1:]), kwargs)
            result = apply(kwargs["hidden_states"])
            return None if result is None else (args, {**kwargs, "hidden_states": result})

        return module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        result = apply(first_tensor(output))
        if result is None:
            return None
        if isinstance(output, list):
            return [result, *output[1:]]
        return (result, *output[1:]) if isinstance(output, tuple) else result

    return module.register_forward_hook(after)


@runtime_checkable
class Tappable(Protocol):
    """What `tap` needs of a ChatModel."""

    @property
    def hf(self) -> Any:
        """The transformers model."""
        ...

    @property
    def layout(self) -> Layout:
        """Where its parts are."""
        ...

    @property
    def template_length(self) -> int:
        """Template tokens after the instruction."""
        ...


_TAPPED: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def tapped(hf: nn.Module) -> bool:
    """Whether any tap that edits is on `hf` right now."""
    return _TAPPED.get(hf, 0) > 0


_WHOLE: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def whole_prompts(hf: nn.Module) -> bool:
    """Whether any tap on `hf` right now has an edit that must see each prompt in one pass, no shared beginning run before."""
    return _WHOLE.get(hf, 0) > 0


@contextmanager
def _counted(hf: nn.Module, taps: WeakKeyDictionary[nn.Module, int]) -> Iterator[None]:
    taps[hf] = taps.get(hf, 0) + 1
    try:
        yield
    finally:
        taps[hf] -= 1


@contextmanager
def tap(model: Tappable, edits: Edits) -> Iterator[None]:
    """Apply `edits` to every forward pass of a ChatModel inside the `with`; leaving it restores the model exactly.

    Passes that other code makes of `model.hf` are included: token scopes, those of the template too, then mean the tokens that
    the model's own template gives.

    Raises:
        SiteError: if a site is not in this model; nothing is registered then.
    """
    hf, layout = model.hf, model.layout
    observer = Observer(model.template_length)
    for site in edits:
        _module_of(layout, site)
    with ExitStack() as stack:
        if edits:
            stack.enter_context(_counted(hf, _TAPPED))
            if any(getattr(edit, "whole", False) for edit in edits.values()):
                stack.enter_context(_counted(hf, _WHOLE))
            stack.enter_context(_watching(hf, layout.base, observer))
        for site, edit in edits.items():
            stack.callback(_register(layout, site, edit, observer).remove)
        yield
