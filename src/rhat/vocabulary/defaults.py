"""What is used where the user names nothing."""

DEFAULT_MODEL = "qwen2.5-coder-0.5b"  # a name of `rhat.model.catalogue`
