"""What is used where the user names nothing."""

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
"""The default model, by its name in `rhat.model.catalogue`."""

DTYPE_NAMES = ("float64", "float32", "bfloat16", "float16")
"""Precisions of the forward passes, as torch names them, beside "auto"."""

JUDGED_TOKENS = 24
"""Generated tokens on which an answer is judged."""
