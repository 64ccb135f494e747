"""Runs the command line as ``python -m mcp_queue``."""

import sys

from mcp_queue.cli import main

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory: nothing in it may stand in for what the product imports later
    main()
