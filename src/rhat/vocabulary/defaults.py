"""What is used where the user names nothing."""

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
"""The name in `rhat.model.catalogue` of the model that is taken where none is given."""
