"""The playground: a page at / where a prompt is answered twice, plain and intervened. Needs `rhat[playground]`."""

from rhat.server.playground.page import mount

__all__ = ["mount"]
