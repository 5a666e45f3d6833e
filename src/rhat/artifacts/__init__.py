"""Artifacts: the files that rhat writes and reads, that is, results, their schema and directions."""

__all__: list[str] = []
