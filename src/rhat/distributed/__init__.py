"""The Executor protocol on Ray: prompts and candidates distributed over processes and machines."""

from rhat.distributed.executor import RayExecutor

__all__ = ["RayExecutor"]
