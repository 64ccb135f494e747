"""``python -m mcp_queue``: the command line."""

from mcp_queue.cli import main

if __name__ == "__main__":
    main()
