"""The command line. What a command needs is imported when it runs, so that ``--help`` answers at once."""

from mcp_queue.cli.application import main

__all__ = ["main"]
