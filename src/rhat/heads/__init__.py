"""Heads: attribution of r̂ to attention heads, and patching of heads' outputs at one token position."""

from rhat.heads.attribution import Attribution, Head, attribute
from rhat.heads.patching import PatchHeads, patch_heads

__all__ = ["Attribution", "Head", "PatchHeads", "attribute", "patch_heads"]
