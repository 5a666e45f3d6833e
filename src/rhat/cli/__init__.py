"""The command line: one file per command, each of which parses, calls the library, and prints."""

from rhat.cli.app import main, run

__all__ = ["main", "run"]
