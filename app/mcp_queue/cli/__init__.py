"""The command line. A command imports what it needs when it runs, so that ``--help`` answers at once."""

from mcp_queue.cli.application import main

__all__ = ["main"]
