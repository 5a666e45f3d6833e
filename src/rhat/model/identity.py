"""The identity of weights: a hash that is the same however a model was loaded."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

SAMPLED = 256  # numbers of each parameter; a fine-tune changes numbers everywhere


def hash_of_weights(hf: Any) -> str | None:
    """SHA-256 over samples of every parameter, rounded to bfloat16: the same in float32 as in bfloat16.

    None where some weights cannot be read: quantised ones, or those that stay on disk.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(hf.named_parameters()):
        if type(parameter) is not torch.nn.Parameter or not parameter.is_floating_point():
            return None
        if parameter.device.type == "meta":
            return None
        n = parameter.numel()
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        if n:
            count = min(SAMPLED, n)
            places = torch.arange(count, device=parameter.device) * (n - 1) // max(count - 1, 1)
            values = parameter.detach().reshape(-1)[places].to(torch.bfloat16)
            digest.update(values.view(torch.int16).cpu().numpy().tobytes())
    return digest.hexdigest()
