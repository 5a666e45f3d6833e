"""Values on their way between processes: tensors leave as they are and arrive on the processor of whoever opens them."""

from __future__ import annotations

import io
from typing import Any


def pack(value: Any) -> bytes:
    """Anything that can be pickled, as bytes."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:
    """The inverse of `pack`, in a process of the same cluster; tensors are on the CPU."""
    import torch

    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
