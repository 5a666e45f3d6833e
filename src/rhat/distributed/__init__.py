"""The Executor protocol on Ray: prompts and candidates shared out over many processes and machines."""

from rhat.distributed.executor import RayExecutor

__all__ = ["RayExecutor"]
